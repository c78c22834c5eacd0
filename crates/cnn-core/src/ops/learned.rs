//! A learned array as an operation reads it.

use crate::backend::{Device, Wide};
use crate::{Error, Result, Shape};

/// The values of a weight or a bias, and where its gradient goes.
pub(crate) struct Learned<'a, B: Device> {
    pub(crate) value: &'a Wide<B>,
    pub(crate) shape: Shape,
    /// None: no gradient is wanted.
    pub(crate) key: Option<usize>,
}

impl<'a, B: Device> Learned<'a, B> {
    /// An array that is not trained.
    ///
    /// # Errors
    /// The shape does not have as many elements as the array.
    pub(crate) fn fixed(backend: &B, value: &'a Wide<B>, shape: Shape) -> Result<Self> {
        let len = backend.len(value);
        if len != shape.numel() {
            let rule = format!("must have the {len} elements of the array");
            return Err(Error::invalid("weight shape", shape, rule));
        }
        Ok(Learned { value, shape, key: None })
    }
}

impl<B: Device> Clone for Learned<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Device> Copy for Learned<'_, B> {}
