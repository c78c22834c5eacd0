//! What a training step came to, read from the device when it suits the loop.

use crate::Result;
use crate::backend::{Accum, Backend, Health, Later, Wide, one};
use crate::element::Real;
use crate::ops::Loss;

/// What a step came to, on its way from the device: four numbers, of which a loop keeps as many as the device may run
/// [behind](crate::Device::steps_behind). Keeping one does not wait for the step; [`Outcome::read`] does, and for none after it.
#[derive(Debug)]
pub struct Outcome<B: Backend> {
    loss: Later<Accum<B>>,
    /// Of each part of the batch.
    correct: Vec<Later<u32>>,
    norm: Later<Accum<B>>,
    finite: Later<u32>,
}

/// An [`Outcome`] on the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// The mean loss of the batch.
    pub loss: f64,
    /// How many of its rows had their largest logit at the label.
    pub correct: u32,
    /// The Euclidean norm of all gradients, before it is cut.
    pub gradient_norm: f64,
    /// Whether loss and gradients were finite: otherwise the step was refused, and nothing has moved.
    pub finite: bool,
}

impl<B: Backend> Outcome<B> {
    /// Of the step that `loss` was made in and [`Optimizer::step`](crate::optim::Optimizer::step) answered with `health`.
    ///
    /// # Errors
    /// The device's.
    pub fn new(backend: &B, loss: &Loss<B>, health: &Health<B>) -> Result<Self> {
        Self::of_parts(backend, loss.value(), std::slice::from_ref(loss.correct_on_device()), health)
    }

    /// The same of a batch whose parts' gradients were [added](crate::Gradients::accumulate): `loss` is the mean of all,
    /// as [those](crate::Gradients::loss) have it, and `correct` what [each part's](Loss::correct_on_device) had.
    ///
    /// # Errors
    /// The device's.
    pub fn of_parts(backend: &B, loss: &Wide<B>, correct: &[B::Buffer<u32>], health: &Health<B>) -> Result<Self> {
        Ok(Outcome {
            loss: backend.download_later(loss)?,
            correct: correct.iter().map(|correct| backend.download_later(correct)).collect::<Result<_>>()?,
            norm: backend.download_later(&health.norm)?,
            finite: backend.download_later(&health.finite)?,
        })
    }

    /// The numbers, after the device has made the step.
    ///
    /// # Errors
    /// The device's, or a buffer of it that holds not one number.
    pub fn read(&self) -> Result<StepOutcome> {
        Ok(StepOutcome {
            loss: one("a step's loss", &self.loss.get()?)?.as_f64(),
            correct: self.correct.iter().map(|correct| one("a step's hits", &correct.get()?)).sum::<Result<u32>>()?,
            gradient_norm: one("a step's norm", &self.norm.get()?)?.as_f64(),
            finite: one("a step's health", &self.finite.get()?)? == 1,
        })
    }
}
