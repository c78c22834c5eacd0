//! The windows that an average pooling averages: sliding ones, and those that an output of a given size asks for.

use std::ops::Range;

use crate::shape::Shape;
use crate::spec::Pool2dSpec;
use crate::{Error, Result};

/// Average pooling to a given size. Window `o` of an axis begins at `o * input / output`, rounded down, and ends before
/// `(o + 1) * input / output`, rounded up, as in PyTorch: neighbours overlap where the output does not divide the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdaptivePool2dSpec {
    /// N.
    pub batch: usize,
    /// H, W of the input.
    pub input: [usize; 2],
    /// H, W of the output.
    pub output: [usize; 2],
    /// C.
    pub channels: usize,
}

impl AdaptivePool2dSpec {
    /// The pooling of an input \[N, H, W, C\] to `output` rows and columns.
    ///
    /// # Errors
    /// An image without pixels, no rows or columns of the output, and more of them than can be addressed.
    pub fn new(input: [usize; 4], output: [usize; 2]) -> Result<Self> {
        let [batch, h, w, channels] = input;
        let spec = AdaptivePool2dSpec { batch, input: [h, w], output, channels };
        spec.check()?;
        Ok(spec)
    }

    /// Refuses a spec that was changed.
    ///
    /// # Errors
    /// Those of [`AdaptivePool2dSpec::new`].
    pub fn check(&self) -> Result<()> {
        Shape::new(&self.input_shape())?;
        Shape::new(&self.output_shape())?;
        for (what, size) in [("image", self.input), ("output of a pooling", self.output)] {
            if size.contains(&0) {
                return Err(Error::invalid(what, format!("{size:?}"), "must have at least one row and one column"));
            }
        }
        Ok(())
    }

    /// Rows and columns of a window, where all of them have one size and none overlap: windows that slide by their size.
    pub fn sliding(&self) -> Option<[usize; 2]> {
        let [rows, columns] = [0, 1].map(|axis| (self.input[axis], self.output[axis]));
        let divides = |(input, output): (usize, usize)| input.is_multiple_of(output);
        (divides(rows) && divides(columns)).then(|| [rows.0 / rows.1, columns.0 / columns.1])
    }

    /// The same pooling of `batch` images.
    ///
    /// # Errors
    /// An input that is too large to address.
    pub fn at_batch(self, batch: usize) -> Result<Self> {
        let spec = AdaptivePool2dSpec { batch, ..self };
        spec.check()?;
        Ok(spec)
    }
}

/// The windows of a pooling, on both axes. What they are of belongs together.
pub trait Windows: Copy + Send + Sync {
    /// Refuses numbers that do not belong together.
    ///
    /// # Errors
    /// Those of the spec.
    fn check(&self) -> Result<()>;
    /// \[N, H, W, C\].
    fn input_shape(&self) -> [usize; 4];
    /// \[N, OH, OW, C\].
    fn output_shape(&self) -> [usize; 4];
    /// The rows (axis 0) or columns (axis 1) of the image under window `o`, and how many an average over it counts. The range is
    /// never empty.
    fn span(&self, axis: usize, o: usize) -> (Range<usize>, usize);
    /// The windows that cover row (axis 0) or column (axis 1) `i` of the image.
    fn covering(&self, axis: usize, i: usize) -> Range<usize>;
}

impl Windows for Pool2dSpec {
    fn check(&self) -> Result<()> {
        Pool2dSpec::check(self)
    }
    #[inline(always)]
    fn input_shape(&self) -> [usize; 4] {
        Pool2dSpec::input_shape(self)
    }
    #[inline(always)]
    fn output_shape(&self) -> [usize; 4] {
        Pool2dSpec::output_shape(self)
    }
    #[inline(always)]
    fn span(&self, axis: usize, o: usize) -> (Range<usize>, usize) {
        Pool2dSpec::span(self, axis, o)
    }
    #[inline(always)]
    fn covering(&self, axis: usize, i: usize) -> Range<usize> {
        let padded = i + [self.padding.top, self.padding.left][axis];
        let first = (padded + 1).saturating_sub(self.window[axis]).div_ceil(self.stride[axis]);
        let last = padded / self.stride[axis];
        first..(last + 1).min(self.output[axis])
    }
}

impl Windows for AdaptivePool2dSpec {
    fn check(&self) -> Result<()> {
        AdaptivePool2dSpec::check(self)
    }
    #[inline(always)]
    fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.input[0], self.input[1], self.channels]
    }
    #[inline(always)]
    fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.output[0], self.output[1], self.channels]
    }
    #[inline(always)]
    fn span(&self, axis: usize, o: usize) -> (Range<usize>, usize) {
        let pixels = shares(self.input[axis], self.output[axis], o);
        (pixels.clone(), pixels.len())
    }
    #[inline(always)]
    fn covering(&self, axis: usize, i: usize) -> Range<usize> {
        // Window o covers pixel i where o * input < (i + 1) * output and i * output < (o + 1) * input: the roles are alike.
        shares(self.output[axis], self.input[axis], i)
    }
}

/// Which of `of` places share `part` of `parts` equal parts of them. Both are below 2^31, so the products fit.
#[inline(always)]
fn shares(of: usize, parts: usize, part: usize) -> Range<usize> {
    let at = |part: usize| part as u64 * of as u64;
    (at(part) / parts as u64) as usize..at(part + 1).div_ceil(parts as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_like_pytorch() {
        let spec = AdaptivePool2dSpec::new([1, 7, 5, 1], [3, 10]).unwrap();
        assert_eq!([0, 1, 2].map(|o| spec.span(0, o).0), [0..3, 2..5, 4..7]);
        assert_eq!([0, 1, 9].map(|o| spec.span(1, o).0), [0..1, 0..1, 4..5]);
        assert_eq!(spec.sliding(), None);
        assert_eq!(AdaptivePool2dSpec::new([1, 8, 6, 1], [2, 3]).unwrap().sliding(), Some([4, 2]));
    }

    #[test]
    fn a_window_covers_what_is_under_it() {
        for (input, output) in [(7, 3), (3, 7), (5, 5), (1, 4), (13, 6), (224, 9)] {
            let spec = AdaptivePool2dSpec::new([1, input, 1, 1], [output, 1]).unwrap();
            for i in 0..input {
                let covering: Vec<usize> = (0..output).filter(|&o| spec.span(0, o).0.contains(&i)).collect();
                assert_eq!(covering, spec.covering(0, i).collect::<Vec<_>>(), "pixel {i} of {input} to {output}");
            }
        }
    }

    #[test]
    fn no_pixels_are_refused() {
        let error = |input, output| AdaptivePool2dSpec::new(input, output).unwrap_err().to_string();
        assert_eq!(
            error([1, 4, 4, 1], [0, 2]),
            "output of a pooling [0, 2]: must have at least one row and one column"
        );
        assert_eq!(error([1, 0, 4, 1], [1, 2]), "image [0, 4]: must have at least one row and one column");
    }
}
