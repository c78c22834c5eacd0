//! Data: a shape and a buffer of activations.

use crate::backend::{Accum, Data, Device};
use crate::shape::IntoShape;
use crate::{Error, Result, Shape};

/// A contiguous array of activations on a device.
#[derive(Debug)]
pub struct Tensor<B: Device> {
    shape: Shape,
    data: Data<B>,
}

impl<B: Device> Tensor<B> {
    /// Uploads `values`, rounded to the backend's element. The shape is a [`Shape`], or its dimensions as an array or a slice.
    ///
    /// # Errors
    /// The shape does not have as many elements as there are values.
    pub fn from_slice(backend: &B, shape: impl IntoShape, values: &[Accum<B>]) -> Result<Self> {
        let data = backend.narrow(&backend.upload(values)?)?;
        Self::from_data(backend, shape.into_shape()?, data)
    }

    /// Wraps a buffer.
    ///
    /// # Errors
    /// The shape does not have as many elements as the buffer.
    pub fn from_data(backend: &B, shape: Shape, data: Data<B>) -> Result<Self> {
        let len = backend.len(&data);
        if len != shape.numel() {
            return Err(Error::invalid("tensor shape", shape, format!("must have the {len} elements that are given")));
        }
        Ok(Tensor { shape, data })
    }

    /// The values, in memory order.
    pub fn to_vec(&self, backend: &B) -> Result<Vec<Accum<B>>> {
        backend.download(&backend.widen(&self.data)?)
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The buffer.
    pub fn data(&self) -> &Data<B> {
        &self.data
    }

    /// Gives the buffer away.
    pub fn into_data(self) -> Data<B> {
        self.data
    }
}

impl<B: Device> Clone for Tensor<B> {
    fn clone(&self) -> Self {
        Tensor { shape: self.shape, data: self.data.clone() }
    }
}
