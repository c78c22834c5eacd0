//! What a pass computed: data that may not be in memory yet.

use std::cell::OnceCell;

use crate::backend::{Accum, Data, Inference, Input};
use crate::tape::VarId;
use crate::{Result, Shape, Tensor};

/// A value of a pass. Its data may be a normalised activation that was not written yet ([`Input::Norm`]): a convolution
/// reads it as it is, any other reader has it written once.
#[derive(Debug)]
pub struct Value<B: Inference> {
    backend: B,
    id: VarId,
    shape: Shape,
    input: Input<B>,
    written: OnceCell<Data<B>>,
}

impl<B: Inference> Value<B> {
    pub(crate) fn new(backend: &B, id: VarId, shape: Shape, input: Input<B>) -> Self {
        Value { backend: backend.clone(), id, shape, input, written: OnceCell::new() }
    }

    /// The number of this value in its pass.
    pub fn id(&self) -> VarId {
        self.id
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The value as a convolution reads it.
    pub(crate) fn as_input(&self) -> Input<B> {
        match self.written.get() {
            Some(data) => Input::Plain(data.clone()),
            None => self.input.clone(),
        }
    }

    /// The value in memory, written now if it was not yet.
    pub fn data(&self) -> Result<Data<B>> {
        match (&self.input, self.written.get()) {
            (Input::Plain(data), _) | (_, Some(data)) => Ok(data.clone()),
            (Input::Norm(norm), None) => {
                let data = self.backend.normalise(norm, None)?;
                Ok(self.written.get_or_init(|| data).clone())
            }
        }
    }

    /// The value as a tensor outside the pass.
    pub fn tensor(&self) -> Result<Tensor<B>> {
        Tensor::from_data(&self.backend, self.shape, self.data()?)
    }

    /// The value on the host.
    pub fn to_vec(&self) -> Result<Vec<Accum<B>>> {
        self.tensor()?.to_vec(&self.backend)
    }
}
