//! Buffers against their specs, once and in safe code: what the kernels rely on where they read by pointer.
//!
//! Specs are made by constructors that own the rules, but their numbers are public; one that was changed is refused here
//! too, before any of its products can wrap.

use cnn_core::shape::checked_numel;
use cnn_core::{Conv2dOptions, Conv2dSpec, Error, Pool2dOptions, Pool2dSpec, Result};

/// Refuses a buffer of `got` numbers where the spec says `wanted`.
#[inline]
pub(crate) fn length(what: &str, got: usize, wanted: usize) -> Result<()> {
    if got == wanted { Ok(()) } else { Err(wrong_length(what, got, wanted)) }
}

#[cold]
fn wrong_length(what: &str, got: usize, wanted: usize) -> Error {
    Error::invalid(format!("length of {what}"), got, format!("must be {wanted}"))
}

/// Refuses a buffer \[rows, columns\] of `got` numbers that has no whole rows; returns how many there are.
pub(crate) fn whole_rows(what: &str, got: usize, columns: usize) -> Result<usize> {
    match got.checked_div(columns) {
        Some(rows) if rows * columns == got => Ok(rows),
        None if got == 0 => Ok(0),
        _ => Err(Error::invalid(format!("length of {what}"), got, format!("must be a multiple of {columns}"))),
    }
}

/// How many numbers a buffer \[rows, columns\] has.
pub(crate) fn numel(rows: usize, columns: usize) -> Result<usize> {
    checked_numel(&[rows, columns])
}

/// Refuses a spec whose numbers do not belong together.
pub(crate) fn conv2d(spec: &Conv2dSpec) -> Result<()> {
    let Conv2dSpec { kernel, stride, dilation, padding, groups, .. } = *spec;
    let options = Conv2dOptions { kernel, stride, dilation, padding, groups };
    output(spec.output, [Conv2dSpec::new(spec.input_shape(), spec.out_channels, &options)?.output])
}

/// The same for a pooling.
pub(crate) fn pool2d(spec: &Pool2dSpec) -> Result<()> {
    let Pool2dSpec { window, stride, padding, count_include_pad, .. } = *spec;
    let made = |ceil_mode| {
        let options = Pool2dOptions { window, stride, padding, ceil_mode, count_include_pad };
        Ok::<_, Error>(Pool2dSpec::new(spec.input_shape(), &options)?.output)
    };
    output(spec.output, [made(false)?, made(true)?])
}

/// The output that a spec says is one that its other numbers give.
fn output<const N: usize>(got: [usize; 2], given: [[usize; 2]; N]) -> Result<()> {
    match given.contains(&got) {
        true => Ok(()),
        false => Err(Error::invalid("output", format!("{got:?}"), format!("must be {:?}", given[0]))),
    }
}
