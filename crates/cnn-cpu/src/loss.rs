//! Softmax and cross entropy.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn softmax<T: CpuElement>(_cpu: &Cpu<T>, _x: &Data<Cpu<T>>, _classes: usize) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "softmax is being written".into() })
}

pub(crate) fn softmax_backward<T: CpuElement>(
    _cpu: &Cpu<T>,
    _y: &Data<Cpu<T>>,
    _dy: Data<Cpu<T>>,
    _classes: usize,
) -> Result<Data<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "softmax_backward is being written".into() })
}

pub(crate) fn cross_entropy<T: CpuElement>(
    _cpu: &Cpu<T>,
    _logits: &Data<Cpu<T>>,
    _labels: &Buffer<u32>,
    _classes: usize,
    _smoothing: f64,
) -> Result<CrossEntropy<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "cross_entropy is being written".into() })
}
