//! Dropout: the mask is never stored, the backward pass draws it again.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::pass::Mode;
use crate::{Error, Result, Var};

impl<B: Backend> Var<B> {
    /// In training, zeroes each element with this probability and divides the rest by `1 - probability`; in evaluation
    /// the value itself.
    ///
    /// # Errors
    /// A probability outside of \[0, 1).
    pub fn dropout(&self, probability: f64) -> Result<Var<B>> {
        if !(0.0..1.0).contains(&probability) {
            return Err(Error::invalid("dropout probability", probability, "must be at least 0 and below 1"));
        }
        let (pass, target) = (self.pass(), self.target());
        if pass.mode() == Mode::Eval || probability == 0.0 {
            return Ok(self.clone());
        }
        let mask = pass.next_mask();
        let y = pass.backend().dropout(self.data()?, probability, &mask)?;
        let out = pass.emit(|| Op::Dropout(probability), &[self], self.shape(), Input::Plain(y), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| {
            flow.add(backend, target, backend.dropout(dy, probability, &mask)?)
        });
        Ok(out)
    }
}
