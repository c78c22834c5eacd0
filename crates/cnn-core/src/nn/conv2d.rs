//! Convolution layer.

use crate::backend::Accum;
use crate::element::Real;
use crate::nn::{Init, Layout, Module, Param, Scope};
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
        layer.bias = Some(init.bias(out_channels, rows * columns * channels)?);
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
        let fans = [dims[2], dims[3]].map(|channels| dims[0] * dims[1] * channels);
        let weight = init.weight(Shape::new(&dims)?, init.convolutions, fans, Layout::Transposed { dims })?;
        Ok(Conv2d { weight, bias: None, options, scope: Scope::default() })
    }

    /// Sets the first filters to pass a channel on each, as it is: PyTorch's `nn.init.dirac_`, of as many filters as there are
    /// channels. The others stay as they are. Of groups, each has its own channels.
    ///
    /// # Errors
    /// The device's.
    pub fn pass_channels_on(&mut self, backend: &B) -> Result<()> {
        let &[rows, columns, channels, filters] = self.weight.shape().dims() else { return Ok(()) };
        let mut values = backend.download(self.weight.value())?;
        let group = filters / self.options.groups;
        for filter in (0..filters).filter(|filter| filter % group < channels) {
            for place in 0..rows * columns * channels {
                let centre = rows / 2 * columns + columns / 2;
                let passed = place == centre * channels + filter % group;
                values[place * filters + filter] = Accum::<B>::from_f64(f64::from(u8::from(passed)));
            }
        }
        *self.weight.value_mut() = backend.upload(&values)?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Naive, Tensor};

    #[test]
    fn the_first_filters_pass_channels_on() {
        let backend = Naive::<f64>::new();
        let values: Vec<f64> = (0..2 * 5 * 4 * 4).map(|i| (i as f64).sin()).collect();
        for groups in [1, 2] {
            let init = &mut Init::new(&backend, 1);
            let options = Conv2dOptions::square(3).padding(1).groups(groups);
            let mut conv = Conv2d::without_bias(init, 4, 12, options).unwrap();
            conv.pass_channels_on(&backend).unwrap();
            let pass = Pass::train(&backend, 0);
            crate::nn::name_fields(&mut conv);
            let x = pass.input(Tensor::from_slice(&backend, [2, 5, 4, 4], &values).unwrap()).unwrap();
            let y = conv.call(&x).unwrap().to_vec().unwrap();
            let (filters, channels) = (12 / groups, 4 / groups);
            for (pixel, x) in values.chunks(4).enumerate() {
                for (channel, x) in x.iter().enumerate() {
                    let filter = channel / channels * filters + channel % channels;
                    assert_eq!(y[12 * pixel + filter], *x, "{groups} groups, channel {channel}");
                }
            }
        }
    }
}
