//! Batch normalisation as single fused passes.
//!
//! Statistics are f32; the arithmetic on a few numbers a channel is f64.

mod apply;
mod backward;
mod moments;

pub(crate) use apply::{normalise, normalise_backward, shared_gradient};
pub(crate) use backward::batch_norm_backward;
pub(crate) use moments::{Partials, SOURCE as MOMENTS, channel_moments, combine};

use cnn_core::backend::{Affine, Moments, NormStats, Running, Wide, check};
use cnn_core::{BatchNormSpec, Result};

use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, THREADS};

pub(crate) const SOURCE: Source = source!("norm");

pub(crate) fn batch_norm_train<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &BatchNormSpec,
    moments: &Moments<Cuda<T>>,
    affine: Affine<'_, Cuda<T>>,
    running: Running<'_, Cuda<T>>,
) -> Result<NormStats<Cuda<T>>> {
    check::length("the running mean", running.mean.len(), spec.channels)?;
    check::length("the running variance", running.variance.len(), spec.channels)?;
    // Others may keep those of before this batch: then the next ones have a place of their own, and nothing is copied.
    let next = [cuda.in_place(running.mean)?, cuda.in_place(running.variance)?];
    let at = RunningAt { now: [running.mean.at(), running.variance.at()], next: [next[0].at(), next[1].at()] };
    let stats = coefficients(cuda, spec, affine, &moments.mean, &moments.variance, at, running.momentum)?;
    [*running.mean, *running.variance] = next;
    Ok(stats)
}

pub(crate) fn batch_norm_eval<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &BatchNormSpec,
    affine: Affine<'_, Cuda<T>>,
    mean: &Wide<Cuda<T>>,
    variance: &Wide<Cuda<T>>,
) -> Result<NormStats<Cuda<T>>> {
    coefficients(cuda, spec, affine, mean, variance, RunningAt { now: [0; 2], next: [0; 2] }, 0.0)
}

/// Where running statistics are, the mean and the variance, and where the next ones go: `kernels/norm.cu` has the same
/// struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct RunningAt {
    now: [u64; 2],
    next: [u64; 2],
}

// SAFETY: four numbers, null or the addresses of buffers that are borrowed until the launch is in the stream.
unsafe impl Argument for RunningAt {}

/// The coefficients of a normalisation by these statistics, towards which running ones of their own move.
fn coefficients<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &BatchNormSpec,
    affine: Affine<'_, Cuda<T>>,
    mean: &Wide<Cuda<T>>,
    variance: &Wide<Cuda<T>>,
    running: RunningAt,
    momentum: f64,
) -> Result<NormStats<Cuda<T>>> {
    let lists = [("the mean", mean), ("the variance", variance), ("gamma", affine.gamma), ("beta", affine.beta)];
    for (what, list) in lists {
        check::length(what, list.len(), spec.channels)?;
    }
    let list = || cuda.alloc::<f32>(spec.channels);
    let (inv_std, scale, shift) = (list()?, list()?, list()?);
    let launch = cuda.kernel(SOURCE, "norm_coefficients")?;
    let launch = lists.iter().fold(launch, |launch, (_, list)| launch.buffer(list));
    let launch = launch.buffer(&inv_std).buffer(&scale).buffer(&shift).value(running);
    let unbias = spec.rows as f64 / (spec.rows as f64 - 1.0);
    // More channels than the number has room for would have more blocks than a grid has.
    let launch = launch.value(spec.eps).value(momentum).value(unbias).value(spec.channels as u32);
    const WARPS: usize = THREADS / 32; // one for each channel
    // SAFETY: every list has the channels; the coefficients are new, and so are the next running statistics, or those of now are
    // nobody else's.
    unsafe { launch.on([spec.channels.div_ceil(WARPS), 1, 1], THREADS) }?;
    Ok(NormStats { mean: mean.clone(), inv_std, scale, shift })
}
