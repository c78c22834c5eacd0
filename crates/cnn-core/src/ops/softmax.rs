//! Softmax over the innermost dimension.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::{Result, Var};

impl<B: Backend> Var<B> {
    /// Probabilities: exp(x) / sum exp(x) over the innermost dimension.
    pub fn softmax(&self) -> Result<Var<B>> {
        let (pass, target, classes) = (self.pass(), self.target(), self.shape().channels());
        let y = pass.backend().softmax(&self.data()?, classes)?;
        let out = pass.emit(|| Op::Softmax, &[self], self.shape(), Input::Plain(y.clone()), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, target, backend.softmax_backward(&y, dy, classes)?)
        });
        Ok(out)
    }
}
