//! Layers with PyTorch's names, initialisation and state-dict keys.
//!
//! A network of one's own is a struct of layers with a field `scope: Scope`: [`named_fields!`](crate::named_fields) lists its
//! other fields, [`Module::forward`] says what it computes, and its constructor ends with [`name_fields`]. A layer of one's own
//! reads a learned array by [`Param::var`] and computes by [`Var::custom`].

mod activation;
mod batch_norm2d;
mod conv2d;
mod conv_norm;
mod dropout;
mod fields;
mod init;
mod layer_norm;
mod linear;
mod param;
mod pool2d;
mod sequential;
mod statistics;

pub use activation::{Flatten, Gelu, Hardsigmoid, Hardswish, LeakyRelu, Relu, Relu6, Sigmoid, Silu};
pub use batch_norm2d::BatchNorm2d;
pub use conv_norm::ConvNorm;
pub use conv2d::Conv2d;
pub use dropout::{Dropout, StochasticDepth};
pub use fields::{Fields, Leaf, LeafMut, Path, Scope, freeze_statistics, name_fields, parameters, parameters_mut};
pub use init::{Draw, Init};
pub use layer_norm::{LayerNorm, LayerScale};
pub use linear::Linear;
pub use param::{Count, Kind, Layout, Param, Statistic};
pub(crate) use param::{Key, model_of};
pub use pool2d::{AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d};
pub use sequential::Sequential;
pub use statistics::RunningStatistics;

use crate::{Backend, Result, Tensor, Var};

/// A part of a network. Training moves running statistics, which is why `forward` takes `&mut self`.
pub trait Module<B: Backend>: Fields<B> {
    /// What the module computes; call it through [`Module::call`].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>>;

    /// Initial values that depend on the images that the network will learn from: `images` makes a batch of some of them,
    /// normalised as in training. Whoever trains calls this once before the first step; most networks have no such values and do
    /// not ask for images.
    ///
    /// # Errors
    /// Images that the network cannot take, and those of the device.
    fn initialise(&mut self, _backend: &B, _images: &mut dyn FnMut() -> Result<Tensor<B>>) -> Result<()> {
        Ok(())
    }

    /// Runs the module under its state-dict path: errors name it and the observer sees it.
    fn call(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let scope = self.scope().clone();
        x.pass().within(scope.path(), || self.forward(x))
    }
}
