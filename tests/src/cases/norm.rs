//! Batch normalisation, in two kinds of cases.
//!
//! The backward pass is a case of its own, with statistics that are given: computed ones would differ in their last
//! bits between backends, and the side of a rectifier's kink with them.

use cnn_core::backend::{Affine, Gradient, Input, Norm, NormStats, Rectifier, Running};
use cnn_core::{Backend, BatchNormSpec, Result};
use proptest::prelude::*;
use proptest::sample::select;

use super::{CHANNELS, channels};
use crate::{Case, Lab};

/// Moments, running statistics and coefficients.
#[derive(Clone, Debug)]
pub struct Statistics {
    spec: BatchNormSpec,
    momentum: f64,
    /// Added to all activations: a variance beside a large mean cancels when it is computed carelessly.
    offset: f64,
    /// A channel whose activations hold a NaN.
    broken: Option<usize>,
    seed: u32,
}

/// Statistics of every size.
pub fn statistics() -> impl Strategy<Value = Statistics> {
    let rows = prop_oneof![1 => 2usize..=5, 3 => 2usize..=500, 1 => 1000usize..=5000];
    let offset = prop_oneof![3 => Just(0.0), 1 => Just(20.0)];
    let eps = prop_oneof![Just(1e-5), Just(1e-3)];
    let broken = proptest::option::weighted(0.2, 0usize..64);
    (rows, channels(), eps, 0.01..0.9, offset, broken, any::<u32>()).prop_map(
        |(rows, channels, eps, momentum, offset, broken, seed)| Statistics {
            spec: BatchNormSpec { rows, channels, eps },
            momentum,
            offset,
            broken: broken.map(|c| c % channels),
            seed,
        },
    )
}

impl Case for Statistics {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec) = (lab.backend(), &self.spec);
        let mut x = lab.numbers(spec.rows * spec.channels);
        x.iter_mut().for_each(|x| *x = lab.round(*x + self.offset));
        if let Some(c) = self.broken {
            x[(spec.rows - 1) * spec.channels + c] = f64::NAN;
        }
        let x = lab.data(&x)?;
        let (gamma, beta) = (lab.numbers(spec.channels), lab.numbers(spec.channels));
        let (gamma, beta) = (lab.wide(&gamma)?, lab.wide(&beta)?);
        let affine = || Affine { gamma: &gamma, beta: &beta };
        let (mean, variance) = (lab.numbers(spec.channels), lab.positive(spec.channels));
        let (mut mean, mut variance) = (lab.wide(&mean)?, lab.wide(&variance)?);

        let moments = backend.channel_moments(&x, spec)?;
        let size = 1.0 + self.offset;
        let [batch_mean, batch_variance] = lab.moments(&moments, spec.rows, spec.channels)?;
        lab.report_wide("mean", &batch_mean)?.close().relative_to(size);
        lab.report_wide("variance", &batch_variance)?.close().relative_to(1.0);
        let stats = backend.batch_norm_eval(spec, affine(), &mean, &variance)?;
        report(lab, &stats, 1.0)?;
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: self.momentum };
        let stats = backend.batch_norm_train(spec, &moments, affine(), running)?;
        // A few equal values have a variance near 0, and then 1 / sqrt(eps) is large.
        report(lab, &stats, size / spec.eps.sqrt().min(1.0))?;
        lab.report_wide("running mean", &mean)?.close().relative_to(size);
        lab.report_wide("running variance", &variance)?.close().relative_to(1.0);
        Ok(())
    }
}

fn report<B: Backend>(lab: &mut Lab<'_, B>, stats: &NormStats<B>, size: f64) -> Result<()> {
    lab.report_wide("used mean", &stats.mean)?.close().relative_to(size);
    lab.report_wide("inv_std", &stats.inv_std)?.close();
    lab.report_wide("scale", &stats.scale)?.close();
    lab.report_wide("shift", &stats.shift)?.close().relative_to(size);
    Ok(())
}

/// Few rows and several parts, widths around those of vectors, far from zero.
pub fn statistics_edges() -> Vec<Statistics> {
    let shapes = CHANNELS.into_iter().flat_map(|channels| [2, 5, 6, 63, 1300].map(|rows| (rows, channels)));
    let case = |(i, (rows, channels))| Statistics {
        spec: BatchNormSpec { rows, channels, eps: 1e-3 },
        momentum: 0.1,
        offset: if i % 2 == 0 { 20.0 } else { 0.0 },
        broken: (i % 5 == 0).then_some(channels - 1),
        seed: i as u32,
    };
    shapes.enumerate().map(case).collect()
}

/// A normalisation by given statistics, forwards and backwards.
#[derive(Clone, Debug)]
pub struct Normalise {
    spec: BatchNormSpec,
    rectifier: Rectifier,
    residual: Residual,
    batch: bool,
    seed: u32,
}

/// What is added before the rectifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Residual {
    None,
    Plain,
    Norm,
}

/// Normalisations of every size and form.
pub fn normalise() -> impl Strategy<Value = Normalise> {
    let rows = prop_oneof![1 => 1usize..=4, 3 => 1usize..=300, 1 => 1000usize..=3000];
    let residual = prop_oneof![Just(Residual::None), Just(Residual::Plain), Just(Residual::Norm)];
    (rows, channels(), select(Rectifier::ALL.to_vec()), residual, any::<bool>(), any::<u32>()).prop_map(
        |(rows, channels, rectifier, residual, batch, seed)| Normalise {
            spec: BatchNormSpec { rows, channels, eps: 1e-5 },
            rectifier,
            residual,
            batch,
            seed,
        },
    )
}

/// Every residual, mask and kind of statistics, no rows, few, and several parts.
pub fn normalise_edges() -> Vec<Normalise> {
    let mut cases = Vec::new();
    for channels in CHANNELS {
        for rows in [0, 1, 2, 5, 6, 63, 1300] {
            for residual in [Residual::None, Residual::Plain, Residual::Norm] {
                let [open, relu, relu6] = Rectifier::ALL;
                for (rectifier, batch) in [(open, true), (relu, true), (relu, false), (relu6, true), (relu6, false)] {
                    let spec = BatchNormSpec { rows, channels, eps: 1e-5 };
                    let seed = cases.len() as u32;
                    cases.push(Normalise { spec, rectifier, residual, batch, seed });
                }
            }
        }
    }
    cases
}

impl Case for Normalise {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec, rectifier) = (lab.backend(), &self.spec, self.rectifier);
        let size = if rectifier == Rectifier::Relu6 { 6.0 } else { 1.0 }; // of the numbers
        let (numel, channels) = (spec.rows * spec.channels, spec.channels);
        let (gamma, beta) = (lab.numbers(channels), lab.numbers(channels));
        let (mean, inv_std) = (lab.numbers(channels), lab.positive(channels));
        let scale: Vec<f64> = (0..channels).map(|c| lab.round(gamma[c] * inv_std[c])).collect();
        let shift: Vec<f64> = (0..channels).map(|c| lab.round(beta[c] - mean[c] * scale[c])).collect();
        let x = lab.numbers_for(self.rectifier, numel);
        let x = lab.away_from_the_kinks(x, &scale, &shift);
        let (scale, shift) = (lab.wide(&scale)?, lab.wide(&shift)?);
        let norm = Norm { x: lab.data(&x)?, scale: scale.clone(), shift: shift.clone(), channels, rectifier };
        let stats = NormStats { mean: lab.wide(&mean)?, inv_std: lab.wide(&inv_std)?, scale, shift };

        let residual = match self.residual {
            Residual::None => None,
            Residual::Plain => {
                let r = lab.numbers(numel);
                Some(Input::Plain(lab.data(&r)?))
            }
            Residual::Norm => {
                Some(Input::Norm(lab.norm(numel, channels, Rectifier::ALL[(self.seed / 5) as usize % 3])?))
            }
        };
        let y = backend.normalise(&norm, residual.as_ref())?;
        lab.report("y", &y)?.relative_to(size);

        // Some other activation: with a residual the mask is its, and not that of the normalisation.
        let [floor, ceiling] = rectifier.bounds::<f64>();
        let output: Vec<f64> =
            lab.numbers_for(rectifier, numel).into_iter().map(|v| v.max(floor).min(ceiling)).collect();
        let output = if residual.is_some() && rectifier != Rectifier::Open { Some(lab.data(&output)?) } else { None };
        let dy = lab.numbers(numel);
        let dy = lab.data(&dy)?;
        let kept = dy.clone();
        let back = backend.batch_norm_backward(spec, dy, &norm, &stats, output.as_ref(), self.batch)?;
        // Sums of numbers of either sign may nearly cancel.
        let sum = (spec.rows as f64).sqrt();
        lab.report_wide("dgamma", &back.dgamma)?.relative_to(size * sum);
        lab.report_wide("dbeta", &back.dbeta)?.relative_to(sum);
        lab.report("dy, masked where a residual was added", &back.dx.dy)?.exact();
        lab.report("dy as it was", &kept)?.exact();
        let for_two = match backend.shared_gradient(back.dx.clone())? {
            Gradient::Plain(dx) => dx,
            Gradient::Norm(gradient) => backend.normalise_backward(gradient)?,
        };
        lab.report("dx for two readers", &for_two)?.close().relative_to(size);
        let dx = backend.normalise_backward(back.dx)?;
        lab.report("dx", &dx)?.close().relative_to(size);
        Ok(())
    }
}
