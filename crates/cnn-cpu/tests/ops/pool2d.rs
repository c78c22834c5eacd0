//! Maximum and average pooling.

use cnn_core::{Backend, Inference, Pool2dOptions, Pool2dSpec};

use crate::{CHANNELS, agree, data, normal, read, read_u32, whole};

fn specs() -> Vec<Pool2dSpec> {
    let of = |window, stride, padding| Pool2dOptions::square(window).stride(stride).padding(padding);
    let options = [
        of(2, 2, 0),
        of(3, 2, 1),
        of(3, 1, 1),
        of(2, 3, 0),
        of(1, 1, 0),
        Pool2dOptions { ceil_mode: true, count_include_pad: false, ..of(3, 2, 1) },
        Pool2dOptions { window: [3, 2], stride: [1, 2], ..of(2, 2, 0) },
    ];
    let mut specs = Vec::new();
    for channels in CHANNELS {
        for (h, w) in [(3, 3), (8, 8), (9, 5), (19, 7)] {
            specs.extend(options.iter().map(|options| Pool2dSpec::new([2, h, w, channels], options).unwrap()));
            specs.push(Pool2dSpec::global([3, h, w, channels]).unwrap());
        }
    }
    // Several parts, and no images.
    specs.push(Pool2dSpec::new([5, 32, 32, 17], &of(2, 2, 0)).unwrap());
    specs.push(Pool2dSpec::new([3, 30, 32, 40], &of(3, 2, 1)).unwrap());
    specs.push(Pool2dSpec::global([40, 8, 8, 64]).unwrap());
    specs.push(Pool2dSpec::new([0, 8, 8, 4], &of(2, 2, 0)).unwrap());
    specs
}

#[test]
fn maxima_and_their_places() {
    for spec in specs() {
        let (input, output): (usize, usize) =
            (spec.input_shape().iter().product(), spec.output_shape().iter().product());
        // Few values: many ties.
        let (x, dy) = (whole(input, 2, 1), whole(output, 9, 2));
        agree!(spec, [0.0; 2], |b| {
            let (y, places) = b.max_pool2d(&spec, &data(b, &x)).unwrap();
            let dx = b.max_pool2d_backward(&spec, &data(b, &dy), &places).unwrap();
            vec![read(b, &y), read_u32(b, &places), read(b, &dx)]
        });
    }
}

#[test]
fn nan_is_the_maximum() {
    for window in [2, 3] {
        let spec = Pool2dSpec::new([1, 6, 6, 1], &Pool2dOptions::square(window)).unwrap();
        let mut x = whole(36, 3, 3);
        (x[3], x[4], x[9], x[20], x[35]) = (f64::NAN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::NAN);
        agree!(spec, [0.0; 2], |b| {
            let (y, places) = b.max_pool2d(&spec, &data(b, &x)).unwrap();
            vec![read(b, &y), read_u32(b, &places)]
        });
    }
}

#[test]
fn averages() {
    for spec in specs() {
        let (input, output): (usize, usize) =
            (spec.input_shape().iter().product(), spec.output_shape().iter().product());
        let (x, dy) = (normal(input, 1), normal(output, 2));
        agree!(spec, [3e-7, 1e-15], |b| {
            let y = b.avg_pool2d(&spec, &data(b, &x)).unwrap();
            let dx = b.avg_pool2d_backward(&spec, &data(b, &dy)).unwrap();
            vec![read(b, &y), read(b, &dx)]
        });
    }
}

#[test]
fn averages_of_whole_numbers_over_four_are_exact() {
    for channels in CHANNELS {
        let spec = Pool2dSpec::new([2, 6, 10, channels], &Pool2dOptions::square(2)).unwrap();
        let (x, dy) = (whole(120 * channels, 99, 1), whole(30 * channels, 99, 2));
        agree!(spec, [0.0; 2], |b| {
            let y = b.avg_pool2d(&spec, &data(b, &x)).unwrap();
            vec![read(b, &y), read(b, &b.avg_pool2d_backward(&spec, &data(b, &dy)).unwrap())]
        });
    }
}
