//! What a device must know how to do, in three steps: [`Device`] is memory, [`Inference`] runs a model forward,
//! [`Backend`] trains it.
//!
//! The traits speak the language of cuDNN, not of array primitives, and fusion is in the signatures: a convolution reads
//! an [`Input`], which may be a normalised activation that was never written, and a [`Gradient`], which may be the
//! gradient through a normalisation that was never written; and it returns the channel moments that the next
//! normalisation needs. A backend may always materialise first ([`Naive`](crate::Naive) does).
//!
//! Layout everywhere: activations \[N, H, W, C\] contiguous, convolution weights \[KH, KW, C / groups, K\], dense weights
//! \[in, out\]. Shapes are checked by the specs before a method is called; a method fails only for reasons of its device.
//! An argument passed by value may be overwritten; one passed by reference is only read.

mod activation;
mod channels;
pub mod check;
mod device;
mod inference;
mod norm;
mod optim;
mod training;

pub use activation::{Activation, Saved};
pub use channels::{ScaleSpec, SliceSpec, check_concat, check_groups};
pub use device::{AUTO, Accum, Data, Device, Later, Memory, Wide};
pub(crate) use device::{download_one, one};
pub use inference::{Epilogue, Inference, Input, LinearSpec, Recorded, Uses, check_samples};
pub use norm::{
    Affine, Gradient, LayerNormBackward, Moments, Norm, NormBackward, NormGradient, NormMask, NormStats, Rectifier,
    Running,
};
pub use optim::{AdamParam, AdamStep, Health, SgdParam, SgdStep, check_blend};
pub use training::{Backend, CrossEntropy, CrossEntropySpec};
