//! SGD and Adam over all parameters in one pass.
#![allow(unused_imports)]

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::{Buffer, Cpu};

pub(crate) fn gradient_health<T: CpuElement>(
    _cpu: &Cpu<T>,
    _loss: &Wide<Cpu<T>>,
    _gradients: &[&Wide<Cpu<T>>],
) -> Result<Health<Cpu<T>>> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "gradient_health is being written".into() })
}

pub(crate) fn sgd<T: CpuElement>(
    _cpu: &Cpu<T>,
    _step: &SgdStep,
    _parameters: &mut [SgdParam<'_, Cpu<T>>],
    _health: &Health<Cpu<T>>,
) -> Result<()> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "sgd is being written".into() })
}

pub(crate) fn adam<T: CpuElement>(
    _cpu: &Cpu<T>,
    _step: &AdamStep,
    _parameters: &mut [AdamParam<'_, Cpu<T>>],
    _health: &Health<Cpu<T>>,
) -> Result<()> {
    Err(cnn_core::Error::Device { backend: "cpu", message: "adam is being written".into() })
}
