//! The scale and the shift of every channel: by a batch's statistics, which are combined in the same launch, or by running ones.

use cnn_core::backend::{Affine, NormStats, Running, Wide, check};
use cnn_core::{BatchNormSpec, Result};

use super::PartMoments;
use crate::buffer::Buffer;
use crate::channels;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, THREADS};

pub(crate) const SOURCE: Source = source!("norm_coefficients");

/// As `Coefficients` in `kernels/norm_coefficients.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct CoefficientsAt {
    gamma: u64,
    beta: u64,
    inv_std: u64,
    scale: u64,
    shift: u64,
    eps: f64,
}

// SAFETY: numbers of eight bytes; the addresses are of buffers that are borrowed until the launch is in the stream.
unsafe impl Argument for CoefficientsAt {}

/// As `PartMoments` there.
#[derive(Clone, Copy)]
#[repr(C)]
struct PartMomentsAt {
    means: u64,
    m2s: u64,
    rows: u64,
    rows_per_part: u64,
}

// SAFETY: as above.
unsafe impl Argument for PartMomentsAt {}

/// As `Running` there: where running statistics are, the mean and the variance, and where the next ones go.
#[derive(Clone, Copy)]
#[repr(C)]
struct RunningAt {
    now: [u64; 2],
    next: [u64; 2],
    momentum: f64,
}

// SAFETY: as above.
unsafe impl Argument for RunningAt {}

pub(crate) fn batch_norm_train<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &BatchNormSpec,
    moments: &PartMoments,
    affine: Affine<'_, Cuda<T>>,
    running: Running<'_, Cuda<T>>,
) -> Result<NormStats<Cuda<T>>> {
    check::length("the running mean", running.mean.len(), spec.channels)?;
    check::length("the running variance", running.variance.len(), spec.channels)?;
    moments.check(spec)?;
    let new = New::of(cuda, spec, &affine)?;
    let mean = cuda.alloc(spec.channels)?;
    // Others may keep those of before this batch: then the next ones have a place of their own, and nothing is copied.
    let next = [cuda.in_place(running.mean)?, cuda.in_place(running.variance)?];
    let at = RunningAt {
        now: [running.mean.at(), running.variance.at()],
        next: [next[0].at(), next[1].at()],
        momentum: running.momentum,
    };
    let PartMoments { means, m2s, rows, rows_per_part, parts } = moments;
    let batch =
        PartMomentsAt { means: means.at(), m2s: m2s.at(), rows: *rows as u64, rows_per_part: *rows_per_part as u64 };
    let launch = cuda.kernel(SOURCE, "norm_by_batch")?.value(batch).buffer(&mean);
    let launch = launch.value(new.at(spec, &affine)).value(at);
    // SAFETY: the moments are of at least one part and have the channels of each; every list has the channels; what is written
    // is new, but for next running statistics where those of now are nobody else's.
    unsafe { channels::combine(launch, *parts, spec.channels) }?;
    [*running.mean, *running.variance] = next;
    Ok(new.with(mean))
}

pub(crate) fn batch_norm_eval<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &BatchNormSpec,
    affine: Affine<'_, Cuda<T>>,
    mean: &Wide<Cuda<T>>,
    variance: &Wide<Cuda<T>>,
) -> Result<NormStats<Cuda<T>>> {
    check::length("the mean", mean.len(), spec.channels)?;
    check::length("the variance", variance.len(), spec.channels)?;
    let new = New::of(cuda, spec, &affine)?;
    let launch = cuda.kernel(SOURCE, "norm_by_statistics")?.buffer(mean).buffer(variance);
    // More channels than the number has room for would have more blocks than a grid has.
    let launch = launch.value(new.at(spec, &affine)).value(spec.channels as u32);
    const WARPS: usize = THREADS / 32; // one for each channel
    // SAFETY: every list has the channels, and the coefficients are new.
    unsafe { launch.on([spec.channels.div_ceil(WARPS), 1, 1], THREADS) }?;
    Ok(new.with(mean.clone()))
}

/// Coefficients that are to be written.
struct New {
    inv_std: Buffer<f32>,
    scale: Buffer<f32>,
    shift: Buffer<f32>,
}

impl New {
    /// Those of a normalisation with this scale and shift of its own, whose lengths are compared.
    fn of<T: CudaElement>(cuda: &Cuda<T>, spec: &BatchNormSpec, affine: &Affine<'_, Cuda<T>>) -> Result<Self> {
        check::length("gamma", affine.gamma.len(), spec.channels)?;
        check::length("beta", affine.beta.len(), spec.channels)?;
        let list = || cuda.alloc(spec.channels);
        Ok(New { inv_std: list()?, scale: list()?, shift: list()? })
    }

    fn at<T: CudaElement>(&self, spec: &BatchNormSpec, affine: &Affine<'_, Cuda<T>>) -> CoefficientsAt {
        CoefficientsAt {
            gamma: affine.gamma.at(),
            beta: affine.beta.at(),
            inv_std: self.inv_std.at(),
            scale: self.scale.at(),
            shift: self.shift.at(),
            eps: spec.eps,
        }
    }

    fn with<T: CudaElement>(self, mean: Wide<Cuda<T>>) -> NormStats<Cuda<T>> {
        NormStats { mean, inv_std: self.inv_std, scale: self.scale, shift: self.shift }
    }
}
