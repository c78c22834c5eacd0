//! One file per operation: its forward pass, and beside it what it records for the way back.

mod activation;
mod add;
pub(crate) mod batch_norm2d;
mod binary_cross_entropy;
pub(crate) mod concat;
pub(crate) mod conv2d;
pub(crate) mod conv2d_norm;
mod cross_entropy;
mod custom;
mod dropout;
mod flatten;
pub(crate) mod layer_norm;
pub(crate) mod layer_scale;
pub(crate) mod learned;
pub(crate) mod linear;
mod loss;
pub(crate) mod parameter;
mod pool2d;
mod scale_channels;
mod softmax;

pub use binary_cross_entropy::Targets;
pub use cross_entropy::{ClassWeights, Labels};
pub use loss::Loss;
