//! STUB

#![allow(unused_imports)]
use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Pool2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) fn max_pool2d<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Pool2dSpec, _x: &Data<Cuda<T>>) -> Result<(Data<Cuda<T>>, Buffer<u32>)> {
    Err(Error::Device { backend: "cuda", message: "max_pool2d: not written".into() })
}

pub(crate) fn avg_pool2d<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Pool2dSpec, _x: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "avg_pool2d: not written".into() })
}

pub(crate) fn max_pool2d_backward<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Pool2dSpec, _dy: &Data<Cuda<T>>, _indices: &Buffer<u32>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "max_pool2d_backward: not written".into() })
}

pub(crate) fn avg_pool2d_backward<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Pool2dSpec, _dy: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "avg_pool2d_backward: not written".into() })
}
