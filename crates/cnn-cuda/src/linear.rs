//! STUB

#![allow(unused_imports)]
use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Pool2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) fn linear<T: CudaElement>(_cuda: &Cuda<T>, _spec: &LinearSpec, _x: &Data<Cuda<T>>, _weight: &Wide<Cuda<T>>, _epilogue: Epilogue<'_, Cuda<T>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "linear: not written".into() })
}

pub(crate) fn linear_backward_data<T: CudaElement>(_cuda: &Cuda<T>, _spec: &LinearSpec, _dy: &Data<Cuda<T>>, _weight: &Wide<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "linear_backward_data: not written".into() })
}

pub(crate) fn linear_backward_weight<T: CudaElement>(_cuda: &Cuda<T>, _spec: &LinearSpec, _dy: &Data<Cuda<T>>, _x: &Data<Cuda<T>>) -> Result<Wide<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "linear_backward_weight: not written".into() })
}
