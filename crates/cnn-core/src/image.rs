//! Images on their way into a network: stored bytes, and how each sample of a batch is cut from them.
//!
//! Images stay bytes until the backend reads them: one method crops, flips, cuts out, normalises and converts
//! (`Backend::load_images`), so that a step uploads a few numbers a sample.

use serde::{Deserialize, Serialize};

use crate::shape::checked_numel;
use crate::{Error, Result};

/// What a pixel outside the stored image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Border {
    /// Byte 0 (black), as torchvision's `RandomCrop` pads.
    #[default]
    Zero,
    /// The image mirrored at its edge, the edge pixel itself not repeated.
    Reflect,
}

/// The stored images and the samples cut from them, each of one size, and how bytes become numbers:
/// `(byte / 255 - mean) / std` per channel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ImageSpec {
    /// Rows and columns of a stored image.
    pub stored: [usize; 2],
    /// Rows and columns of a sample.
    pub output: [usize; 2],
    /// Channels of both: 1 or 3.
    pub channels: usize,
    /// What is read outside the stored image.
    pub border: Border,
    /// Mean of each channel, of pixels scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels scaled to [0, 1].
    pub std: Vec<f32>,
}

impl ImageSpec {
    /// Images of height, width and channels `size`, and samples of the same size.
    pub fn new(size: [usize; 3], border: Border, mean: &[f32], std: &[f32]) -> Self {
        let [height, width, channels] = size;
        let stored = [height, width];
        ImageSpec { stored, output: stored, channels, border, mean: mean.to_vec(), std: std.to_vec() }
    }

    /// The same images, with samples of other rows and columns, such as 224x224 cut from 256x256.
    pub fn with_output(self, output: [usize; 2]) -> Self {
        ImageSpec { output, ..self }
    }

    /// How image `index` is seen where nothing is left to chance, see [`SampleView::whole`].
    pub fn whole(&self, index: u32) -> SampleView {
        SampleView::whole(index, self.stored, self.output)
    }

    /// Checks that images can be addressed and samples have pixels, and that mean and std fit the channels and can be divided by.
    ///
    /// # Errors
    /// Which of them does not.
    pub fn check(&self) -> Result<()> {
        let ([rows, columns], [height, width]) = (self.stored, self.output);
        checked_numel(&[rows, columns, self.channels])?;
        checked_numel(&[height, width, self.channels])?;
        if height == 0 || width == 0 {
            return Err(Error::invalid("sample size", format!("{height}x{width}"), "sides must be positive"));
        }
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                return Err(Error::invalid(
                    format!("image {name}"),
                    format!("[{}]", values.len()),
                    format!("needs one value for each of {} channels", self.channels),
                ));
            }
        }
        if self.std.iter().any(|&s| !(s > 0.0 && s.is_finite())) {
            return Err(Error::invalid("image std", format!("{:?}", self.std), "must be positive and finite"));
        }
        Ok(())
    }

    /// Bytes of one stored image.
    pub fn bytes(&self) -> usize {
        self.stored[0] * self.stored[1] * self.channels
    }

    /// Numbers of one sample.
    pub fn numel(&self) -> usize {
        self.output[0] * self.output[1] * self.channels
    }
}

/// One sample of a batch: which stored image, and how it is moved. Plain words only, so that a device can be handed a
/// list of them as it lies in memory.
///
/// Output pixel (y, x) of an H x W sample reads stored pixel (y + offset\[0\], x' + offset\[1\]), where x' is x, or
/// W - 1 - x when `flip` is set; output pixels inside `cutout` are 0 after normalisation.
///
/// With `source`, a rectangle of so many rows and columns that begins at `offset` is stretched over the sample instead:
/// bilinear interpolation between the centres of pixels, its outermost pixels repeated, as PyTorch's
/// `resized_crop(.., antialias=False)` and `interpolate(.., align_corners=False)` do. Axis by axis, x' reads at
/// `(x' + 1/2) * source / W - 1/2` of the rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SampleView {
    /// Index of the stored image.
    pub index: u32,
    /// Row and column of the stored image at which the sample begins.
    pub offset: [i32; 2],
    /// Rows and columns of the stored image that the sample shows; 0 for as many as it has itself.
    pub source: [u16; 2],
    /// Rows `cutout[0]..cutout[2]`, columns `cutout[1]..cutout[3]` of the output; all zero for none.
    pub cutout: [u16; 4],
    /// Mirror left to right.
    pub flip: bool,
}

impl SampleView {
    /// The image as it is stored.
    pub fn plain(index: u32) -> Self {
        SampleView { index, ..SampleView::default() }
    }

    /// The middle of an image of `stored` rows and columns, as a sample of `output`; all of an image that is smaller, stretched.
    ///
    /// Where as many pixels are left over on either side as on the other but for one, the place is that of Python's rounding, as
    /// in torchvision's `CenterCrop`.
    pub fn whole(index: u32, stored: [usize; 2], output: [usize; 2]) -> Self {
        if stored[0] < output[0] || stored[1] < output[1] {
            // A side that does not fit is none that an image may have.
            let source = stored.map(|side| u16::try_from(side).unwrap_or(u16::MAX));
            return SampleView { source, ..SampleView::plain(index) };
        }
        let offset = [0, 1].map(|axis| half(stored[axis] - output[axis]) as i32);
        SampleView { offset, ..SampleView::plain(index) }
    }

    /// Rows and columns of the stored image that a sample of `output` shows.
    pub fn shown(&self, output: [usize; 2]) -> [usize; 2] {
        let side = |axis: usize| if self.source[axis] == 0 { output[axis] } else { self.source[axis].into() };
        [side(0), side(1)]
    }
}

/// Half of `pixels`, rounded to an even number where it lies between two.
pub fn half(pixels: usize) -> usize {
    pixels / 2 + usize::from(pixels % 4 == 3)
}

/// How every image of a batch is mixed with the one before it, the first with the last. With half of two images the network shall
/// say half of both classes: mixup (H. Zhang et al., 2017) and CutMix (S. Yun et al., 2019), as torchvision's transforms pair them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Height, width and channels.
    pub size: [usize; 3],
    /// Part of the image's own that each of its numbers keeps; the rest is the other's.
    pub own: f64,
    /// Rows `patch[0]..patch[2]`, columns `patch[1]..patch[3]` that are the other's alone; all zero for none.
    pub patch: [u16; 4],
}

impl Mix {
    /// Part of the label that is the image's own.
    pub fn own_label(&self) -> f64 {
        let [height, width, _] = self.size;
        let [top, left, bottom, right] = self.patch.map(usize::from);
        let side = |from: usize, to: usize, size: usize| to.min(size).saturating_sub(from) as f64;
        let patch = side(top, bottom, height) * side(left, right, width) / (height * width).max(1) as f64;
        self.own * (1.0 - patch)
    }

    /// Checks that `numel` numbers are whole images, and that the parts are parts; returns how many images there are.
    ///
    /// # Errors
    /// Which of them does not hold.
    pub fn check(&self, numel: usize) -> Result<usize> {
        if !(0.0..=1.0).contains(&self.own) {
            return Err(Error::invalid("part of an image's own", self.own, "must be from 0 to 1"));
        }
        crate::backend::check::whole_rows("the images", numel, checked_numel(&self.size)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_of_an_image_is_its_middle_or_all_of_it() {
        assert_eq!((0..9).map(half).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2, 3, 4, 4]);
        let whole = |stored, output| {
            let SampleView { offset, source, .. } = SampleView::whole(7, stored, output);
            (offset, source)
        };
        assert_eq!(whole([256, 300], [224, 224]), ([16, 38], [0; 2]));
        assert_eq!(whole([227, 225], [224, 224]), ([2, 0], [0; 2]));
        assert_eq!(whole([32, 32], [32, 32]), ([0; 2], [0; 2]));
        assert_eq!(whole([32, 300], [96, 96]), ([0; 2], [32, 300]));
        assert_eq!(whole([32, 32], [96, 96]), ([0; 2], [32; 2]));
    }

    #[test]
    fn a_label_is_mixed_as_its_image_is() {
        let mix = |own, patch| Mix { size: [4, 8, 3], own, patch }.own_label();
        assert_eq!(mix(0.75, [0; 4]), 0.75);
        assert_eq!(mix(1.0, [1, 2, 3, 6]), 0.75);
        assert_eq!(mix(0.5, [0, 0, 4, 4]), 0.25);
        // What lies outside of the image is none of it.
        assert_eq!(mix(1.0, [2, 4, u16::MAX, u16::MAX]), 0.75);
        assert_eq!(mix(1.0, [3, 3, 1, 1]), 1.0);
    }
}
