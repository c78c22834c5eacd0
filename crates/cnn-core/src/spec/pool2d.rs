//! Pooling over windows.

use super::window::{Padding, changed_output, window_output};
use crate::shape::Shape;
use crate::{Error, Result};

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

    /// Refuses a spec that was changed, as [`Conv2dSpec::check`](crate::Conv2dSpec::check).
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

#[cfg(test)]
mod tests {
    use super::*;

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
