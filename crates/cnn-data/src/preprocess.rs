//! How a picture of any size becomes an image of one: resized, and cut, padded or squashed.

use std::str::FromStr;

use cnn_core::image::half;
use cnn_core::names;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::header::MAX_SIDE;
use crate::{Error, Result};

/// What becomes of a picture whose proportions are not the image's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// It is resized until it covers the image, and what is too much is cut off on both sides.
    #[default]
    Crop,
    /// It is resized until it fits into the image, in whose middle it stands on black.
    Pad,
    /// Its proportions change.
    Squash,
}

/// By what a picture is resized: Pillow's filters, which are as wide as the pixels that become one, so that nothing is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Catmull and Rom's cubic.
    #[default]
    Bicubic,
}

/// How pictures become a network's images, in training and whenever it is used. It is stored with the weights.
///
/// A picture is brought to [`resize`](Preprocess::resize) rows and columns; of these a network is shown the middle, or all, stretched,
/// if it takes more ([`SampleView::whole`](cnn_core::image::SampleView::whole)). torchvision's `Resize(256)`, `CenterCrop(224)`
/// are images of 224x224 with a `resize` of 256x256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Rows and columns that pictures are kept in; none for those of the network's images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<[usize; 2]>,
    /// What becomes of other proportions.
    #[serde(default)]
    pub fit: Fit,
    /// By what they are resized.
    #[serde(default)]
    pub filter: Filter,
}

impl FromStr for Fit {
    type Err = cnn_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        names::value("fit", text, &[("crop", Fit::Crop), ("pad", Fit::Pad), ("squash", Fit::Squash)])
    }
}

impl FromStr for Filter {
    type Err = cnn_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        names::value("filter", text, &[("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)])
    }
}

impl Filter {
    /// How far it reaches, in pixels of the larger of picture and image.
    fn radius(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }
}

impl Preprocess {
    /// Height, width and channels in which a picture is kept for a network that takes `image`.
    pub fn stored(&self, image: [usize; 3]) -> [usize; 3] {
        let [height, width, channels] = image;
        let [rows, columns] = self.resize.unwrap_or([height, width]);
        [rows, columns, channels]
    }

    /// Refuses rows and columns that no image may have.
    ///
    /// # Errors
    /// What they must be.
    pub fn check(&self) -> Result<()> {
        self.resize.map_or(Ok(()), check_target)
    }

    /// The decoded picture `bytes`, \[height, width, channels\] = `size`, as it is kept for a network that takes `image`.
    pub(crate) fn apply(&self, bytes: Vec<u8>, size: [usize; 3], image: [usize; 2]) -> Result<Vec<u8>, String> {
        let [height, width, channels] = size;
        let (from, to) = ([height, width], self.resize.unwrap_or(image));
        if from == to {
            return Ok(bytes);
        }
        match self.fit {
            Fit::Squash => resized(self.filter, &bytes, size, Part::all(from), to),
            Fit::Crop => resized(self.filter, &bytes, size, covering(from, to, image), to),
            Fit::Pad => {
                let inner = fitting(from, to);
                let picture = resized(self.filter, &bytes, size, Part::all(from), inner)?;
                let [top, left] = [0, 1].map(|axis| half(to[axis] - inner[axis]));
                let mut out = vec![0; to[0] * to[1] * channels];
                let rows = out.chunks_exact_mut(to[1] * channels).skip(top);
                for (row, picture) in rows.zip(picture.chunks_exact(inner[1] * channels)) {
                    row[left * channels..][..picture.len()].copy_from_slice(picture);
                }
                Ok(out)
            }
        }
    }
}

/// Refuses sides that no image is resized to.
pub(crate) fn check_target([height, width]: [usize; 2]) -> Result<()> {
    if [height, width].iter().any(|&side| side == 0 || side > MAX_SIDE as usize) {
        let rule = format!("sides must be between 1 and {MAX_SIDE}");
        return Err(Error::invalid("image size", format!("{height}x{width}"), rule));
    }
    Ok(())
}

/// A rectangle of a picture, in its pixels.
#[derive(Clone, Copy)]
struct Part {
    top: f64,
    left: f64,
    rows: f64,
    columns: f64,
}

impl Part {
    fn all([height, width]: [usize; 2]) -> Self {
        Part { top: 0.0, left: 0.0, rows: height as f64, columns: width as f64 }
    }
}

/// What is left of a picture of `from` whose shorter side, by the proportions of `to`, is brought to that of `to` (the other to so
/// many whole pixels), and of which the middle is cut. That middle is chosen so that the middle of `image` that is cut from it
/// later is the middle of the whole, in torchvision's rounding.
fn covering(from: [usize; 2], to: [usize; 2], image: [usize; 2]) -> Part {
    let mut whole = to;
    let long = usize::from(from[0] * to[1] <= from[1] * to[0]);
    whole[long] = from[long] * to[1 - long] / from[1 - long];
    let offset = |axis: usize| match to[axis].checked_sub(image[axis]) {
        Some(left_over) => half(whole[axis] - image[axis]) - half(left_over),
        None => half(whole[axis] - to[axis]),
    };
    let side = |pixels: usize, axis: usize| pixels as f64 * from[axis] as f64 / whole[axis] as f64;
    let [top, left] = [0, 1].map(|axis| side(offset(axis), axis));
    // Rounding shall not lead out of the picture.
    let within = |start: f64, axis: usize| side(to[axis], axis).min(from[axis] as f64 - start);
    Part { top, left, rows: within(top, 0), columns: within(left, 1) }
}

/// The largest sides with the proportions of `from` that fit into `to`.
fn fitting(from: [usize; 2], to: [usize; 2]) -> [usize; 2] {
    let mut inner = to;
    let short = usize::from(from[0] * to[1] > from[1] * to[0]);
    let rounded = (2 * from[short] * to[1 - short] + from[1 - short]) / (2 * from[1 - short]);
    inner[short] = rounded.clamp(1, to[short]);
    inner
}

/// A part of the picture `bytes`, \[height, width, channels\] = `size`, as an image of `to` rows and columns: along rows first, in bytes
/// again before it is along columns, as Pillow does it (the library's own order is the other).
fn resized(filter: Filter, bytes: &[u8], size: [usize; 3], part: Part, to: [usize; 2]) -> Result<Vec<u8>, String> {
    let [height, width, channels] = size;
    if channels == 1 {
        // The library is compiled for one kind of pixels only, which takes long enough.
        let colours: Vec<u8> = bytes.iter().flat_map(|&grey| [grey; 3]).collect();
        return Ok(resized(filter, &colours, [height, width, 3], part, to)?.into_iter().step_by(3).collect());
    }
    // The rows that the second pass looks at.
    let radius = filter.radius() * (part.rows / to[0] as f64).max(1.0) + 1.0;
    let first = (part.top - radius).max(0.0) as usize;
    let last = ((part.top + part.rows + radius) as usize + 1).min(height);
    let rows = Part { top: first as f64, rows: (last - first) as f64, ..part };
    let wide = pass(filter, bytes, [height, width], &rows, [last - first, to[1]])?;
    let columns = Part { top: part.top - first as f64, left: 0.0, columns: to[1] as f64, ..part };
    pass(filter, &wide, [last - first, to[1]], &columns, to)
}

/// One of its passes over a picture of three channels; the other direction stays as it is.
fn pass(filter: Filter, bytes: &[u8], size: [usize; 2], part: &Part, to: [usize; 2]) -> Result<Vec<u8>, String> {
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
    };
    let mut out = vec![0; to[0] * to[1] * 3];
    let [height, width, rows, columns] = [size[0], size[1], to[0], to[1]].map(|side| side as u32);
    let picture = TypedImageRef::<U8x3>::from_buffer(width, height, bytes).map_err(|error| error.to_string())?;
    let mut image = TypedImage::<U8x3>::from_buffer(columns, rows, &mut out).map_err(|error| error.to_string())?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    let options = options.crop(part.left, part.top, part.columns, part.rows);
    Resizer::new().resize_typed(&picture, &mut image, &options).map_err(|error| error.to_string())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_those_of_torchvision() {
        // 300x500: the shorter side becomes 256, the other 426 (426.67), of which 224 begin at 101 of 202 left over.
        let part = covering([300, 500], [256, 256], [224, 224]);
        assert_eq!((part.top, part.rows), (0.0, 300.0));
        assert_eq!((part.left, part.columns), (85.0 * 500.0 / 426.0, 256.0 * 500.0 / 426.0));
        // Taller than the image's proportions.
        let part = covering([600, 300], [100, 100], [100, 100]);
        assert_eq!((part.top, part.left, part.rows, part.columns), (150.0, 0.0, 300.0, 300.0));
        assert_eq!(fitting([300, 500], [100, 100]), [60, 100]);
        assert_eq!(fitting([1, 500], [100, 100]), [1, 100]);
        assert_eq!(fitting([500, 300], [100, 100]), [100, 60]);
    }

    #[test]
    fn every_picture_becomes_an_image() {
        let sides = [1, 2, 3, 7, 8, 31];
        for (height, width) in sides.iter().flat_map(|&h| sides.map(|w| (h, w))) {
            for (fit, filter) in
                [(Fit::Crop, Filter::Bilinear), (Fit::Pad, Filter::Bicubic), (Fit::Squash, Filter::Bicubic)]
            {
                for (image, resize) in [([5, 9], None), ([9, 9], Some([4, 11])), ([3, 4], Some([6, 9]))] {
                    let preprocess = Preprocess { resize, fit, filter };
                    let bytes = vec![200; height * width * 3];
                    let [rows, columns, _] = preprocess.stored([image[0], image[1], 3]);
                    let made = preprocess.apply(bytes, [height, width, 3], image).unwrap();
                    assert_eq!(made.len(), rows * columns * 3);
                    assert!(fit == Fit::Pad || made.iter().all(|&byte| byte == 200), "{height}x{width} {preprocess:?}");
                    assert!(made.contains(&200));
                }
            }
        }
    }

    #[test]
    fn padding_is_even_and_black() {
        let preprocess = Preprocess { fit: Fit::Pad, ..Preprocess::default() };
        let made = preprocess.apply(vec![255; 2], [1, 2, 1], [4, 4]).unwrap();
        assert_eq!(made, [[0; 4], [255; 4], [255; 4], [0; 4]].concat());
    }
}
