//! Elementwise sum.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::{Error, Result, Var};

impl<B: Backend> Var<B> {
    /// self + other.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn add(&self, other: &Var<B>) -> Result<Var<B>> {
        if self.shape() != other.shape() {
            let rule = format!("must be that of the other summand, {}", self.shape());
            return Err(Error::invalid("summand shape", other.shape(), rule));
        }
        let (pass, targets) = (self.pass(), [self.target(), other.target()]);
        let sum = pass.backend().add(self.data()?, &other.data()?)?;
        let tracked = self.is_tracked() || other.is_tracked();
        let out = pass.emit(|| Op::Add, &[self, other], self.shape(), Input::Plain(sum), tracked)?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, targets[0], dy.clone())?;
            flow.add(backend, targets[1], dy)
        });
        Ok(out)
    }
}
