//! STUB

#![allow(unused_imports)]
use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Pool2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) fn normalise<T: CudaElement>(_cuda: &Cuda<T>, _norm: &Norm<Cuda<T>>, _residual: Option<&Input<Cuda<T>>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "normalise: not written".into() })
}

pub(crate) fn channel_moments<T: CudaElement>(_cuda: &Cuda<T>, _x: &Data<Cuda<T>>, _spec: &BatchNormSpec) -> Result<Moments<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "channel_moments: not written".into() })
}

pub(crate) fn batch_norm_train<T: CudaElement>(_cuda: &Cuda<T>, _spec: &BatchNormSpec, _moments: &Moments<Cuda<T>>, _affine: Affine<'_, Cuda<T>>, _running: Running<'_, Cuda<T>>) -> Result<NormStats<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "batch_norm_train: not written".into() })
}

pub(crate) fn batch_norm_eval<T: CudaElement>(_cuda: &Cuda<T>, _spec: &BatchNormSpec, _affine: Affine<'_, Cuda<T>>, _mean: &Wide<Cuda<T>>, _variance: &Wide<Cuda<T>>) -> Result<NormStats<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "batch_norm_eval: not written".into() })
}

pub(crate) fn batch_norm_backward<T: CudaElement>(_cuda: &Cuda<T>, _spec: &BatchNormSpec, _dy: Data<Cuda<T>>, _norm: &Norm<Cuda<T>>, _stats: &NormStats<Cuda<T>>, _output: Option<&Data<Cuda<T>>>, _batch: bool) -> Result<NormBackward<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "batch_norm_backward: not written".into() })
}

pub(crate) fn normalise_backward<T: CudaElement>(_cuda: &Cuda<T>, _gradient: NormGradient<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "normalise_backward: not written".into() })
}

pub(crate) fn shared_gradient<T: CudaElement>(_cuda: &Cuda<T>, _gradient: NormGradient<Cuda<T>>) -> Result<Gradient<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "shared_gradient: not written".into() })
}

#[derive(Debug)]
pub(crate) struct Partials { pub(crate) mean: Buffer<f32>, pub(crate) m2: Buffer<f32> }
impl Partials {
    pub(crate) fn new<T: CudaElement>(_cuda: &Cuda<T>, _rows: usize, _rows_per_part: usize, _channels: usize) -> Result<Self> { Err(Error::Device { backend: "cuda", message: "stub".into() }) }
}
pub(crate) fn combine<T: CudaElement>(_cuda: &Cuda<T>, _rows: usize, _channels: usize, _partials: &Partials) -> Result<Moments<Cuda<T>>> { Err(Error::Device { backend: "cuda", message: "stub".into() }) }
