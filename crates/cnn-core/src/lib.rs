//! The core of a convolutional-network framework: tensors, autodiff, layers, optimisers, generic over a [`Backend`].
#![forbid(unsafe_code)]

pub mod backend;
pub mod element;
pub mod error;
pub mod image;
pub mod rng;
pub mod shape;
pub mod spec;

pub use backend::Backend;
pub use element::{DType, Element, Plain, Real};
pub use error::{Error, Result};
pub use shape::Shape;
pub use spec::{BatchNormSpec, Conv2dOptions, Conv2dSpec, Padding, Pool2dOptions, Pool2dSpec};
