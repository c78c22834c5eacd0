//! ReLU, GELU, dropout.

use cnn_core::Result;
use cnn_core::backend::{Activation, Data, check};
use cnn_core::rng::Philox;

use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("activation");

/// What `kernels/activations.cuh` calls an activation, or none.
pub(crate) fn number(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Gelu) => 2,
    }
}

/// `activation` of each element.
pub(crate) fn activate<T: CudaElement>(
    cuda: &Cuda<T>,
    activation: Activation,
    mut x: Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let y = cuda.in_place(&mut x)?;
    let launch = cuda.kernel(SOURCE, "activate_forward")?.buffer(&x).buffer(&y);
    let launch = launch.value(number(Some(activation))).value(x.len() as u64);
    // SAFETY: both have as many elements; y is new, or x, which was given away.
    unsafe { launch.over(x.len()) }?;
    Ok(y)
}

/// `dy` times the derivative of `activation`.
pub(crate) fn activate_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    activation: Activation,
    saved: &Data<Cuda<T>>,
    mut dy: Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    check::length("the saved activation", saved.len(), dy.len())?;
    let dx = cuda.in_place(&mut dy)?;
    let launch = cuda.kernel(SOURCE, "activate_gradient")?.buffer(saved).buffer(&dy).buffer(&dx);
    let launch = launch.value(number(Some(activation))).value(dy.len() as u64);
    // SAFETY: the three have as many elements; dx is new, or dy, which was given away.
    unsafe { launch.over(dy.len()) }?;
    Ok(dx)
}

pub(crate) fn dropout<T: CudaElement>(_cuda: &Cuda<T>, _x: Data<Cuda<T>>, _probability: f64, _mask: &Philox) -> Result<Data<Cuda<T>>> {
    Err(cnn_core::Error::Device { backend: "cuda", message: "dropout: not written".into() })
}
