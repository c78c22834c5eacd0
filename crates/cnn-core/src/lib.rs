//! The core of a convolutional-network framework: tensors, autodiff, layers, optimisers, generic over a [`Backend`].
#![forbid(unsafe_code)]

pub mod archive;
pub mod backend;
pub mod element;
pub mod error;
pub mod graph;
pub mod image;
pub mod naive;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod pass;
pub mod rng;
pub mod shape;
pub mod spec;
pub mod state_dict;
pub mod tape;
pub mod tensor;
pub mod var;

pub use backend::Backend;
pub use element::{DType, Element, Plain, Real};
pub use error::{Error, Result};
pub use naive::Naive;
pub use pass::{Mode, Pass};
pub use shape::Shape;
pub use spec::{BatchNormSpec, Conv2dOptions, Conv2dSpec, Padding, Pool2dOptions, Pool2dSpec};
pub use tape::Gradients;
pub use tensor::Tensor;
pub use var::Var;
