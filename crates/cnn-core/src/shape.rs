//! Shapes of up to four dimensions and their checked arithmetic.

use std::fmt::{Debug, Display, Formatter};

use crate::{Error, Result};

/// The most dimensions a tensor has.
pub const MAX_RANK: usize = 4;

/// The most elements a tensor may have: what fits a signed 32-bit index on a device.
pub const MAX_NUMEL: usize = i32::MAX as usize;

/// Sizes of the dimensions, outermost first: \[N, H, W, C\] for activations, \[in, out\] for dense matrices.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The shape with these dimensions.
    ///
    /// # Errors
    /// More than [`MAX_RANK`] dimensions, or more than [`MAX_NUMEL`] elements.
    pub fn new(dims: &[usize]) -> Result<Self> {
        if dims.len() > MAX_RANK {
            return Err(Error::invalid("shape", format!("{dims:?}"), format!("has at most {MAX_RANK} dimensions")));
        }
        checked_numel(dims)?;
        let mut shape = Shape { dims: [1; MAX_RANK], rank: dims.len() };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many elements a tensor of this shape has.
    pub fn numel(&self) -> usize {
        self.dims().iter().product()
    }

    /// Channels: the innermost dimension.
    pub fn channels(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// Elements per channel: the product of all but the innermost dimension.
    pub fn rows(&self) -> usize {
        self.dims()[..self.rank.saturating_sub(1)].iter().product()
    }

    /// The four dimensions of a batch of images; `what` names the argument in the error.
    pub fn image_batch(&self, what: &str) -> Result<[usize; 4]> {
        match *self.dims() {
            [n, h, w, c] => Ok([n, h, w, c]),
            _ => Err(Error::invalid(what, self, "needs the four dimensions [N, H, W, C]")),
        }
    }

    /// The two dimensions of a matrix; `what` names the argument in the error.
    pub fn matrix(&self, what: &str) -> Result<[usize; 2]> {
        match *self.dims() {
            [rows, columns] => Ok([rows, columns]),
            _ => Err(Error::invalid(what, self, "needs the two dimensions [N, features]")),
        }
    }
}

impl Debug for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Debug::fmt(self.dims(), f)
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        Debug::fmt(self.dims(), f)
    }
}

/// What a shape is made of: dimensions, or a shape.
pub trait IntoShape {
    /// The shape.
    ///
    /// # Errors
    /// Those of [`Shape::new`].
    fn into_shape(self) -> Result<Shape>;
}

impl IntoShape for Shape {
    fn into_shape(self) -> Result<Shape> {
        Ok(self)
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(self)
    }
}

impl<const R: usize> IntoShape for [usize; R] {
    fn into_shape(self) -> Result<Shape> {
        Shape::new(&self)
    }
}

/// The product of `dims`.
///
/// # Errors
/// The product of those that are not 0 exceeds [`MAX_NUMEL`]: an empty shape must not smuggle in sizes that overflow
/// when they are added to.
pub fn checked_numel(dims: &[usize]) -> Result<usize> {
    dims.iter()
        .try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1)))
        .filter(|&numel| numel <= MAX_NUMEL)
        .map(|numel| if dims.contains(&0) { 0 } else { numel })
        .ok_or_else(|| Error::invalid("shape", format!("{dims:?}"), format!("has at most {MAX_NUMEL} elements")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_an_error() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[1 << 16, 1 << 16]).is_err());
        assert!(Shape::new(&[1, 1, 1, 1, 1]).is_err());
        assert!(Shape::new(&[0, usize::MAX]).is_err());
        assert_eq!(Shape::new(&[2, 0, 3]).unwrap().numel(), 0);
    }
}
