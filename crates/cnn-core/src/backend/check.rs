//! Buffers against their specs, once and in safe code: what the kernels rely on where they read by pointer. A spec that
//! was changed after it was made is refused by its own `check`.

use crate::shape::checked_numel;
use crate::{Error, Result};

/// Refuses a buffer of `got` numbers where the spec says `wanted`.
#[inline]
pub fn length(what: &str, got: usize, wanted: usize) -> Result<()> {
    if got == wanted { Ok(()) } else { Err(wrong_length(what, got, wanted)) }
}

#[cold]
fn wrong_length(what: &str, got: usize, wanted: usize) -> Error {
    Error::invalid(format!("length of {what}"), got, format!("must be {wanted}"))
}

/// Refuses a buffer \[rows, columns\] of `got` numbers that has no whole rows; returns how many there are.
pub fn whole_rows(what: &str, got: usize, columns: usize) -> Result<usize> {
    match got.checked_div(columns) {
        Some(rows) if rows * columns == got => Ok(rows),
        None if got == 0 => Ok(0),
        _ => Err(Error::invalid(format!("length of {what}"), got, format!("must be a multiple of {columns}"))),
    }
}

/// Refuses `logits` numbers that are not whole rows of `classes`, other than one of `targets` for each, and other than one weight
/// for each class; returns how many rows there are.
pub fn binary_targets(classes: usize, logits: usize, targets: usize, weights: Option<usize>) -> Result<usize> {
    let rows = whole_rows("the logits", logits, classes)?;
    length("the targets", targets, logits)?;
    weights.map_or(Ok(()), |weights| length("the weights of the classes", weights, classes))?;
    Ok(rows)
}

/// How many numbers a buffer \[rows, columns\] has.
pub fn numel(rows: usize, columns: usize) -> Result<usize> {
    checked_numel(&[rows, columns])
}
