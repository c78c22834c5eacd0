//! Stored bytes cropped, flipped and normalised.

use cnn_core::image::{Border, ImageSpec, SampleView};
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Device, Inference};

use crate::{agree, cpus, read};

#[test]
fn crops_flips_and_holes() {
    for (height, width, channels) in [(1, 1, 1), (1, 4, 3), (5, 1, 1), (5, 7, 3), (32, 32, 3)] {
        let bytes: Vec<u8> = (0..3 * height * width * channels).map(|i| (i * 37 % 251) as u8).collect();
        let mut random = Philox::new(1, Purpose::Test, height as u32, width as u32).stream();
        let mut samples: Vec<SampleView> = (0..40)
            .map(|_| SampleView {
                index: random.below(3),
                offset: [random.below(81) as i32 - 40, random.below(9) as i32 - 4],
                flip: random.below(2) == 1,
                cutout: [0; 4].map(|_: u16| random.below(6) as u16),
                source: [0; 2],
            })
            .collect();
        samples.extend([SampleView::plain(0), SampleView { offset: [i32::MIN, i32::MAX], ..SampleView::plain(2) }]);
        for border in [Border::Zero, Border::Reflect] {
            let spec = spec([height, width, channels], border);
            agree!((height, width, border), [1e-7, 0.0], |b| {
                let bytes = b.upload(&bytes).unwrap();
                let none = b.load_images(&spec, &bytes, &[]).unwrap();
                vec![read(b, &b.load_images(&spec, &bytes, &samples).unwrap()), read(b, &none)]
            });
        }
    }
}

/// Samples of other sizes than the images, one to one and stretched.
#[test]
fn stretched_rectangles() {
    for (stored, output) in [([5, 7, 3], [4, 4]), ([8, 8, 1], [8, 8]), ([16, 12, 3], [7, 9]), ([1, 1, 3], [3, 2])] {
        let [height, width, channels] = stored;
        let bytes: Vec<u8> = (0..3 * height * width * channels).map(|i| (i * 37 % 251) as u8).collect();
        let mut random = Philox::new(2, Purpose::Test, height as u32, width as u32).stream();
        let mut samples: Vec<SampleView> = (0..40)
            .map(|_| SampleView {
                index: random.below(3),
                offset: [0; 2].map(|_: i32| random.below(21) as i32 - 10),
                source: [0; 2].map(|_: u16| random.below(20) as u16),
                cutout: [0; 4].map(|_: u16| random.below(4) as u16),
                flip: random.below(2) == 1,
            })
            .collect();
        samples.push(SampleView { source: [u16::MAX; 2], offset: [i32::MIN, i32::MAX], ..SampleView::plain(1) });
        for border in [Border::Zero, Border::Reflect] {
            let spec = spec(stored, border).with_output(output);
            agree!((stored, output, border), [1e-6, 1e-11], |b| {
                let bytes = b.upload(&bytes).unwrap();
                vec![read(b, &b.load_images(&spec, &bytes, &samples).unwrap())]
            });
        }
    }
}

fn spec(size: [usize; 3], border: Border) -> ImageSpec {
    let std: Vec<f32> = (1..=size[2]).map(|c| c as f32 / 4.0).collect();
    ImageSpec::new(size, border, &vec![0.4; size[2]], &std)
}

#[test]
fn an_image_that_is_not_there_is_refused() {
    let b = &cpus().f32[0][0];
    let spec = ImageSpec::new([2, 2, 1], Border::Zero, &[0.0], &[1.0]);
    let bytes = b.upload(&[0u8; 8]).unwrap();
    assert!(b.load_images(&spec, &bytes, &[SampleView::plain(2)]).is_err());
    let none = spec.with_output([0, 2]);
    assert!(b.load_images(&none, &bytes, &[SampleView::plain(0)]).is_err());
}
