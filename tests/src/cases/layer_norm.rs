//! Layer normalisation, both ways.

use cnn_core::backend::Affine;
use cnn_core::{Backend, LayerNormSpec, Result};
use proptest::prelude::*;

use super::{CHANNELS, channels};
use crate::{Case, Lab};

/// One normalisation.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    rows: usize,
    spec: LayerNormSpec,
    /// Added to all activations: a variance beside a large mean cancels when it is computed carelessly.
    offset: f64,
    /// A row that holds a NaN.
    broken: Option<usize>,
    seed: u32,
}

/// Normalisations of every size.
pub fn layer_norm() -> impl Strategy<Value = LayerNorm> {
    let rows = prop_oneof![1 => 0usize..=4, 3 => 1usize..=300, 1 => 300usize..=1000];
    let offset = prop_oneof![3 => Just(0.0), 1 => Just(20.0)];
    let eps = prop_oneof![Just(1e-6), Just(1e-3), Just(0.1)];
    (rows, channels(), offset, eps, any::<u32>()).prop_map(|(rows, channels, offset, eps, seed)| LayerNorm {
        rows,
        spec: LayerNormSpec { channels, eps },
        offset,
        broken: None,
        seed,
    })
}

/// Rows around those that are taken at a time, widths around those of vectors and of what a block has side by side, none of either.
pub fn edges() -> Vec<LayerNorm> {
    let mut sizes: Vec<_> = CHANNELS.into_iter().flat_map(|c| [[1, c], [7, c], [8, c], [9, c], [60, c]]).collect();
    sizes.extend([[0, 8], [2, 0], [700, 96], [40, 100], [40, 768], [5, 2056], [3, 2050]]);
    let case = |(i, [rows, channels]): (usize, [usize; 2])| LayerNorm {
        rows,
        spec: LayerNormSpec { channels, eps: 1e-3 },
        offset: if i % 2 == 0 { 20.0 } else { 0.0 },
        broken: (i % 5 == 3).then_some(rows / 2),
        seed: i as u32,
    };
    sizes.into_iter().enumerate().map(case).collect()
}

impl LayerNorm {
    /// How many times larger than its deviation the numbers of a row are, of that row where they are most: so many times what a mean
    /// is rounded by is in the result.
    fn condition(&self, x: &[f64]) -> f64 {
        let of_row = |row: &[f64]| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64;
            mean.abs() / (variance + self.spec.eps).sqrt()
        };
        x.chunks(self.spec.channels.max(1)).map(of_row).fold(1.0, f64::max)
    }
}

impl Case for LayerNorm {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec, len) = (lab.backend(), &self.spec, self.rows * self.spec.channels);
        let mut x = lab.numbers(len);
        x.iter_mut().for_each(|x| *x = lab.round(*x + self.offset));
        if let Some(x) = self.broken.and_then(|row| x.get_mut(row * spec.channels)) {
            *x = f64::NAN;
        }
        let (dy, gamma, beta) = (lab.numbers(len), lab.numbers(spec.channels), lab.numbers(spec.channels));
        let numbers = x;
        let (x, dy, gamma, beta) = (lab.data(&numbers)?, lab.data(&dy)?, lab.wide(&gamma)?, lab.wide(&beta)?);
        let y = backend.layer_norm(spec, &x, Affine { gamma: &gamma, beta: &beta })?;
        let size = self.condition(&numbers);
        lab.report("y", &y)?.close().relative_to(size);
        let back = backend.layer_norm_backward(spec, dy.clone(), &x, &gamma)?;
        lab.report("dx", &back.dx)?.close().relative_to(size);
        lab.report_wide("dgamma", &back.dgamma)?.close().relative_to(size * (self.rows as f64).sqrt());
        lab.report_wide("dbeta", &back.dbeta)?.relative_to((self.rows as f64).sqrt());
        // With a second handle alive nothing may be overwritten.
        lab.report("x after all", &x)?.exact();
        lab.report("dy after all", &dy)?.exact();
        let in_place = backend.layer_norm_backward(spec, dy, &x, &gamma)?;
        lab.report("dx in place of dy", &in_place.dx)?.close().relative_to(size);
        Ok(())
    }
}
