//! Pooling: maximum and average, both ways.

use cnn_core::{AdaptivePool2dSpec, Backend, Padding, Pool2dOptions, Pool2dSpec, Result, Windows};
use proptest::prelude::*;
use proptest::sample::select;

use super::{CHANNELS, batch, channels, sides};
use crate::{Case, Kind, Lab};

/// One pooling.
#[derive(Clone, Debug)]
pub struct Pool2d {
    spec: Pool2dSpec,
    /// One activation in this many is NaN (integers only); 0 for none.
    nan: u32,
    seed: u32,
}

/// Poolings of every geometry, over the whole image among them.
pub fn pool2d() -> impl Strategy<Value = Pool2d> {
    let options = prop_oneof![6 => geometry().prop_map(Some), 1 => Just(None)];
    let nan = prop_oneof![3 => Just(0), 1 => Just(10)];
    (batch(), sides(), channels(), options, nan, any::<u32>()).prop_filter_map(
        "a refused spec",
        |(n, [h, w], c, options, nan, seed)| {
            let spec = match options {
                Some(options) => Pool2dSpec::new([n, h, w, c], &options),
                None => Pool2dSpec::global([n, h, w, c]),
            };
            Some(Pool2d { spec: spec.ok()?, nan, seed })
        },
    )
}

/// Windows that overlap, leave gaps or hang over, images of one window and of several parts, and no images.
pub fn edges() -> Vec<Pool2d> {
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
            specs.extend(options.iter().map(|options| Pool2dSpec::new([2, h, w, channels], options)));
            specs.push(Pool2dSpec::global([3, h, w, channels]));
        }
    }
    specs.push(Pool2dSpec::new([5, 32, 32, 17], &of(2, 2, 0)));
    specs.push(Pool2dSpec::new([3, 30, 32, 40], &of(3, 2, 1)));
    specs.push(Pool2dSpec::global([40, 8, 8, 64]));
    specs.push(Pool2dSpec::global([2, 7, 6, 520]));
    specs.push(Pool2dSpec::global([3, 4, 4, 512]));
    specs.push(Pool2dSpec::new([2, 9, 8, 24], &Pool2dOptions { count_include_pad: false, ..of(4, 1, 2) }));
    // One window that is larger than the image.
    specs.push(Pool2dSpec::new([3, 2, 1, 20], &Pool2dOptions { ceil_mode: true, ..of(3, 3, 0) }));
    specs.push(Pool2dSpec::new([0, 8, 8, 4], &of(2, 2, 0)));
    let case = |(i, spec): (usize, Result<Pool2dSpec>)| Pool2d {
        spec: spec.expect("a legal pooling"),
        nan: if i % 3 == 0 { 4 } else { 0 }, // one in four: often two in a window
        seed: i as u32,
    };
    specs.into_iter().enumerate().map(case).collect()
}

/// Window, stride, padding and the two switches.
pub fn geometry() -> impl Strategy<Value = Pool2dOptions> {
    let window = prop_oneof![3 => select(vec![2usize, 3]).prop_map(|k| [k; 2]), 1 => [1usize..=6, 1..=6]];
    let stride = prop_oneof![3 => (1usize..=3).prop_map(|s| [s; 2]), 1 => [1usize..=4, 1..=4]];
    (window, stride, [0usize..=3, 0..=3, 0..=3, 0..=3], any::<bool>(), any::<bool>()).prop_map(
        |(window, stride, [top, left, bottom, right], ceil_mode, count_include_pad)| {
            // Half of the window at most; windows that refuse any padding would else leave few cases.
            let [rows, columns] = window.map(|size| size / 2 + 1);
            let padding =
                Padding { top: top % rows, left: left % columns, bottom: bottom % rows, right: right % columns };
            Pool2dOptions { window, stride, padding, ceil_mode, count_include_pad }
        },
    )
}

/// One average pooling to a size.
#[derive(Clone, Debug)]
pub struct AdaptivePool2d {
    spec: AdaptivePool2dSpec,
    seed: u32,
}

/// Poolings to fewer, as many and more pixels.
pub fn adaptive_pool2d() -> impl Strategy<Value = AdaptivePool2d> {
    (batch(), sides(), channels(), [1usize..=9, 1..=9], any::<u32>()).prop_map(|(n, [h, w], c, output, seed)| {
        let spec = AdaptivePool2dSpec::new([n, h, w, c], output).expect("a legal pooling");
        AdaptivePool2d { spec, seed }
    })
}

impl Case for AdaptivePool2d {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec) = (lab.backend(), &self.spec);
        let x = lab.numbers(spec.input_shape().iter().product());
        let dy = lab.numbers(spec.output_shape().iter().product());
        let (x, dy) = (lab.data(&x)?, lab.data(&dy)?);
        lab.report("average", &backend.adaptive_avg_pool2d(spec, &x)?)?.close().relative_to(1.0);
        lab.report("dx of the average", &backend.adaptive_avg_pool2d_backward(spec, &dy)?)?.close();
        Ok(())
    }
}

impl Case for Pool2d {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec) = (lab.backend(), &self.spec);
        let mut x = lab.numbers(spec.input_shape().iter().product());
        if lab.kind() == Kind::Integers && self.nan > 0 {
            x.iter_mut().filter(|_| lab.stream().below(self.nan) == 0).for_each(|x| *x = f64::NAN);
        }
        let x = lab.data(&x)?;
        let dy = lab.numbers(spec.output_shape().iter().product());
        let dy = lab.data(&dy)?;

        let (y, places) = backend.max_pool2d(spec, &x)?;
        lab.report("maximum", &y)?.exact();
        lab.report_indices("places", &places)?;
        lab.report("dx of the maximum", &backend.max_pool2d_backward(spec, &dy, &places)?)?;

        lab.report("average", &backend.avg_pool2d(spec, &x)?)?.close().relative_to(1.0);
        lab.report("dx of the average", &backend.avg_pool2d_backward(spec, &dy)?)?.close();
        Ok(())
    }
}
