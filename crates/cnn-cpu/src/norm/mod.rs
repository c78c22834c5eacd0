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

use crate::check;
use crate::device::Cpu;
use crate::element::CpuElement;

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
        out.0[c] = T::Accum::from_f64(inverse);
        out.1[c] = T::Accum::from_f64(factor);
        out.2[c] = T::Accum::from_f64(affine.beta.as_slice()[c].as_f64() - mean.as_slice()[c].as_f64() * factor);
    }
    Ok(NormStats { mean: mean.clone(), inv_std, scale, shift })
}
