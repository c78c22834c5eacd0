//! STUB

#![allow(unused_imports)]
use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Pool2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) fn blend<T: CudaElement>(_cuda: &Cuda<T>, _into: &mut Wide<Cuda<T>>, _a: f64, _from: &Wide<Cuda<T>>, _b: f64) -> Result<()> {
    Err(Error::Device { backend: "cuda", message: "blend: not written".into() })
}

pub(crate) fn gradient_health<T: CudaElement>(_cuda: &Cuda<T>, _loss: Option<&Wide<Cuda<T>>>, _gradients: &[&Wide<Cuda<T>>], _largest: f64) -> Result<Health<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "gradient_health: not written".into() })
}

pub(crate) fn sgd<T: CudaElement>(_cuda: &Cuda<T>, _step: &SgdStep, _parameters: &mut [SgdParam<'_, Cuda<T>>], _health: &Health<Cuda<T>>) -> Result<()> {
    Err(Error::Device { backend: "cuda", message: "sgd: not written".into() })
}

pub(crate) fn adam<T: CudaElement>(_cuda: &Cuda<T>, _step: &AdamStep, _parameters: &mut [AdamParam<'_, Cuda<T>>], _health: &Health<Cuda<T>>) -> Result<()> {
    Err(Error::Device { backend: "cuda", message: "adam: not written".into() })
}
