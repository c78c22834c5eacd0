//! Pooling: maximum and average, both ways.

use cnn_core::{Backend, Padding, Pool2dOptions, Pool2dSpec, Result};
use proptest::prelude::*;
use proptest::sample::select;

use super::{batch, channels, sides};
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
