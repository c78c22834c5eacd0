//! Batch normalisation as single fused passes.
//!
//! A pass reads its rows in parts that are cut by the shape; sums over rows are taken part by part in the accumulator's
//! precision and combined in f64, in the order of the parts.

mod apply;
mod backward;
mod moments;

pub(crate) use apply::{normalise, normalise_backward, shared_gradient};
pub(crate) use backward::batch_norm_backward;
pub(crate) use moments::channel_moments;

use cnn_core::backend::{Affine, Moments, NormStats, Running, Wide};
use cnn_core::{BatchNormSpec, Real, Result};

use crate::device::Cpu;
use crate::element::CpuElement;
use cnn_core::backend::check;

pub(crate) fn batch_norm_train<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &BatchNormSpec,
    moments: &Moments<Cpu<T>>,
    affine: Affine<'_, Cpu<T>>,
    running: Running<'_, Cpu<T>>,
) -> Result<NormStats<Cpu<T>>> {
    let stats = batch_norm_eval(cpu, spec, affine, &moments.mean, &moments.variance)?;
    check::length("the running mean", running.mean.len(), spec.channels)?;
    check::length("the running variance", running.variance.len(), spec.channels)?;
    let rows = spec.rows as f64;
    let (means, variances) = (running.mean.make_mut()?, running.variance.make_mut()?);
    let batch = moments.mean.as_slice().iter().zip(moments.variance.as_slice());
    for ((running_mean, running_variance), (mean, variance)) in means.iter_mut().zip(variances).zip(batch) {
        let (mean, variance) = (mean.as_f64(), variance.as_f64() * (rows / (rows - 1.0)));
        if mean.is_finite() && variance.is_finite() {
            let moved = |old: T::Accum, new: f64| {
                T::Accum::from_f64((1.0 - running.momentum) * old.as_f64() + running.momentum * new)
            };
            *running_mean = moved(*running_mean, mean);
            *running_variance = moved(*running_variance, variance);
        }
    }
    Ok(stats)
}

pub(crate) fn batch_norm_eval<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &BatchNormSpec,
    affine: Affine<'_, Cpu<T>>,
    mean: &Wide<Cpu<T>>,
    variance: &Wide<Cpu<T>>,
) -> Result<NormStats<Cpu<T>>> {
    let lists = [("the mean", mean), ("the variance", variance), ("gamma", affine.gamma), ("beta", affine.beta)];
    for (what, list) in lists {
        check::length(what, list.len(), spec.channels)?;
    }
    let list = || cpu.alloc::<T::Accum>(spec.channels);
    let (mut inv_std, mut scale, mut shift) = (list()?, list()?, list()?);
    let out = (inv_std.make_mut()?, scale.make_mut()?, shift.make_mut()?);
    for c in 0..spec.channels {
        let inverse = 1.0 / (variance.as_slice()[c].as_f64() + spec.eps).sqrt();
        let factor = affine.gamma.as_slice()[c].as_f64() * inverse;
        let (mean, beta) = (mean.as_slice()[c].as_f64(), affine.beta.as_slice()[c].as_f64());
        let usual = (T::Accum::from_f64(factor), T::Accum::from_f64(beta - mean * factor));
        out.0[c] = T::Accum::from_f64(inverse);
        (out.1[c], out.2[c]) = balanced(usual.0, mean, beta).unwrap_or(usual);
    }
    Ok(NormStats { mean: mean.clone(), inv_std, scale, shift })
}

/// `scale` and the shift that belongs to it, for a channel whose mean is so many deviations from 0 that the rounding of
/// `beta - mean * scale` would be seen in its output; none for any other channel.
///
/// A channel of constants far from 0 (all 1e4, in f32) is normalised by factors of some hundred, and a shift of some
/// million is rounded to quarters. Scales near the given one have shifts that are rounded otherwise; this is the one whose
/// shift is rounded least, of as many as change the output no more by their scale than they save in the shift.
fn balanced<R: Real>(scale: R, mean: f64, beta: f64) -> Option<(R, R)> {
    /// Up to here the rounding of the shift is below a thousandth of a deviation.
    const SEEN: f64 = 1e-3;
    /// Scales that are tried on each side at most.
    const TRIES: f64 = 4096.0;
    let (product, epsilon) = ((mean * scale.as_f64()).abs(), R::epsilon().as_f64());
    if !product.is_finite() || product * epsilon <= SEEN {
        return None;
    }
    let candidate = |i: i32| {
        let scale = R::from_f64(scale.as_f64() * (1.0 + f64::from(i) * epsilon));
        let exact = beta - mean * scale.as_f64();
        let shift = R::from_f64(exact);
        ((shift.as_f64() - exact).abs(), scale, shift)
    };
    // From the given scale outwards: of equally good ones the nearest is taken.
    let all = (0..=(product / 3.0).sqrt().min(TRIES) as i32).flat_map(|i| [i, -i]).map(candidate);
    all.reduce(|best, other| if other.0 < best.0 { other } else { best }).map(|(_, scale, shift)| (scale, shift))
}
