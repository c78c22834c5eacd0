//! Convolutional networks in pure Rust: train, evaluate and run image classifiers, with no Python and no C++ library.
//!
//! This crate re-exports the library's crates under one name, and with the feature `cli` it is also the program `cnn`.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`core`] | tensors, autodiff, layers, optimisers, state dicts, generic over a [`Backend`](core::Backend) |
//! | [`models`] | the networks: `stepwise` (to be followed step by step), `small`, `resnet18`, `resnet34` |
//! | [`data`] | CIFAR, MNIST files, folders of images, a generated set; augmentation; batches |
//! | [`train`] | recipe, training loop, checkpoints, and what a weights file becomes again |
//! | `cpu` | the CPU backend, for any element that it knows; [`Cpu`] is the one in f32 |
//! | `cuda` | NVIDIA GPUs, in f32 or bf16 |
//!
//! # Features, and a setting that matters
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `cli` (default) | the program: clap, indicatif and what else only a terminal needs |
//! | `cpu` (default) | the CPU backend |
//! | `cuda` | the CUDA backend: builds without CUDA, and finds the driver and NVRTC when a device is opened |
//! | `download` (default) | fetching the published data sets: ureq and TLS |
//! | `formats` | pictures in WebP, GIF, BMP and TIFF, beside JPEG and PNG: seven more crates |
//! | `f64` | the CPU backend in double precision too, for gradient checks; twice the compile time |
//!
//! A library wants neither the first nor, mostly, the third:
//! `cargo add cnn --no-default-features --features cpu`. Cargo builds the dependencies of a program that is being developed
//! without optimisation, and the kernels are then over 100 times slower. Either run with `--release`, or add to `Cargo.toml`
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```
//!
//! # For those who know PyTorch
//!
//! | PyTorch | here |
//! | --- | --- |
//! | `nn.Module`, its registered fields | [`nn::Module`](core::nn::Module), [`named_fields!`](core::named_fields) and a last [`name_fields`](core::nn::name_fields) |
//! | `nn.Parameter`, `autograd.Function`, `gradcheck` | [`Param::var`](core::nn::Param::var), [`Var::custom`](core::Var::custom), [`check::gradients`](core::check::gradients) |
//! | `torch.cat(xs, 1)`, `x[:, a:b]`, `channel_shuffle`, `x * s` of an image and its channels | [`Var::concat`](core::Var::concat), [`slice_channels`](core::Var::slice_channels), [`shuffle_channels`](core::Var::shuffle_channels), [`scale_channels`](core::Var::scale_channels) |
//! | `LayerNorm`, `StochasticDepth`, `layer_scale` | [`nn::LayerNorm`](core::nn::LayerNorm), [`nn::StochasticDepth`](core::nn::StochasticDepth), [`nn::LayerScale`](core::nn::LayerScale) |
//! | `model(x)` | `model.call(&x)` |
//! | `model.train()`, `model.eval()` | the pass: [`Pass::train`](core::Pass::train), [`Pass::eval`](core::Pass::eval) |
//! | `torch.no_grad()`, TorchScript, `optimize_for_inference` | [`Frozen`](core::Frozen) |
//! | `loss.backward()`, `param.grad` | `let gradients = loss.backward()?` |
//! | `optimizer.step()`, `zero_grad()` | `optimizer.step(lr, &mut model, &gradients)`; nothing to zero |
//! | `state_dict()`, `load_state_dict(strict=True)` | [`state_dict`](core::state_dict), with torchvision's names |
//! | NCHW, weights `[out, in, kh, kw]` | NHWC, weights `[kh, kw, in, out]`; files have PyTorch's layout |
//! | `DataLoader`, `ImageFolder` | [`data::Loader`], whose batches [`train::DeviceBatches`] makes tensors; [`data::open`] |
//! | `torch.manual_seed` | the seed of a model and of a pass: no global generator |
//!
//! # A network of one's own
//!
//! A struct of layers, its field names the keys of its state dict. [`named_fields!`](core::named_fields) lists them, and
//! [`name_fields`](core::nn::name_fields) at the end of the constructor tells every layer its path, by which errors, optimisers
//! and files know it.
//!
//! ```
//! # fn main() -> cnn::core::Result<()> {
//! use cnn::core::nn::{Conv2d, Init, Linear, Module, Scope, name_fields};
//! use cnn::core::{Backend, Conv2dOptions, Naive, Pass, Result, Tensor, Var, named_fields};
//!
//! struct Tiny<B: Backend> {
//!     conv: Conv2d<B>,
//!     fc: Linear<B>,
//!     scope: Scope,
//! }
//!
//! named_fields!(Tiny { conv, fc });
//!
//! impl<B: Backend> Tiny<B> {
//!     fn new(backend: &B, seed: u64) -> Result<Self> {
//!         let init = &mut Init::new(backend, seed);
//!         let conv = Conv2d::new(init, 3, 8, Conv2dOptions::square(3))?;
//!         let mut tiny = Tiny { conv, fc: Linear::new(init, 8, 2)?, scope: Scope::default() };
//!         name_fields(&mut tiny);
//!         Ok(tiny)
//!     }
//! }
//!
//! impl<B: Backend> Module<B> for Tiny<B> {
//!     fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
//!         self.fc.call(&self.conv.call(x)?.relu()?.global_avg_pool2d()?.flatten()?)
//!     }
//! }
//!
//! let backend = Naive::<f32>::default();
//! let image = Tensor::from_slice(&backend, [1, 8, 8, 3], &[0.5; 8 * 8 * 3])?;
//! let logits = Tiny::new(&backend, 0)?.call(&Pass::eval(&backend).input(image)?)?;
//! assert_eq!(logits.shape().dims(), [1, 2]);
//! # Ok(())
//! # }
//! ```
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
#[cfg(feature = "cuda")]
pub use cnn_cuda as cuda;
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
    pub use cnn_core::state_dict::Naming;
    pub use cnn_core::{Backend, Device, Frozen, Inference, Pass, Shape, Tensor, Var};
    pub use cnn_data::{Dataset, ImageSet, OpenOptions, decode_image, open};
    pub use cnn_models::{Arch, Model};
    pub use cnn_train::{
        Classifier, Control, Evaluation, Event, Networks, Precision, Prediction, Recipe, RunFolder, Summary, Trained,
        Trainer,
    };
}
