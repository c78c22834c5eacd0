//! A convolution, its normalisation and an activation: what torchvision calls `Conv2dNormActivation`.

use cnn_core::backend::Activation;
use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Init, Module, Scope};
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};

/// A convolution without a bias, its normalisation, and an activation or none. State dict: `0`, `1`.
#[derive(Debug)]
pub(crate) struct ConvUnit<B: Backend> {
    conv: Conv2d<B>,
    /// May be given another `eps` and `momentum`.
    pub(crate) norm: BatchNorm2d<B>,
    activation: Option<Activation>,
    scope: Scope,
}

named_fields!(ConvUnit { conv as "0", norm as "1" });

impl<B: Backend> ConvUnit<B> {
    /// Of these channels, by a convolution of this geometry.
    pub(crate) fn new(
        init: &mut Init<'_, B>,
        [entering, leaving]: [usize; 2],
        options: Conv2dOptions,
        activation: Option<Activation>,
    ) -> Result<Self> {
        let conv = Conv2d::without_bias(init, entering, leaving, options)?;
        Ok(ConvUnit { conv, norm: BatchNorm2d::new(init, leaving)?, activation, scope: Scope::default() })
    }

    /// `activation(norm(conv(x)) + shortcut)`.
    pub(crate) fn add(&mut self, x: &Var<B>, shortcut: &Var<B>) -> Result<Var<B>> {
        let both = ConvNorm(&mut self.conv, &mut self.norm);
        match self.activation {
            Some(activation) => both.add_activate(x, shortcut, activation),
            None => both.add(x, shortcut),
        }
    }
}

impl<B: Backend> Module<B> for ConvUnit<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let both = ConvNorm(&mut self.conv, &mut self.norm);
        match self.activation {
            Some(activation) => both.activate(x, activation),
            None => both.linear(x),
        }
    }
}
