//! Dense layers on `gemm`.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn linear<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &LinearSpec,
    _x: &Data<Cpu<T>>,
    _weight: &Wide<Cpu<T>>,
    _bias: Option<&Wide<Cpu<T>>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "linear is being written".into() })
}

pub(crate) fn linear_backward_data<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &LinearSpec,
    _dy: &Data<Cpu<T>>,
    _weight: &Wide<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "linear_backward_data is being written".into() })
}

pub(crate) fn linear_backward_weight<T: CpuElement>(
    _cpu: &Cpu<T>,
    _spec: &LinearSpec,
    _dy: &Data<Cpu<T>>,
    _x: &Data<Cpu<T>>,
) -> Result<Wide<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "linear_backward_weight is being written".into() })
}

pub(crate) fn sum_rows<T: CpuElement>(_cpu: &Cpu<T>, _x: &Data<Cpu<T>>, _channels: usize) -> Result<Wide<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "sum_rows is being written".into() })
}
