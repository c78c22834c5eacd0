//! The family of activations, and dropout.

use cnn_core::backend::{Activation, Data, check};
use cnn_core::rng::Philox;
use cnn_core::{DropoutSpec, Result};

use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Argument;

pub(crate) const SOURCE: Source = source!("activation");

/// What `kernels/activations.cuh` calls an activation, or none.
pub(crate) fn number(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Gelu) => 2,
        Some(Activation::Relu6) => 3,
        Some(Activation::LeakyRelu) => 4,
        Some(Activation::Silu) => 5,
        Some(Activation::Hardswish) => 6,
        Some(Activation::Sigmoid) => 7,
        Some(Activation::Hardsigmoid) => 8,
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
    unsafe { launch.over_vectors::<T>(x.len()) }?;
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
    unsafe { launch.over_vectors::<T>(dy.len()) }?;
    Ok(dx)
}

/// A sequence of random words: `kernels/philox.cuh` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sequence {
    key: [u32; 2],
    counter: [u32; 3],
}

// SAFETY: five numbers of four bytes.
unsafe impl Argument for Sequence {}

/// Zeroes elements at random and divides the others by what is kept.
pub(crate) fn dropout<T: CudaElement>(
    cuda: &Cuda<T>,
    mut x: Data<Cuda<T>>,
    spec: &DropoutSpec,
    mask: &Philox,
) -> Result<Data<Cuda<T>>> {
    spec.check()?;
    let &DropoutSpec { probability, shared_by } = spec;
    // A word's number is its upper 24 bits over 2^24: it is below p where the bits are below p * 2^24, rounded up.
    let dropped = (f64::from(probability as f32) * f64::from(1 << 24)).ceil() as u32;
    let keep = (1.0 - probability) as f32;
    let sequence = Sequence { key: mask.key(), counter: mask.counter() };
    let y = cuda.in_place(&mut x)?;
    let launch = cuda.kernel(SOURCE, "dropout")?.buffer(&x).buffer(&y).value(sequence).value(dropped).value(keep);
    // Fewer elements than 2^31 share no more than one draw of so many.
    let launch = launch.value(u32::try_from(shared_by).unwrap_or(u32::MAX));
    // SAFETY: both have as many elements; y is new, or x, which was given away.
    unsafe { launch.value(x.len() as u64).over_vectors::<T>(x.len()) }?;
    Ok(y)
}
