//! Data in a pass: what layers take and return.

use std::rc::Rc;

use crate::backend::{Accum, Backend, Data, Input, Wide};
use crate::element::Real;
use crate::graph::Op;
use crate::tape::{Flow, Gradients, VarId};
use crate::value::Value;
use crate::{Error, Pass, Result, Shape, Tensor};

/// A value of a pass. Its data may be a normalised activation that was not written yet ([`Input::Norm`]): a convolution
/// reads it as it is, any other reader has it written once.
#[derive(Debug)]
pub struct Var<B: Backend> {
    pass: Pass<B>,
    value: Rc<Value<B>>,
    tracked: bool,
}

impl<B: Backend> Pass<B> {
    /// Data that enters the pass; its gradient is not computed unless [`Var::keep_gradient`] asks for it.
    pub fn input(&self, tensor: Tensor<B>) -> Result<Var<B>> {
        let shape = tensor.shape();
        self.emit(|| Op::Input, &[], shape, Input::Plain(tensor.into_data()), false)
    }

    /// A value that an op computed, announced to the observer, for whom `op` is made if there is one. `tracked`: a
    /// gradient must flow to it.
    pub(crate) fn emit(
        &self,
        op: impl FnOnce() -> Op<B>,
        inputs: &[&Var<B>],
        shape: Shape,
        value: Input<B>,
        tracked: bool,
    ) -> Result<Var<B>> {
        if let Some(i) = inputs.iter().position(|input| !input.pass.is(self)) {
            let rule = "is a value of another pass: bring it in with pass.input(value.tensor()?)";
            return Err(Error::invalid(format!("input {i} of {}", op().name()), inputs[i].shape(), rule));
        }
        let value = Rc::new(Value::new(self.backend(), self.next_value(), shape, value));
        self.announce(op, inputs.iter().map(|input| input.id()), &value)?;
        Ok(Var { pass: self.clone(), value, tracked: tracked && self.is_recorded() })
    }

    /// Records how the gradient of `output` flows back; does nothing when no gradient is needed.
    pub(crate) fn record(
        &self,
        output: &Var<B>,
        parameters: &[usize],
        run: impl FnOnce(&B, Data<B>, &mut Flow<B>) -> Result<()> + 'static,
    ) {
        if output.tracked {
            self.record_value(output.id(), parameters, run);
        }
    }
}

impl<B: Backend> Var<B> {
    /// The pass that this is a value of.
    pub fn pass(&self) -> &Pass<B> {
        &self.pass
    }

    /// The number of this value in its pass.
    pub fn id(&self) -> VarId {
        self.value.id()
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.value.shape()
    }

    /// Whether a gradient flows to this value.
    pub(crate) fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// Where a gradient for this value goes.
    pub(crate) fn target(&self) -> Option<VarId> {
        self.tracked.then_some(self.id())
    }

    /// The value as a convolution reads it.
    pub(crate) fn as_input(&self) -> Input<B> {
        self.value.as_input()
    }

    /// The value in memory, written now if it was not yet.
    pub fn data(&self) -> Result<Data<B>> {
        self.value.data()
    }

    /// The value as a tensor outside the pass.
    pub fn tensor(&self) -> Result<Tensor<B>> {
        self.value.tensor()
    }

    /// The value on the host.
    pub fn to_vec(&self) -> Result<Vec<Accum<B>>> {
        self.value.to_vec()
    }

    /// Asks for the gradient of this value, an input of the pass included: see [`Gradients::of`].
    #[must_use]
    pub fn keep_gradient(mut self) -> Self {
        self.tracked = self.pass.is_recorded();
        self.pass.keep(self.id());
        self
    }

    /// Gradients of this value, a loss: one number.
    ///
    /// # Errors
    /// The value has not one element, or the pass is not recorded or was run backward before.
    pub fn backward(&self) -> Result<Gradients<B>> {
        if self.shape().numel() != 1 {
            return Err(Error::invalid(
                "loss shape",
                self.shape(),
                "must have one element; backward_from takes others",
            ));
        }
        let loss = self.pass.backend().widen(&self.data()?)?;
        Ok(self.backward_from(self.ones()?)?.of_loss(loss))
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
        if dy.shape() != self.shape() {
            let rule = format!("must be that of the value, {}", self.shape());
            return Err(Error::invalid("gradient shape", dy.shape(), rule));
        }
        let tape = self.pass.take_tape()?;
        tape.backward(self.pass.backend(), self.id(), dy.into_data(), on_ready)
    }
}

impl<B: Backend> Gradients<B> {
    /// The gradient of a value on which [`Var::keep_gradient`] was called.
    ///
    /// # Errors
    /// The value is of another pass, it was not called, or the loss does not depend on the value.
    pub fn of(&self, var: &Var<B>) -> Result<&Data<B>> {
        if !self.came_from(var.pass().id()) {
            return Err(Error::invalid("value", var.id(), "is of another pass than the gradients"));
        }
        self.kept(var.id()).ok_or_else(|| {
            Error::invalid(
                "value",
                var.id(),
                "has no gradient here: keep_gradient() was not called, or the loss does not depend on it",
            )
        })
    }
}

impl<B: Backend> Var<B> {
    /// A tensor of ones in the shape of this value: the gradient to start from at a scalar.
    pub fn ones(&self) -> Result<Tensor<B>> {
        let backend = self.pass.backend();
        let ones = backend.narrow(&backend.fill(self.shape().numel(), Accum::<B>::from_f64(1.0))?)?;
        Tensor::from_data(backend, self.shape(), ones)
    }
}

impl<B: Backend> Clone for Var<B> {
    fn clone(&self) -> Self {
        Var { pass: self.pass.clone(), value: Rc::clone(&self.value), tracked: self.tracked }
    }
}
