//! ReLU, GELU, dropout.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn relu<T: CpuElement>(_cpu: &Cpu<T>, _x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "relu is being written".into() })
}

pub(crate) fn relu_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _y: &Data<Cpu<T>>,
    _dy: Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "relu_backward is being written".into() })
}

pub(crate) fn gelu<T: CpuElement>(_cpu: &Cpu<T>, _x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "gelu is being written".into() })
}

pub(crate) fn gelu_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _x: &Data<Cpu<T>>,
    _dy: Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "gelu_backward is being written".into() })
}

pub(crate) fn dropout<T: CpuElement>(
    _cpu: &Cpu<T>,
    _x: Data<Cpu<T>>,
    _probability: f64,
    _mask: &Philox,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "dropout is being written".into() })
}
