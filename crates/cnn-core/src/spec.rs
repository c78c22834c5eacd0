//! The whole problem of an operation, checked once.
//!
//! A spec can only be made by its constructor, which owns the shape algebra and the error text; kernels read plain
//! numbers and fail only for reasons of their device.

use crate::shape::{Shape, checked_numel};
use crate::{Error, Result};

/// Rows and columns added around an image, per side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same on all sides.
    pub const fn all(n: usize) -> Self {
        Padding { top: n, left: n, bottom: n, right: n }
    }
}

impl From<usize> for Padding {
    fn from(n: usize) -> Self {
        Padding::all(n)
    }
}

/// Largest kernel, stride, dilation or padding that is accepted: far above any use, far below overflow.
const MAX_GEOMETRY: usize = 1 << 15;

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

/// The geometry of a pooling layer without its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dOptions {
    /// Rows and columns of the window.
    pub window: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns around the input; at most half of the window.
    pub padding: Padding,
    /// Round the output size up, so that the last window may reach past the padded image, be it the only one; a window that would
    /// start in the padding at the far end is dropped.
    pub ceil_mode: bool,
    /// Average pooling: divide by the window's size within the padded image, not within the image.
    pub count_include_pad: bool,
}

impl Pool2dOptions {
    /// A square window that moves by its own size (PyTorch's defaults).
    pub fn square(window: usize) -> Self {
        Pool2dOptions {
            window: [window; 2],
            stride: [window; 2],
            padding: Padding::default(),
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// With this stride on both axes.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Pool2dOptions { stride: [stride; 2], ..self }
    }

    /// With this padding.
    #[must_use]
    pub fn padding(self, padding: impl Into<Padding>) -> Self {
        Pool2dOptions { padding: padding.into(), ..self }
    }
}

/// A pooling over windows of an image: maximum or average. Input \[N, H, W, C\], output \[N, OH, OW, C\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Pool2dSpec {
    /// N.
    pub batch: usize,
    /// H, W of the input.
    pub input: [usize; 2],
    /// H, W of the output.
    pub output: [usize; 2],
    /// C.
    pub channels: usize,
    /// Rows and columns of the window.
    pub window: [usize; 2],
    /// Rows and columns from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns around the input.
    pub padding: Padding,
    /// Average pooling: divide by the window's size within the padded image.
    pub count_include_pad: bool,
}

impl Pool2dSpec {
    /// The pooling of an input \[N, H, W, C\].
    ///
    /// # Errors
    /// A zero size, a window larger than the padded image (by the stride and more, where the output size is rounded up), or padding of
    /// more than half of the window.
    pub fn new(input: [usize; 4], options: &Pool2dOptions) -> Result<Self> {
        let [batch, h, w, channels] = input;
        let Pool2dOptions { window, stride, padding, ceil_mode, count_include_pad } = *options;
        Shape::new(&input)?;
        let largest = [padding.top.max(padding.bottom), padding.left.max(padding.right)];
        if (0..2).any(|axis| largest[axis] > window[axis] / 2) {
            return Err(Error::invalid(
                "padding",
                format!("{largest:?}"),
                format!("must be at most half of the pooling window {window:?}"),
            ));
        }
        let output = window_output("window", [h, w], window, stride, [1, 1], padding, ceil_mode)?;
        Ok(Pool2dSpec { batch, input: [h, w], output, channels, window, stride, padding, count_include_pad })
    }

    /// One window over the whole image.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn global(input: [usize; 4]) -> Result<Self> {
        let [_, h, w, _] = input;
        Self::new(input, &Pool2dOptions { window: [h, w], stride: [1, 1], ..Pool2dOptions::square(1) })
    }

    /// The geometry without the input; its size is rounded up only if the output has a window more than the floor gives.
    ///
    /// # Errors
    /// A number of the spec, which are all public, was changed so that they do not belong together.
    pub fn options(&self) -> Result<Pool2dOptions> {
        let Pool2dSpec { window, stride, padding, count_include_pad, .. } = *self;
        let floor = Pool2dOptions { window, stride, padding, ceil_mode: false, count_include_pad };
        let ceil = Pool2dOptions { ceil_mode: true, ..floor };
        let made = |options| Ok(Pool2dSpec::new(self.input_shape(), options)?.output);
        // A window larger than the image has its place in the ceiling alone.
        match (made(&floor), made(&ceil)) {
            (Ok(output), _) if output == self.output => Ok(floor),
            (_, Ok(output)) if output == self.output => Ok(ceil),
            (output, _) => Err(changed_output(self.output, output?)),
        }
    }

    /// Refuses a spec that was changed, as [`Conv2dSpec::check`].
    ///
    /// # Errors
    /// Those of [`Pool2dSpec::options`].
    pub fn check(&self) -> Result<()> {
        self.options().map(drop)
    }

    /// \[N, H, W, C\].
    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.input[0], self.input[1], self.channels]
    }

    /// \[N, OH, OW, C\].
    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.output[0], self.output[1], self.channels]
    }

    /// The same pooling of `batch` images.
    ///
    /// # Errors
    /// An input that is too large to address.
    pub fn at_batch(self, batch: usize) -> Result<Self> {
        let spec = Pool2dSpec { batch, ..self };
        Shape::new(&spec.input_shape())?;
        Ok(spec)
    }

    /// The rows (axis 0) or columns (axis 1) of the image under window `o`, and how many rows or columns an average
    /// over it counts. The range is never empty.
    pub fn span(&self, axis: usize, o: usize) -> (std::ops::Range<usize>, usize) {
        let (before, after) = match axis {
            0 => (self.padding.top, self.padding.bottom),
            _ => (self.padding.left, self.padding.right),
        };
        let size = self.input[axis];
        let start = o * self.stride[axis]; // in the padded image
        let end = (start + self.window[axis]).min(before + size + after);
        let inside = start.saturating_sub(before)..(end - before).min(size);
        let counted = if self.count_include_pad { end - start } else { inside.len() };
        (inside, counted)
    }
}

/// Batch normalisation over all but the innermost dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSpec {
    /// Elements per channel: N * H * W.
    pub rows: usize,
    /// C.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Layer normalisation over the innermost dimension. How many rows there are is not part of the problem.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormSpec {
    /// C, the numbers of a row.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Random zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutSpec {
    /// How likely a draw is a zero.
    pub probability: f64,
    /// How many consecutive elements share a draw: 1 for each by itself, the elements of an image for whole images.
    pub shared_by: usize,
}

impl DropoutSpec {
    /// Each element has a draw of its own.
    pub const fn elements(probability: f64) -> Self {
        DropoutSpec { probability, shared_by: 1 }
    }

    /// Refuses draws that nobody has.
    ///
    /// # Errors
    /// None share a draw.
    pub fn check(&self) -> Result<()> {
        if self.shared_by > 0 {
            return Ok(());
        }
        Err(Error::invalid("elements that share a draw", 0, "must be at least 1"))
    }
}

/// A spec says that its output is `got`, which its other numbers do not give.
fn changed_output(got: [usize; 2], given: [usize; 2]) -> Error {
    Error::invalid("output", format!("{got:?}"), format!("must be {given:?}, as the spec's other numbers give"))
}

/// Output size of a window that slides over a padded image, on both axes.
fn window_output(
    what: &str,
    input: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    ceil_mode: bool,
) -> Result<[usize; 2]> {
    let Padding { top, left, bottom, right } = padding;
    for (name, values) in [(what, window), ("stride", stride), ("dilation", dilation)] {
        if values.iter().any(|&v| v == 0 || v > MAX_GEOMETRY) {
            return Err(Error::invalid(name, format!("{values:?}"), format!("must be from 1 to {MAX_GEOMETRY}")));
        }
    }
    if [top, left, bottom, right].iter().any(|&v| v > MAX_GEOMETRY) {
        return Err(Error::invalid("padding", format!("{padding:?}"), format!("must be at most {MAX_GEOMETRY}")));
    }
    let mut output = [0; 2];
    for axis in 0..2 {
        let (before, after) = [(top, bottom), (left, right)][axis];
        let padded = input[axis] + before + after;
        let reach = dilation[axis] * (window[axis] - 1) + 1;
        let beyond = if ceil_mode { stride[axis] - 1 } else { 0 };
        if input[axis] == 0 || reach > padded + beyond {
            let [h, w] = [input[0] + top + bottom, input[1] + left + right];
            let rule = match (dilation, ceil_mode) {
                ([1, 1], false) => "must fit",
                ([1, 1], true) => "must by less than its stride reach past",
                _ => &*format!("with dilation {dilation:?} must fit"),
            };
            let rule = format!("{rule} the padded image, which is {h}x{w}");
            return Err(Error::invalid(what, format!("{}x{}", window[0], window[1]), rule));
        }
        output[axis] = (padded + beyond - reach) / stride[axis] + 1;
        // Rounded up it may begin behind the image, but for the first one.
        if ceil_mode && (output[axis] - 1) * stride[axis] >= input[axis] + before {
            output[axis] -= 1;
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_by_step_networks_shapes() {
        let conv = Conv2dSpec::new([1, 32, 32, 3], 32, &Conv2dOptions::square(3)).unwrap();
        assert_eq!(conv.output_shape(), [1, 30, 30, 32]);
        let pool = Pool2dSpec::new(conv.output_shape(), &Pool2dOptions::square(2)).unwrap();
        assert_eq!(pool.output_shape(), [1, 15, 15, 32]);
    }

    #[test]
    fn a_kernel_larger_than_its_image_names_both() {
        let error = Conv2dSpec::new([1, 4, 4, 3], 8, &Conv2dOptions::square(7)).unwrap_err();
        assert_eq!(error.to_string(), "kernel 7x7: must fit the padded image, which is 4x4");
    }

    #[test]
    fn ceil_mode_drops_a_window_that_starts_in_the_far_padding() {
        let options = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::square(2) };
        let size = |h, o: Pool2dOptions| Pool2dSpec::new([1, h, 8, 1], &o).unwrap().output[0];
        assert_eq!(size(5, options), 3);
        // PyTorch: MaxPool2d(3, 2, padding=1, ceil_mode=True) maps 6 to 4 and 5 to 3.
        let resnet = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::square(3).stride(2).padding(1) };
        assert_eq!((size(6, resnet), size(5, resnet)), (4, 3));
        let far = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::square(2).stride(3).padding(1) };
        assert_eq!(size(2, far), 1);
    }

    #[test]
    fn ceil_mode_takes_a_window_larger_than_its_image() {
        // PyTorch: MaxPool2d(3, 2, ceil_mode=True) maps 2 to 1 and refuses 1.
        let options = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::square(3).stride(2) };
        let spec = Pool2dSpec::new([1, 2, 2, 1], &options).unwrap();
        assert_eq!((spec.output, spec.span(0, 0), spec.options().ok()), ([1, 1], (0..2, 2), Some(options)));
        let error = Pool2dSpec::new([1, 1, 2, 1], &options).unwrap_err().to_string();
        assert_eq!(error, "window 3x3: must by less than its stride reach past the padded image, which is 1x2");
    }

    #[test]
    fn spans_count_the_padding_only_when_asked() {
        let options = Pool2dOptions::square(3).stride(2).padding(1);
        let spec = Pool2dSpec::new([1, 4, 4, 1], &options).unwrap();
        assert_eq!(spec.span(0, 0), (0..2, 3));
        let spec = Pool2dSpec::new([1, 4, 4, 1], &Pool2dOptions { count_include_pad: false, ..options }).unwrap();
        assert_eq!(spec.span(0, 0), (0..2, 2));
    }
}
