//! The activations: see [`Activation`].

use crate::backend::{Activation, Backend, Input, Saved};
use crate::graph::Op;
use crate::{Result, Var};

impl<B: Backend> Var<B> {
    /// `activation` of each element.
    pub fn activate(&self, activation: Activation) -> Result<Var<B>> {
        let (pass, target, x) = (self.pass(), self.target(), self.data()?);
        let saved = (activation.saved() == Saved::Input).then(|| x.clone());
        let y = pass.backend().activate(activation, x)?;
        let saved = saved.unwrap_or_else(|| y.clone());
        let op = || Op::Activation(activation);
        let out = pass.emit(op, &[self], self.shape(), Input::Plain(y), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, target, backend.activate_backward(activation, &saved, dy)?)
        });
        Ok(out)
    }

    /// max(x, 0).
    pub fn relu(&self) -> Result<Var<B>> {
        self.activate(Activation::Relu)
    }

    /// x * Phi(x), Phi being the Gaussian distribution function (the exact form, not the tanh approximation).
    pub fn gelu(&self) -> Result<Var<B>> {
        self.activate(Activation::Gelu)
    }
}
