//! Images times a factor for each channel of each of them.

use cnn_core::backend::ScaleSpec;
use cnn_core::{Backend, Result};
use proptest::prelude::*;

use super::{CHANNELS, batch, channels, sides};
use crate::{Case, Lab};

/// One product.
#[derive(Clone, Debug)]
pub struct ScaleChannels {
    spec: ScaleSpec,
    seed: u32,
}

/// Products of every size.
pub fn scale_channels() -> impl Strategy<Value = ScaleChannels> {
    (batch(), sides(), channels(), any::<u32>()).prop_map(|(batch, [h, w], channels, seed)| ScaleChannels {
        spec: ScaleSpec { batch, pixels: h * w, channels },
        seed,
    })
}

/// Images of one pixel and of several pieces, channels around vectors, more of them than a block has, and no images.
pub fn edges() -> Vec<ScaleChannels> {
    let mut sizes: Vec<_> = CHANNELS.into_iter().flat_map(|c| [[2, 1, c], [3, 49, c], [1, 300, c]]).collect();
    sizes.extend([[2, 900, 40], [1, 2100, 24], [2, 4, 520], [0, 4, 8], [2, 0, 8], [2, 4, 0]]);
    let case = |(i, [batch, pixels, channels]): (usize, [usize; 3])| ScaleChannels {
        spec: ScaleSpec { batch, pixels, channels },
        seed: i as u32,
    };
    sizes.into_iter().enumerate().map(case).collect()
}

impl Case for ScaleChannels {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec) = (lab.backend(), &self.spec);
        let [len, of_factors] = spec.lengths()?;
        let (x, dy, factors) = (lab.numbers(len), lab.numbers(len), lab.numbers(of_factors));
        let (x, dy, factors) = (lab.data(&x)?, lab.data(&dy)?, lab.data(&factors)?);
        lab.report("y", &backend.scale_channels(spec, x.clone(), &factors)?)?;
        let (dx, dfactors) = backend.scale_channels_backward(spec, dy.clone(), &x, &factors)?;
        lab.report("dx", &dx)?;
        lab.report("dfactors", &dfactors)?.relative_to((spec.pixels as f64).sqrt() / 3.0);
        // With a second handle alive nothing may be overwritten.
        lab.report("x after all", &x)?.exact();
        lab.report("dy after all", &dy)?.exact();
        Ok(())
    }
}
