//! Convolution.

use cnn_core::backend::{Data, Gradient, Input, Moments, Uses, Wide};
use cnn_core::{Conv2dSpec, Error, Result};

use crate::Cpu;
use crate::element::CpuElement;

/// A convolution's weight in the form its kernels read.
#[derive(Clone, Debug)]
pub struct Filter<T>(std::marker::PhantomData<T>);

fn missing<R>() -> Result<R> {
    Err(Error::Device { backend: "cpu", message: "convolution is being written".into() })
}

pub(crate) fn prepare_filter<T: CpuElement>(
    _: &Cpu<T>,
    _: &Conv2dSpec,
    _: &Wide<Cpu<T>>,
    _: Uses,
) -> Result<Filter<T>> {
    missing()
}

pub(crate) fn conv2d<T: CpuElement>(
    _: &Cpu<T>,
    _: &Conv2dSpec,
    _: &Input<Cpu<T>>,
    _: &Filter<T>,
    _: Option<&Wide<Cpu<T>>>,
    _: bool,
) -> Result<(Data<Cpu<T>>, Option<Moments<Cpu<T>>>)> {
    missing()
}

pub(crate) fn conv2d_backward_data<T: CpuElement>(
    _: &Cpu<T>,
    _: &Conv2dSpec,
    _: &Gradient<Cpu<T>>,
    _: &Filter<T>,
    _: Option<Data<Cpu<T>>>,
) -> Result<Data<Cpu<T>>> {
    missing()
}

pub(crate) fn conv2d_backward_weight<T: CpuElement>(
    _: &Cpu<T>,
    _: &Conv2dSpec,
    _: &Gradient<Cpu<T>>,
    _: &Input<Cpu<T>>,
) -> Result<Wide<Cpu<T>>> {
    missing()
}
