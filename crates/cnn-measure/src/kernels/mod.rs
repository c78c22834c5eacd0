//! The kernels of the networks, each on operands of noise. What is listed here is what the layer table and the criterion
//! benchmarks measure.

#[cfg(feature = "cuda")]
mod baseline;
mod conv2d;
mod linear;
mod norm;
mod optim;
mod pool2d;

#[cfg(feature = "cuda")]
pub use baseline::baseline;
pub use conv2d::{
    Operands, POINTWISE, SHAPES as CONVOLUTIONS, conv2d, frozen as conv2d_frozen, name as convolution_name,
    passes as conv2d_passes,
};
pub use linear::linear;
pub use norm::norm;
pub use optim::optim;
pub use pool2d::pool2d;

use cnn_core::backend::{Accum, Backend, Data, Wide};
use cnn_core::{Element, Real, Result};

/// One kernel, ready to run.
pub struct Kernel<'a> {
    /// Its shape and pass.
    pub name: String,
    /// What one run takes.
    pub work: Work,
    /// One run.
    pub run: &'a mut dyn FnMut() -> Result<()>,
}

/// What limits a kernel, and how much of it one run takes.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Operations of the direct algorithm; a multiply-add counts as two.
    Flops(u64),
    /// Bytes that have to be read and written at least.
    Bytes(u64),
}

/// What is done with each kernel while its operands exist.
pub type Visit<'a> = &'a mut dyn FnMut(Kernel<'_>) -> Result<()>;

/// Every kernel of ResNet-18 for CIFAR, and those that the step-by-step network has besides, on `batch` images.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn resnet18<B: Backend>(backend: &B, batch: usize, visit: Visit<'_>) -> Result<()> {
    conv2d(backend, batch, &CONVOLUTIONS, Operands::Written, visit)?;
    linear(backend, batch, visit)?;
    passes(backend, batch, visit)
}

/// Those of them that pass over memory: normalisation, pooling, optimisers.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn passes<B: Backend>(backend: &B, batch: usize, visit: Visit<'_>) -> Result<()> {
    norm(backend, batch, visit)?;
    pool2d(backend, batch, visit)?;
    optim(backend, visit)
}

/// Bytes of so many activations.
fn bytes<B: Backend>(count: usize) -> Work {
    Work::Bytes((count * size_of::<B::Elem>()) as u64)
}

/// Activations between -1 and 1 that no compiler or CPU can guess.
pub(crate) fn noise<B: Backend>(backend: &B, len: usize) -> Result<Data<B>> {
    let values: Vec<B::Elem> = random::<Accum<B>>().take(len).map(B::Elem::from_accum).collect();
    backend.upload(&values)
}

/// Parameters or gradients of them, likewise.
fn wide_noise<B: Backend>(backend: &B, len: usize) -> Result<Wide<B>> {
    backend.upload(&random::<Accum<B>>().take(len).collect::<Vec<_>>())
}

/// So many parameters or statistics of one value.
fn wide_fill<B: Backend>(backend: &B, len: usize, value: f64) -> Result<Wide<B>> {
    backend.fill(len, Accum::<B>::from_f64(value))
}

/// The upper bits of a linear congruential generator (Knuth's MMIX).
fn random<R: Real>() -> impl Iterator<Item = R> {
    let step =
        |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
    std::iter::successors(Some(1), step).map(|state| R::from_f64((state >> 40) as f64 / f64::from(1 << 23) - 1.0))
}
