//! A small network that trains in a minute: three times convolution, normalisation, ReLU, pooling; then one dense layer.

use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Error, Pool2dOptions, Result, Var, named_fields};

/// Three stages of 32, 64 and 128 channels, each halving the image. State dict: `conv1`, `bn1`, ..., `bn3`, `fc`.
#[derive(Debug)]
pub struct Small<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    conv3: Conv2d<B>,
    bn3: BatchNorm2d<B>,
    fc: Linear<B>,
    scope: Scope,
}

named_fields!(Small { conv1, bn1, conv2, bn2, conv3, bn3, fc });

impl<B: Backend> Small<B> {
    /// The network for images \[height, width, channels\].
    ///
    /// # Errors
    /// An image of fewer than 8 rows or columns, of which three poolings would leave nothing.
    pub fn new(backend: &B, seed: u64, [h, w, c]: [usize; 3], classes: usize) -> Result<Self> {
        if h < 8 || w < 8 {
            return Err(Error::invalid("image", format!("{h}x{w}"), "must be at least 8x8 for three poolings"));
        }
        let init = &mut Init::new(backend, seed);
        let conv3x3 = Conv2dOptions::square(3).padding(1);
        let mut model = Small {
            conv1: Conv2d::without_bias(init, c, 32, conv3x3)?,
            bn1: BatchNorm2d::new(init, 32)?,
            conv2: Conv2d::without_bias(init, 32, 64, conv3x3)?,
            bn2: BatchNorm2d::new(init, 64)?,
            conv3: Conv2d::without_bias(init, 64, 128, conv3x3)?,
            bn3: BatchNorm2d::new(init, 128)?,
            fc: Linear::from_image(init, [h / 8, w / 8, 128], classes)?,
            scope: Scope::default(),
        };
        name_fields(&mut model);
        Ok(model)
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count([h, w, c]: [usize; 3], classes: usize) -> Option<usize> {
        let fc = (h / 8).checked_mul(w / 8)?.checked_mul(128)?.checked_add(1)?.checked_mul(classes)?;
        let stages = 2 * (32 + 64 + 128) + 9 * (32 * 64 + 64 * 128);
        c.checked_mul(9 * 32)?.checked_add(stages)?.checked_add(fc)
    }
}

impl<B: Backend> Module<B> for Small<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let halve = Pool2dOptions::square(2);
        let x = ConvNorm(&mut self.conv1, &mut self.bn1).relu(x)?.max_pool2d(&halve)?;
        let x = ConvNorm(&mut self.conv2, &mut self.bn2).relu(&x)?.max_pool2d(&halve)?;
        let x = ConvNorm(&mut self.conv3, &mut self.bn3).relu(&x)?.max_pool2d(&halve)?;
        self.fc.call(&x.flatten()?)
    }
}
