//! A convolution and the normalisation behind it, run as one op; each keeps its own state-dict names.

use crate::backend::Activation;
use crate::nn::{BatchNorm2d, Conv2d};
use crate::ops::conv2d_norm::conv2d_norm;
use crate::{Backend, Result, Var};

/// A pair of layers that run as one: `ConvNorm(&mut self.conv1, &mut self.bn1).relu(x)`.
#[derive(Debug)]
pub struct ConvNorm<'a, B: Backend>(pub &'a mut Conv2d<B>, pub &'a mut BatchNorm2d<B>);

impl<B: Backend> ConvNorm<'_, B> {
    /// `norm(conv(x))`.
    pub fn linear(self, x: &Var<B>) -> Result<Var<B>> {
        self.fused(x, None, None)
    }

    /// `relu(norm(conv(x)))`.
    pub fn relu(self, x: &Var<B>) -> Result<Var<B>> {
        self.fused(x, Some(Activation::Relu), None)
    }

    /// `relu(norm(conv(x)) + shortcut)`.
    pub fn add_relu(self, x: &Var<B>, shortcut: &Var<B>) -> Result<Var<B>> {
        self.fused(x, Some(Activation::Relu), Some(shortcut))
    }

    /// `norm(conv(x)) + shortcut`: a block that ends without an activation.
    ///
    /// # Errors
    /// An input that the convolution refuses, and a shortcut of another shape than its output.
    pub fn add(self, x: &Var<B>, shortcut: &Var<B>) -> Result<Var<B>> {
        self.fused(x, None, Some(shortcut))
    }

    /// `activation(norm(conv(x)))`. ReLU and ReLU6 are the same op in training; frozen models fuse any.
    ///
    /// # Errors
    /// An input that the convolution refuses.
    pub fn activate(self, x: &Var<B>, activation: Activation) -> Result<Var<B>> {
        self.fused(x, Some(activation), None)
    }

    /// `activation(norm(conv(x)) + shortcut)`, as [`activate`](Self::activate).
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    pub fn add_activate(self, x: &Var<B>, shortcut: &Var<B>, activation: Activation) -> Result<Var<B>> {
        self.fused(x, Some(activation), Some(shortcut))
    }

    fn fused(self, x: &Var<B>, activation: Option<Activation>, shortcut: Option<&Var<B>>) -> Result<Var<B>> {
        let ConvNorm(conv, norm) = self;
        let scope = norm.scope.clone();
        norm.counted(x.pass(), |params| {
            let conv = (conv.scope.path(), conv.params(x.pass())?);
            conv2d_norm(x, conv, (scope.path(), params), activation, shortcut)
        })
    }
}
