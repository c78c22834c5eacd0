//! The core of a convolutional-network framework: tensors, autodiff, layers, optimisers, generic over a [`Backend`].
//!
//! A [`Backend`] is a device with its element type; [`Naive`] is the one that lives here, plain loops that say what every
//! operation means. A [`Pass`] is one run of a model; a [`Var`] is a value in it; modules ([`nn`]) take and return
//! values; a loss runs back through what was recorded and gives [`Gradients`]; an optimiser ([`optim`]) applies them.
//!
//! ```
//! use cnn_core::nn::{Conv2d, Flatten, Init, Linear, MaxPool2d, Module, Relu, Sequential, name_fields};
//! use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
//! use cnn_core::{Conv2dOptions, Naive, Pass, Pool2dOptions, Tensor};
//!
//! # fn main() -> cnn_core::Result<()> {
//! let backend = Naive::<f32>::default();
//! let init = &mut Init::new(&backend, 0);
//! let mut model = Sequential::new()
//!     .push(Conv2d::new(init, 3, 4, Conv2dOptions::square(3))?) // [N, 8, 8, 3] -> [N, 6, 6, 4]
//!     .push(Relu::default())
//!     .push(MaxPool2d::new(Pool2dOptions::square(2))) // -> [N, 3, 3, 4]
//!     .push(Flatten::default())
//!     .push(Linear::from_image(init, [3, 3, 4], 2)?); // -> [N, 2]
//! name_fields(&mut model);
//! let mut optimizer = Optimizer::new(&backend, &model, OptimizerOptions::new(Method::NESTEROV))?;
//!
//! let images: Vec<f32> = (0..2 * 8 * 8 * 3).map(|i| (i % 7) as f32 * if i < 192 { 0.1 } else { -0.1 }).collect();
//! let mut losses = Vec::new();
//! for step in 0..10 {
//!     let pass = Pass::train(&backend, 0).at_step(step);
//!     let x = pass.input(Tensor::from_slice(&backend, [2, 8, 8, 3], &images)?)?;
//!     let loss = model.call(&x)?.cross_entropy(&[0, 1], 0.0)?;
//!     let gradients = loss.backward()?;
//!     optimizer.step(0.1, &mut model, &gradients)?;
//!     losses.push(loss.to_f64()?);
//! }
//! assert!(losses[9] < 0.5 * losses[0], "{losses:?}");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod archive;
pub mod backend;
pub mod check;
pub mod element;
pub mod error;
pub mod frozen;
pub mod graph;
pub mod image;
pub mod naive;
pub mod names;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod pass;
pub mod pretrained;
pub mod pytorch;
pub mod rng;
pub mod shape;
pub mod spec;
pub mod state_dict;
pub mod tape;
pub mod tensor;
mod trace;
pub mod value;
pub mod var;
pub mod windows;

pub use backend::{Backend, Device, Inference};
pub use element::{DType, Element, Plain, Real};
pub use error::{Error, Result};
pub use frozen::Frozen;
pub use half::bf16;
pub use naive::Naive;
pub use pass::{Mode, Pass};
pub use shape::Shape;
pub use spec::{
    BatchNormSpec, Conv2dOptions, Conv2dSpec, DropoutSpec, LayerNormSpec, Padding, Pool2dOptions, Pool2dSpec,
};
pub use tape::Gradients;
pub use tensor::Tensor;
pub use var::Var;
pub use windows::{AdaptivePool2dSpec, Windows};
