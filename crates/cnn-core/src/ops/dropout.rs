//! Dropout: the mask is never stored, the backward pass draws it again.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::pass::Mode;
use crate::spec::DropoutSpec;
use crate::{Result, Var};

impl<B: Backend> Var<B> {
    /// In training, zeroes each element with this probability and divides the rest by `1 - probability`; in evaluation
    /// the value itself.
    ///
    /// # Errors
    /// A probability outside of \[0, 1).
    pub fn dropout(&self, probability: f64) -> Result<Var<B>> {
        self.drop(DropoutSpec::elements(probability))
    }

    /// The same to whole samples, all elements of an image or none: stochastic depth (G. Huang, Y. Sun, Z. Liu, D. Sedra,
    /// K. Weinberger, "Deep Networks with Stochastic Depth", 2016), where the value is a branch beside a shortcut.
    ///
    /// # Errors
    /// A probability outside of \[0, 1).
    pub fn stochastic_depth(&self, probability: f64) -> Result<Var<B>> {
        let of_sample = self.shape().dims().iter().skip(1).product::<usize>();
        self.drop(DropoutSpec { probability, shared_by: of_sample.max(1) })
    }

    fn drop(&self, spec: DropoutSpec) -> Result<Var<B>> {
        spec.check()?;
        let (pass, target) = (self.pass(), self.target());
        if pass.mode() == Mode::Eval || spec.probability == 0.0 {
            return Ok(self.clone());
        }
        let mask = pass.next_mask();
        let y = pass.backend().dropout(self.data()?, &spec, &mask)?;
        let out = pass.emit(|| Op::Dropout(spec), &[self], self.shape(), Input::Plain(y), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| flow.add(backend, target, backend.dropout(dy, &spec, &mask)?));
        Ok(out)
    }
}
