//! The core of a convolutional-network framework: tensors, autodiff, layers, optimisers, generic over a `Backend`.
#![forbid(unsafe_code)]

pub mod error;
pub mod image;
pub mod rng;

pub use error::{Error, Result};
