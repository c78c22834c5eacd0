//! Problems of the operations on whole channels.

use std::ops::Range;

use super::check::whole_rows;
use crate::shape::checked_numel;
use crate::{Error, Result, Shape};

/// Images, and a factor for each channel of each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScaleSpec {
    /// N.
    pub batch: usize,
    /// H * W.
    pub pixels: usize,
    /// C.
    pub channels: usize,
}

impl ScaleSpec {
    /// Images \[N, H, W, C\] and factors \[N, 1, 1, C\] or \[N, C\].
    ///
    /// # Errors
    /// Other shapes.
    pub fn new(images: Shape, factors: Shape) -> Result<Self> {
        let [batch, h, w, channels] = images.image_batch("input")?;
        if *factors.dims() != [batch, 1, 1, channels] && *factors.dims() != [batch, channels] {
            let rule =
                format!("must be [{batch}, 1, 1, {channels}] or [{batch}, {channels}], as the input is {images}");
            return Err(Error::invalid("factors", factors, rule));
        }
        Ok(ScaleSpec { batch, pixels: h * w, channels })
    }

    /// Elements of the images and of the factors.
    ///
    /// # Errors
    /// More than can be addressed.
    pub fn lengths(&self) -> Result<[usize; 2]> {
        let ScaleSpec { batch, pixels, channels } = *self;
        Ok([checked_numel(&[batch, pixels, channels])?, checked_numel(&[batch, channels])?])
    }
}

/// Some neighbouring channels of rows \[rows, channels\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SliceSpec {
    /// How many there are.
    pub channels: usize,
    /// The first one taken.
    pub first: usize,
    /// How many are taken.
    pub count: usize,
}

impl SliceSpec {
    /// The channels `taken` of `channels`.
    ///
    /// # Errors
    /// None are taken, or ones that there are not.
    pub fn new(channels: usize, taken: Range<usize>) -> Result<Self> {
        if taken.start < taken.end && taken.end <= channels {
            return Ok(SliceSpec { channels, first: taken.start, count: taken.end - taken.start });
        }
        let rule = format!("must be some of the {channels} there are, in order");
        Err(Error::invalid("channels", format!("{taken:?}"), rule))
    }

    /// Refuses a spec that was changed so that its numbers do not belong together.
    ///
    /// # Errors
    /// Those of [`SliceSpec::new`].
    pub fn check(&self) -> Result<()> {
        SliceSpec::new(self.channels, self.first..self.first.saturating_add(self.count)).map(drop)
    }
}

/// Rows, and channels of a row, of the concatenation of arrays of these lengths and channels each.
///
/// # Errors
/// No arrays, one that has no whole rows or other rows than the first, and more than can be addressed.
pub fn check_concat(parts: impl IntoIterator<Item = (usize, usize)>) -> Result<[usize; 2]> {
    let mut concatenated: Option<[usize; 2]> = None;
    for (len, channels) in parts {
        let rows = whole_rows("a part", len, channels)?;
        let [first, before] = *concatenated.get_or_insert([rows, 0]);
        if rows != first {
            return Err(Error::invalid("rows of a part", rows, format!("must be {first}, those of the first")));
        }
        concatenated = Some([rows, before.saturating_add(channels)]);
    }
    let sizes = concatenated.ok_or_else(|| Error::invalid("parts", 0, "must be at least 1"))?;
    checked_numel(&sizes)?;
    Ok(sizes)
}

/// Channels in so many groups, of which each has the same number.
///
/// # Errors
/// No groups, or channels that do not fall into them.
pub fn check_groups(channels: usize, groups: usize) -> Result<()> {
    if groups > 0 && channels.is_multiple_of(groups) {
        return Ok(());
    }
    Err(Error::invalid("groups", groups, format!("must divide the {channels} channels")))
}
