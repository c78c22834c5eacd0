//! Batch normalisation as single fused passes.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn channel_moments<T: CpuElement>(
    _cpu: &Cpu<T>,
    _x: &Data<Cpu<T>>,
    _spec: &BatchNormSpec,
) -> Result<Moments<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "channel_moments is being written".into() })
}

pub(crate) fn batch_norm_train<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &BatchNormSpec,
    _moments: &Moments<Cpu<T>>,
    _affine: Affine<'_, Cpu<T>>,
    _running: Running<'_, Cpu<T>>,
) -> Result<NormStats<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "batch_norm_train is being written".into() })
}

pub(crate) fn batch_norm_eval<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &BatchNormSpec,
    _affine: Affine<'_, Cpu<T>>,
    _mean: &Wide<Cpu<T>>,
    _variance: &Wide<Cpu<T>>,
) -> Result<NormStats<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "batch_norm_eval is being written".into() })
}

pub(crate) fn normalise<T: CpuElement>(
    _cpu: &Cpu<T>,
    _norm: &Norm<Cpu<T>>,
    _residual: Option<&Input<Cpu<T>>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "normalise is being written".into() })
}

pub(crate) fn batch_norm_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &BatchNormSpec,
    _dy: Data<Cpu<T>>,
    _norm: &Norm<Cpu<T>>,
    _stats: &NormStats<Cpu<T>>,
    _output: Option<&Data<Cpu<T>>>,
    _batch: bool,
) -> Result<NormBackward<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "batch_norm_backward is being written".into() })
}

pub(crate) fn normalise_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _gradient: &NormGradient<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "normalise_backward is being written".into() })
}
