//! Images on their way into a network: stored bytes, and how each sample of a batch is cut from them.
//!
//! Images stay bytes until the backend reads them: one method crops, flips, cuts out, normalises and converts
//! (`Backend::load_images`), so that a step uploads a few numbers a sample.

use crate::shape::checked_numel;
use crate::{Error, Result};

/// What a pixel outside the stored image is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    /// Byte 0 (black), as torchvision's `RandomCrop` pads.
    #[default]
    Zero,
    /// The image mirrored at its edge, the edge pixel itself not repeated.
    Reflect,
}

/// The stored images (all of one size) and how bytes become numbers: `(byte / 255 - mean) / std` per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSpec {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of an image: 1 or 3.
    pub channels: usize,
    /// What is read outside the image.
    pub border: Border,
    /// Mean of each channel, of pixels scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels scaled to [0, 1].
    pub std: Vec<f32>,
}

impl ImageSpec {
    /// Checks that an image can be addressed, and that mean and std fit the channels and can be divided by.
    pub fn check(&self) -> Result<()> {
        checked_numel(&[self.height, self.width, self.channels])?;
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                return Err(Error::invalid(
                    format!("image {name}"),
                    format!("{values:?}"),
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
        self.height * self.width * self.channels
    }
}

/// One sample of a batch: which stored image, and how it is moved.
///
/// Output pixel (y, x) of an H x W image reads input pixel (y + offset\[0\], x' + offset\[1\]), where x' is x, or
/// W - 1 - x when `flip` is set; output pixels inside `cutout` are 0 after normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleView {
    /// Index of the stored image.
    pub index: u32,
    /// Rows and columns by which the crop is shifted.
    pub offset: [i32; 2],
    /// Mirror left to right.
    pub flip: bool,
    /// Rows `cutout[0]..cutout[2]`, columns `cutout[1]..cutout[3]` of the output; all zero for none.
    pub cutout: [u16; 4],
}

impl SampleView {
    /// The image as it is stored.
    pub fn plain(index: u32) -> Self {
        SampleView { index, ..SampleView::default() }
    }
}
