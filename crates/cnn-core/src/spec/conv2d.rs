//! Convolutions.

use super::window::{Padding, changed_output, window_output};
use crate::shape::{Shape, checked_numel};
use crate::{Error, Result};

/// The geometry of a convolution without its input; the default is a 1x1 kernel, stride 1, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dOptions {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns between two taps of the kernel.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Independent convolutions, over `in_channels / groups` to `out_channels / groups` channels each.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: Padding::default(), groups: 1 }
    }
}

impl Conv2dOptions {
    /// A square kernel, stride 1, no padding.
    pub fn square(kernel: usize) -> Self {
        Conv2dOptions { kernel: [kernel; 2], ..Self::default() }
    }

    /// With this stride on both axes.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Conv2dOptions { stride: [stride; 2], ..self }
    }

    /// With this padding.
    #[must_use]
    pub fn padding(self, padding: impl Into<Padding>) -> Self {
        Conv2dOptions { padding: padding.into(), ..self }
    }

    /// With this dilation on both axes.
    #[must_use]
    pub fn dilation(self, dilation: usize) -> Self {
        Conv2dOptions { dilation: [dilation; 2], ..self }
    }

    /// With this many groups.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Conv2dOptions { groups, ..self }
    }
}

/// A two-dimensional convolution (cross-correlation, as everywhere in the field).
///
/// Input \[N, H, W, C\], weight \[KH, KW, C / groups, K\], output \[N, OH, OW, K\] with
/// `OH = (H + top + bottom - dilation * (KH - 1) - 1) / stride + 1`, rounded down, and OW likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Conv2dSpec {
    /// N.
    pub batch: usize,
    /// H, W of the input.
    pub input: [usize; 2],
    /// H, W of the output.
    pub output: [usize; 2],
    /// C.
    pub in_channels: usize,
    /// K.
    pub out_channels: usize,
    /// KH, KW.
    pub kernel: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns between two taps.
    pub dilation: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Independent convolutions.
    pub groups: usize,
}

impl Conv2dSpec {
    /// The convolution of an input \[N, H, W, C\] to `out_channels` channels.
    ///
    /// # Errors
    /// A zero size, channels that the groups do not divide, a kernel larger than the padded image, or an output that
    /// is too large to address.
    pub fn new(input: [usize; 4], out_channels: usize, options: &Conv2dOptions) -> Result<Self> {
        let [batch, h, w, in_channels] = input;
        let Conv2dOptions { kernel, stride, dilation, padding, groups } = *options;
        Shape::new(&input)?;
        if in_channels == 0 {
            return Err(Error::invalid("input", format!("{input:?}"), "needs at least one channel"));
        }
        if out_channels == 0 {
            return Err(Error::invalid("out_channels", 0, "must be at least 1"));
        }
        if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            return Err(Error::invalid(
                "groups",
                groups,
                format!("must divide both the {in_channels} input and the {out_channels} output channels"),
            ));
        }
        let output = window_output("kernel", [h, w], kernel, stride, dilation, padding, false)?;
        Shape::new(&[batch, output[0], output[1], out_channels])?;
        let [kh, kw] = kernel;
        checked_numel(&[kh, kw, in_channels / groups, out_channels])?;
        Ok(Conv2dSpec {
            batch,
            input: [h, w],
            output,
            in_channels,
            out_channels,
            kernel,
            stride,
            dilation,
            padding,
            groups,
        })
    }

    /// The geometry without the input.
    ///
    /// # Errors
    /// A number of the spec, which are all public, was changed so that they do not belong together.
    pub fn options(&self) -> Result<Conv2dOptions> {
        let Conv2dSpec { kernel, stride, dilation, padding, groups, .. } = *self;
        let options = Conv2dOptions { kernel, stride, dilation, padding, groups };
        match Conv2dSpec::new(self.input_shape(), self.out_channels, &options)?.output {
            output if output == self.output => Ok(options),
            output => Err(changed_output(self.output, output)),
        }
    }

    /// Refuses a spec that was changed, before any of its products can wrap: what reads a spec that it did not make calls
    /// it first.
    ///
    /// # Errors
    /// Those of [`Conv2dSpec::options`].
    pub fn check(&self) -> Result<()> {
        self.options().map(drop)
    }

    /// \[N, H, W, C\].
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.input[0], self.input[1], self.in_channels]
    }

    /// \[N, OH, OW, K\].
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.output[0], self.output[1], self.out_channels]
    }

    /// \[KH, KW, C / groups, K\].
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.kernel[0], self.kernel[1], self.in_channels / self.groups, self.out_channels]
    }

    /// The same convolution of `batch` images.
    ///
    /// # Errors
    /// An input or output that is too large to address.
    pub fn at_batch(self, batch: usize) -> Result<Self> {
        let spec = Conv2dSpec { batch, ..self };
        Shape::new(&spec.input_shape())?;
        Shape::new(&spec.output_shape())?;
        Ok(spec)
    }

    /// Multiplications of the direct algorithm.
    pub fn macs(&self) -> u64 {
        let per_output: usize = self.weight_shape()[..3].iter().product();
        self.output_shape().iter().product::<usize>() as u64 * per_output as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_larger_than_its_image_names_both() {
        let error = Conv2dSpec::new([1, 4, 4, 3], 8, &Conv2dOptions::square(7)).unwrap_err();
        assert_eq!(error.to_string(), "kernel 7x7: must fit the padded image, which is 4x4");
    }
}
