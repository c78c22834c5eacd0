//! Addition and scaling.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn add<T: CpuElement>(_cpu: &Cpu<T>, _a: Data<Cpu<T>>, _b: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "add is being written".into() })
}

pub(crate) fn scale<T: CpuElement>(_cpu: &Cpu<T>, _a: Data<Cpu<T>>, _factor: f64) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "scale is being written".into() })
}
