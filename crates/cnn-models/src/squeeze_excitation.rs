//! Squeeze and excitation (J. Hu, L. Shen, G. Sun, "Squeeze-and-Excitation Networks", 2018), with torchvision's names.

use cnn_core::backend::Activation;
use cnn_core::nn::{Conv2d, Init, Module, Scope};
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};

/// Images times a factor for each of their channels, which two layers make of the channels' averages: `fc1` to fewer of them and an
/// activation, `fc2` back to all and a gate between 0 and 1. The layers are 1x1 convolutions.
#[derive(Debug)]
pub(crate) struct SqueezeExcitation<B: Backend> {
    fc1: Conv2d<B>,
    fc2: Conv2d<B>,
    /// Between the layers, and the gate.
    activations: [Activation; 2],
    scope: Scope,
}

named_fields!(SqueezeExcitation { fc1, fc2 });

impl<B: Backend> SqueezeExcitation<B> {
    /// Of `channels`, which are squeezed to `squeezed`, with the activation between the layers and the gate.
    pub(crate) fn new(
        init: &mut Init<'_, B>,
        channels: usize,
        squeezed: usize,
        activations: [Activation; 2],
    ) -> Result<Self> {
        Ok(SqueezeExcitation {
            fc1: Conv2d::new(init, channels, squeezed, Conv2dOptions::square(1))?,
            fc2: Conv2d::new(init, squeezed, channels, Conv2dOptions::square(1))?,
            activations,
            scope: Scope::default(),
        })
    }

    /// How many weights it has.
    pub(crate) const fn parameter_count(channels: usize, squeezed: usize) -> usize {
        2 * channels * squeezed + channels + squeezed
    }
}

impl<B: Backend> Module<B> for SqueezeExcitation<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let squeezed = self.fc1.call(&x.global_avg_pool2d()?)?.activate(self.activations[0])?;
        x.scale_channels(&self.fc2.call(&squeezed)?.activate(self.activations[1])?)
    }
}
