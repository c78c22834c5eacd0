//! A window that slides over a padded image.

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

/// A spec says that its output is `got`, which its other numbers do not give.
pub(super) fn changed_output(got: [usize; 2], given: [usize; 2]) -> Error {
    Error::invalid("output", format!("{got:?}"), format!("must be {given:?}, as the spec's other numbers give"))
}

/// Output size of a window that slides over a padded image, on both axes.
pub(super) fn window_output(
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
