//! Data in a pass: what layers take and return.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::backend::{Accum, Backend, Data, Input, Wide};
use crate::element::Real;
use crate::tape::{Gradients, VarId};
use crate::{Error, Pass, Result, Shape, Tensor};

/// A value of a pass. Its data may be a normalised activation that was not written yet ([`Input::Norm`]): a convolution
/// reads it as it is, any other reader has it written once.
#[derive(Debug)]
pub struct Var<B: Backend> {
    pass: Pass<B>,
    id: VarId,
    shape: Shape,
    value: Rc<Value<B>>,
    tracked: bool,
}

#[derive(Debug)]
struct Value<B: Backend> {
    input: Input<B>,
    written: OnceCell<Data<B>>,
}

impl<B: Backend> Var<B> {
    pub(crate) fn new(pass: Pass<B>, id: VarId, shape: Shape, input: Input<B>, tracked: bool) -> Self {
        Var { pass, id, shape, value: Rc::new(Value { input, written: OnceCell::new() }), tracked }
    }

    /// The pass that this is a value of.
    pub fn pass(&self) -> &Pass<B> {
        &self.pass
    }

    /// The number of this value in its pass.
    pub fn id(&self) -> VarId {
        self.id
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether a gradient flows to this value.
    pub(crate) fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// Where a gradient for this value goes.
    pub(crate) fn target(&self) -> Option<VarId> {
        self.tracked.then_some(self.id)
    }

    /// The value as a convolution reads it.
    pub(crate) fn as_input(&self) -> Input<B> {
        match self.value.written.get() {
            Some(data) => Input::Plain(data.clone()),
            None => self.value.input.clone(),
        }
    }

    /// The value in memory, written now if it was not yet.
    pub fn data(&self) -> Result<Data<B>> {
        match &self.value.input {
            Input::Plain(data) => Ok(data.clone()),
            Input::Norm(norm) => {
                if self.value.written.get().is_none() {
                    let data = self.pass.backend().normalise(norm, None)?;
                    return Ok(self.value.written.get_or_init(|| data).clone());
                }
                Ok(self.value.written.get_or_init(|| unreachable!("written above")).clone())
            }
        }
    }

    /// The value as a tensor outside the pass.
    pub fn tensor(&self) -> Result<Tensor<B>> {
        Tensor::from_data(self.pass.backend(), self.shape, self.data()?)
    }

    /// The value on the host.
    pub fn to_vec(&self) -> Result<Vec<Accum<B>>> {
        self.tensor()?.to_vec(self.pass.backend())
    }

    /// Asks for the gradient of this value, an input of the pass included: see [`Gradients::of`].
    #[must_use]
    pub fn keep_gradient(mut self) -> Self {
        self.tracked = self.pass.is_recorded();
        self.pass.keep(self.id);
        self
    }

    /// Gradients of the sum of `self * dy`.
    ///
    /// # Errors
    /// The pass is not recorded or was run backward before, or `dy` has another shape.
    pub fn backward_from(&self, dy: Tensor<B>) -> Result<Gradients<B>> {
        self.backward_with(dy, &mut |_, _| Ok(()))
    }

    /// As [`Var::backward_from`]; `on_ready(key, gradient)` is called once per parameter as soon as its gradient is
    /// complete, in an order that the recording fixes. It may change the gradient in place: exchange it with other machines,
    /// scale it, count it.
    pub fn backward_with(
        &self,
        dy: Tensor<B>,
        on_ready: &mut dyn FnMut(usize, &mut Wide<B>) -> Result<()>,
    ) -> Result<Gradients<B>> {
        if dy.shape() != self.shape {
            let rule = format!("must be that of the value, {}", self.shape);
            return Err(Error::invalid("gradient shape", dy.shape(), rule));
        }
        let tape = self.pass.take_tape()?;
        tape.backward(self.pass.backend(), self.id, dy.into_data(), on_ready)
    }
}

impl<B: Backend> Var<B> {
    /// A tensor of ones in the shape of this value: the gradient to start from at a scalar.
    pub fn ones(&self) -> Result<Tensor<B>> {
        let backend = self.pass.backend();
        let ones = backend.narrow(&backend.fill(self.shape.numel(), Accum::<B>::from_f64(1.0))?)?;
        Tensor::from_data(backend, self.shape, ones)
    }
}

impl<B: Backend> Clone for Var<B> {
    fn clone(&self) -> Self {
        Var { pass: self.pass.clone(), value: Rc::clone(&self.value), ..*self }
    }
}
