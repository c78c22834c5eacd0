//! STUB

#![allow(unused_imports)]
use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Pool2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;

#[derive(Clone, Debug)]
pub struct Filter<T: CudaElement> { weight: Buffer<T> }

pub(crate) fn prepare_filter<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Conv2dSpec, _weight: &Wide<Cuda<T>>, _uses: Uses) -> Result<Filter<T>> {
    Err(Error::Device { backend: "cuda", message: "prepare_filter: not written".into() })
}

pub(crate) fn filter_serves<T: CudaElement>(_cuda: &Cuda<T>, _prepared: &Conv2dSpec, _spec: &Conv2dSpec) -> bool {
    true
}

pub(crate) fn conv2d<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Conv2dSpec, _x: &Input<Cuda<T>>, _filter: &Filter<T>, _epilogue: Epilogue<'_, Cuda<T>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "conv2d: not written".into() })
}

pub(crate) fn conv2d_moments<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Conv2dSpec, _x: &Input<Cuda<T>>, _filter: &Filter<T>, _epilogue: Epilogue<'_, Cuda<T>>) -> Result<(Data<Cuda<T>>, Moments<Cuda<T>>)> {
    Err(Error::Device { backend: "cuda", message: "conv2d_moments: not written".into() })
}

pub(crate) fn conv2d_backward_data<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Conv2dSpec, _dy: &Gradient<Cuda<T>>, _filter: &Filter<T>, _accumulate: Option<Data<Cuda<T>>>) -> Result<Data<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "conv2d_backward_data: not written".into() })
}

pub(crate) fn conv2d_backward_weight<T: CudaElement>(_cuda: &Cuda<T>, _spec: &Conv2dSpec, _dy: &Gradient<Cuda<T>>, _x: &Input<Cuda<T>>) -> Result<Wide<Cuda<T>>> {
    Err(Error::Device { backend: "cuda", message: "conv2d_backward_weight: not written".into() })
}
