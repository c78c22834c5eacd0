//! What a loss came to. Its kernel returns the gradient with the loss, so the way back starts at the logits.

use crate::backend::{Backend, CrossEntropy, Input, Wide, download_one};
use crate::element::Real;
use crate::graph::Op;
use crate::tape::Gradients;
use crate::{Result, Shape, Tensor, Var};

/// The mean loss of a batch, still on the device.
#[derive(Debug)]
pub struct Loss<B: Backend> {
    logits: Var<B>,
    result: CrossEntropy<B>,
}

impl<B: Backend> Loss<B> {
    /// What the operation `op` made of `logits`, shown to whoever observes the pass.
    pub(super) fn new(logits: &Var<B>, op: Op<B>, result: CrossEntropy<B>) -> Result<Self> {
        let pass = logits.pass();
        if pass.is_observed() {
            // The observer sees a scalar; the loss itself stays in the accumulator's precision.
            let scalar = pass.backend().narrow(&result.loss)?;
            pass.emit(|| op, &[logits], Shape::new(&[1])?, Input::Plain(scalar), false)?;
        }
        Ok(Loss { logits: logits.clone(), result })
    }

    /// The mean loss, on the device: one number.
    pub fn value(&self) -> &Wide<B> {
        &self.result.loss
    }

    /// The mean loss, read back from the device.
    pub fn to_f64(&self) -> Result<f64> {
        Ok(download_one(self.logits.pass().backend(), "the loss", &self.result.loss)?.as_f64())
    }

    /// How many rows have their (first) largest logit at the label, or the larger part of a [mixed](super::Labels::mixed) one; with
    /// several labels, how many have every class right, a target of a half being one that is wanted. On the device: one number.
    pub fn correct_on_device(&self) -> &B::Buffer<u32> {
        &self.result.correct
    }

    /// The same, read back from the device.
    pub fn correct(&self) -> Result<u32> {
        download_one(self.logits.pass().backend(), "the hits", &self.result.correct)
    }

    /// Gradients of the mean loss.
    ///
    /// # Errors
    /// The pass is not recorded, or was run backward before.
    pub fn backward(&self) -> Result<Gradients<B>> {
        self.backward_with(&mut |_, _| Ok(()))
    }

    /// As [`Loss::backward`], with a callback per complete parameter gradient: see [`Var::backward_with`].
    pub fn backward_with(&self, on_ready: &mut dyn FnMut(usize, &mut Wide<B>) -> Result<()>) -> Result<Gradients<B>> {
        let backend = self.logits.pass().backend();
        let dlogits = Tensor::from_data(backend, self.logits.shape(), self.result.dlogits.clone())?;
        Ok(self.logits.backward_with(dlogits, on_ready)?.of_loss(self.result.loss.clone()))
    }
}
