//! What a training step came to, read from the device when it suits the loop.

use crate::Result;
use crate::backend::{Backend, Health, Wide, download_one};
use crate::element::Real;
use crate::ops::Loss;

/// What a step came to, still on the device: three numbers, of which a loop keeps as many as the device may run
/// [behind](crate::Device::steps_behind). Keeping one does not wait for the step; [`Outcome::read`] does.
#[derive(Debug)]
pub struct Outcome<B: Backend> {
    loss: Wide<B>,
    correct: B::Buffer<u32>,
    finite: B::Buffer<u32>,
}

/// An [`Outcome`] on the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// The mean loss of the batch.
    pub loss: f64,
    /// How many of its rows had their largest logit at the label.
    pub correct: u32,
    /// Whether loss and gradients were finite: otherwise the step was refused, and nothing has moved.
    pub finite: bool,
}

impl<B: Backend> Outcome<B> {
    /// Of the step that `loss` was made in and [`Optimizer::step`](crate::optim::Optimizer::step) answered with `health`.
    pub fn new(loss: &Loss<B>, health: &Health<B>) -> Self {
        Outcome { loss: loss.value().clone(), correct: loss.correct_on_device().clone(), finite: health.finite.clone() }
    }

    /// The numbers, after the device has made the step.
    ///
    /// # Errors
    /// The device's, or a buffer of it that holds not one number.
    pub fn read(&self, backend: &B) -> Result<StepOutcome> {
        Ok(StepOutcome {
            loss: download_one(backend, "a step's loss", &self.loss)?.as_f64(),
            correct: download_one(backend, "a step's hits", &self.correct)?,
            finite: download_one(backend, "a step's health", &self.finite)? == 1,
        })
    }
}
