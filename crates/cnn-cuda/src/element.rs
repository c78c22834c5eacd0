//! How activations are stored on the GPU.

use cnn_core::Element;
use half::bf16;

/// An element of the CUDA backend: f32 or bf16. Sums, parameters and statistics are f32 for both.
pub trait CudaElement: Element<Accum = f32> + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

impl CudaElement for f32 {}
impl CudaElement for bf16 {}
