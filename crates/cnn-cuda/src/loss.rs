//! STUB

#![allow(unused_imports)]
use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Pool2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) fn softmax<T: CudaElement>(_cuda: &Cuda<T>, _x: &Data<Cuda<T>>, _classes: usize) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "softmax: not written".into() })
}

pub(crate) fn softmax_backward<T: CudaElement>(_cuda: &Cuda<T>, _y: &Data<Cuda<T>>, _dy: Data<Cuda<T>>, _classes: usize) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "softmax_backward: not written".into() })
}

pub(crate) fn cross_entropy<T: CudaElement>(_cuda: &Cuda<T>, _logits: &Data<Cuda<T>>, _labels: &Buffer<u32>, _classes: usize, _smoothing: f64) -> Result<CrossEntropy<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "cross_entropy: not written".into() })
}
