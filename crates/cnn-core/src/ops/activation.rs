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

    /// min(max(x, 0), 6).
    pub fn relu6(&self) -> Result<Var<B>> {
        self.activate(Activation::Relu6)
    }

    /// x where it is above 0, else x / 100.
    pub fn leaky_relu(&self) -> Result<Var<B>> {
        self.activate(Activation::LeakyRelu)
    }

    /// x * Phi(x), Phi being the Gaussian distribution function (the exact form, not the tanh approximation).
    pub fn gelu(&self) -> Result<Var<B>> {
        self.activate(Activation::Gelu)
    }

    /// x * sigmoid(x).
    pub fn silu(&self) -> Result<Var<B>> {
        self.activate(Activation::Silu)
    }

    /// x * min(max(x + 3, 0), 6) / 6.
    pub fn hardswish(&self) -> Result<Var<B>> {
        self.activate(Activation::Hardswish)
    }

    /// 1 / (1 + exp(-x)).
    pub fn sigmoid(&self) -> Result<Var<B>> {
        self.activate(Activation::Sigmoid)
    }

    /// min(max(x + 3, 0), 6) / 6.
    pub fn hardsigmoid(&self) -> Result<Var<B>> {
        self.activate(Activation::Hardsigmoid)
    }
}
