//! The step-by-step network, that of README: image -> convolution -> ReLU -> max-pooling -> flatten -> dense -> ReLU -> classes.
//!
//! With 32x32x3 images the shapes are (32, 32, 3) -> (30, 30, 32) -> (15, 15, 32) -> 7200 -> 128 -> classes.

use cnn_core::nn::{Conv2d, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Conv2dSpec, Pool2dOptions, Pool2dSpec, Result, Var, named_fields};

/// The step-by-step CNN. State dict: `conv`, `fc1`, `fc2`, each `weight` and `bias`.
#[derive(Debug)]
pub struct Stepwise<B: Backend> {
    conv: Conv2d<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    scope: Scope,
}

named_fields!(Stepwise { conv, fc1, fc2 });

impl<B: Backend> Stepwise<B> {
    const FILTERS: usize = 32;
    const HIDDEN: usize = 128;

    /// The network for images \[height, width, channels\].
    ///
    /// # Errors
    /// An image too small for the 3x3 convolution and the 2x2 pooling.
    pub fn new(backend: &B, seed: u64, [h, w, c]: [usize; 3], classes: usize) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        let spec =
            Conv2dSpec::new([1, h, w, c], Self::FILTERS, &Self::conv()).map_err(|error| error.in_layer("conv"))?;
        let [_, h, w, channels] = Pool2dSpec::new(spec.output_shape(), &Self::pool())?.output_shape();
        let mut model = Stepwise {
            conv: Conv2d::new(init, c, Self::FILTERS, Self::conv())?,
            fc1: Linear::from_image(init, [h, w, channels], Self::HIDDEN)?,
            fc2: Linear::new(init, Self::HIDDEN, classes)?,
            scope: Scope::default(),
        };
        name_fields(&mut model);
        Ok(model)
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count([h, w, c]: [usize; 3], classes: usize) -> Option<usize> {
        let flat = (h.saturating_sub(2) / 2).checked_mul(w.saturating_sub(2) / 2)?.checked_mul(Self::FILTERS)?;
        let conv = c.checked_mul(9)?.checked_add(1)?.checked_mul(Self::FILTERS)?;
        let fc1 = flat.checked_add(1)?.checked_mul(Self::HIDDEN)?;
        conv.checked_add(fc1)?.checked_add(classes.checked_mul(Self::HIDDEN + 1)?)
    }

    fn conv() -> Conv2dOptions {
        Conv2dOptions::square(3)
    }

    fn pool() -> Pool2dOptions {
        Pool2dOptions::square(2)
    }
}

impl<B: Backend> Module<B> for Stepwise<B> {
    /// Logits \[N, classes\]; their softmax are the probabilities.
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let features = self.conv.call(x)?.relu()?.max_pool2d(&Self::pool())?.flatten()?;
        let hidden = self.fc1.call(&features)?.relu()?;
        self.fc2.call(&hidden)
    }
}
