//! Convolution layer.

use crate::nn::{Init, Kind, Layout, Module, Param, Scope};
use crate::ops::conv2d::{ConvParams, conv2d};
use crate::spec::{Conv2dOptions, Conv2dSpec};
use crate::{Backend, Pass, Result, Shape, Var, named_fields};

/// Convolution of \[N, H, W, C\] to `out_channels` channels. State dict: `weight` \[K, C / groups, KH, KW\], `bias` \[K\].
#[derive(Debug)]
pub struct Conv2d<B: Backend> {
    /// \[KH, KW, C / groups, K\].
    pub weight: Param<B>,
    /// \[K\].
    pub bias: Option<Param<B>>,
    /// The geometry.
    pub options: Conv2dOptions,
    pub(crate) scope: Scope,
}

named_fields!(Conv2d { weight, bias });

impl<B: Backend> Conv2d<B> {
    /// A convolution with a bias.
    ///
    /// # Errors
    /// Channels that the groups do not divide, or a zero size.
    pub fn new(
        init: &mut Init<'_, B>,
        in_channels: usize,
        out_channels: usize,
        options: Conv2dOptions,
    ) -> Result<Self> {
        let mut layer = Self::without_bias(init, in_channels, out_channels, options)?;
        let [rows, columns, channels] = [0, 1, 2].map(|axis| layer.weight.shape().dims()[axis]);
        let shape = Shape::new(&[out_channels])?;
        layer.bias = Some(init.uniform(shape, rows * columns * channels, Kind::Bias, Layout::Same)?);
        Ok(layer)
    }

    /// A convolution without a bias, as they stand before a normalisation.
    ///
    /// # Errors
    /// As [`Conv2d::new`].
    pub fn without_bias(
        init: &mut Init<'_, B>,
        in_channels: usize,
        out_channels: usize,
        options: Conv2dOptions,
    ) -> Result<Self> {
        // An image that just fits the kernel checks everything but the image.
        let reach = |axis: usize| options.kernel[axis].saturating_mul(options.dilation[axis]);
        let spec = Conv2dSpec::new([1, reach(0), reach(1), in_channels], out_channels, &options)?;
        let dims = spec.weight_shape();
        let fan_in = dims[0] * dims[1] * dims[2];
        let weight = init.uniform(Shape::new(&dims)?, fan_in, Kind::Weight, Layout::Transposed { dims })?;
        Ok(Conv2d { weight, bias: None, options, scope: Scope::default() })
    }

    /// What the operation takes.
    pub(crate) fn params(&self, pass: &Pass<B>) -> Result<ConvParams<'_, B>> {
        let weight = self.weight.learned(pass)?;
        let bias = self.bias.as_ref().map(|bias| bias.learned(pass)).transpose()?;
        Ok(ConvParams { weight, bias, options: &self.options })
    }
}

impl<B: Backend> Module<B> for Conv2d<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        conv2d(x, self.params(x.pass())?)
    }
}
