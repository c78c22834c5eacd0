//! Maximum and average pooling.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn max_pool2d<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &Pool2dSpec,
    _x: &Data<Cpu<T>>,
) -> Result<(Data<Cpu<T>>, Buffer<u32>)> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "max_pool2d is being written".into() })
}

pub(crate) fn max_pool2d_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &Pool2dSpec,
    _dy: &Data<Cpu<T>>,
    _places: &Buffer<u32>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "max_pool2d_backward is being written".into() })
}

pub(crate) fn avg_pool2d<T: CpuElement>(_cpu: &Cpu<T>, _spec: &Pool2dSpec, _x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "avg_pool2d is being written".into() })
}

pub(crate) fn avg_pool2d_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &Pool2dSpec,
    _dy: &Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "avg_pool2d_backward is being written".into() })
}
