//! ReLU and GELU.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::{Result, Var};

impl<B: Backend> Var<B> {
    /// max(x, 0).
    pub fn relu(&self) -> Result<Var<B>> {
        let (pass, target) = (self.pass(), self.target());
        let y = pass.backend().relu(&self.data()?)?;
        let out = pass.emit(Op::Relu, &[self], self.shape(), Input::Plain(y.clone()), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| flow.add(backend, target, backend.relu_backward(&y, dy)?));
        Ok(out)
    }

    /// x * Phi(x), Phi being the Gaussian distribution function (the exact form, not the tanh approximation).
    pub fn gelu(&self) -> Result<Var<B>> {
        let (pass, target, x) = (self.pass(), self.target(), self.data()?);
        let y = pass.backend().gelu(&x)?;
        let out = pass.emit(Op::Gelu, &[self], self.shape(), Input::Plain(y), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| flow.add(backend, target, backend.gelu_backward(&x, dy)?));
        Ok(out)
    }
}
