//! Convolutional networks in pure Rust: train, evaluate and run image classifiers, with no Python and no C++ library.
//!
//! This crate is the front door. It re-exports the rooms behind it, a backend by cargo feature (`cpu`), and behind the
//! feature `cli` it is also the program `cnn`.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`core`] | tensors, autodiff, layers, optimisers, state dicts, generic over a [`Backend`](core::Backend) |
//! | [`models`] | the networks: `stepwise`, `small`, `resnet18`, `resnet34` |
//! | [`data`] | CIFAR, MNIST files, folders of images, a generated set; augmentation; batches |
//! | [`train`] | recipe, training loop, checkpoints, and what a weights file becomes again |
//! | `cpu` | the CPU backend, for any element that it knows; [`Cpu`] is the one in f32 |
//!
//! # One step by hand
//!
//! ```
//! # #[cfg(feature = "cpu")]
//! # fn main() -> cnn::Result<()> {
//! use cnn::core::optim::{Optimizer, OptimizerOptions, Method};
//! use cnn::prelude::*;
//!
//! let backend = Cpu::new()?;
//! let mut model = "stepwise".parse::<Arch>()?.build(&backend, 0, [32, 32, 3], 10)?;
//! let images = Tensor::from_slice(&backend, [2, 32, 32, 3], &[0.5; 2 * 32 * 32 * 3])?;
//!
//! let pass = Pass::train(&backend, 0);
//! let logits = model.call(&pass.input(images)?)?;
//! assert_eq!(logits.shape().dims(), [2, 10]);
//!
//! let loss = logits.cross_entropy(&[3, 5], 0.0)?;
//! let gradients = loss.backward()?;
//! let options = OptimizerOptions::new(Method::NESTEROV).weight_decay(5e-4);
//! Optimizer::new(&backend, &model, options)?.step(0.1, &mut model, &gradients)?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "cpu"))]
//! # fn main() {}
//! ```
//!
//! # A whole training
//!
//! ```no_run
//! # #[cfg(feature = "cpu")]
//! # fn main() -> cnn::Result<()> {
//! use cnn::prelude::*;
//!
//! let dataset = open("shapes", "data".as_ref(), &OpenOptions::default())?;
//! let recipe = Recipe::default_for("small", "shapes")?;
//! let folder = RunFolder::create("runs/shapes")?;
//! let summary = Trainer::new(&Cpu::new()?, recipe, dataset)?.run(&folder, &mut |_| Control::Continue)?;
//! println!("test accuracy {:?}", summary.test.map(|test| test.accuracy()));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "cpu"))]
//! # fn main() {}
//! ```
#![forbid(unsafe_code)]

pub use cnn_core as core;
#[cfg(feature = "cpu")]
pub use cnn_cpu as cpu;
pub use cnn_data as data;
pub use cnn_models as models;
pub use cnn_train as train;

pub use cnn_train::{Error, Result};

/// The CPU backend in f32.
#[cfg(feature = "cpu")]
pub type Cpu = cnn_cpu::Cpu<f32>;

/// What most programs need: `use cnn::prelude::*`.
pub mod prelude {
    #[cfg(feature = "cpu")]
    pub use crate::Cpu;
    pub use cnn_core::nn::Module;
    pub use cnn_core::{Backend, Device, Frozen, Inference, Pass, Shape, Tensor, Var};
    pub use cnn_data::{Dataset, ImageSet, OpenOptions, decode_image, open};
    pub use cnn_models::{Arch, Model};
    pub use cnn_train::{
        Classifier, Control, Evaluation, Event, Networks, Precision, Prediction, Recipe, RunFolder, Summary, Trained,
        Trainer,
    };
}
