//! A step: its images, forward, backward, the optimiser, and what it came to.
//!
//! A device may run behind the program: a step's numbers stay there until [`Device::steps_behind`](cnn_core::Device::steps_behind)
//! later ones were made.

use std::collections::VecDeque;
use std::time::Instant;

use cnn_core::nn::RunningStatistics;
use cnn_core::optim::{Outcome, StepOutcome};
use cnn_core::{Backend, Gradients, Pass, Tensor};
use cnn_data::Batch;

use super::Trainer;
use crate::answers::{Answers, Making};
use crate::control::Control;
use crate::diagnose::first_not_finite;
use crate::report::{Event, StepReport};
use crate::{Error, Result};

/// A step that was made, and what the device will know of it.
pub(super) struct Step<B: Backend> {
    batch: Batch,
    /// Steps before it, in the run.
    at: u64,
    /// Within its epoch, from 1.
    number: u64,
    lr: f64,
    outcome: Outcome<B>,
    /// What the model's were before it.
    statistics: RunningStatistics<B>,
}

impl<B: Backend> Trainer<B> {
    /// Makes a step; what it came to is read by [`Trainer::settle`]. One that fails leaves nothing in the model.
    pub(super) fn step(&mut self, batch: Batch) -> Result<Step<B>> {
        self.move_average()?;
        let statistics = RunningStatistics::of(&*self.model);
        let (at, lr) = (self.progress.step, self.rate(self.progress.step));
        let outcome = match self.update(&batch, at, lr) {
            Ok(outcome) => outcome,
            Err(error) => {
                statistics.put_back(&mut *self.model)?;
                return Err(error);
            }
        };
        self.progress.step += 1;
        self.progress.batch += 1;
        self.info.step = self.progress.step;
        Ok(Step { batch, at, number: self.progress.batch, lr, outcome, statistics })
    }

    /// The images of a batch and the answers to them in step `at`, mixed if the recipe says so.
    pub(super) fn inputs(&self, batch: &Batch, at: u64) -> Result<(Tensor<B>, Answers<B>)> {
        let Trainer { backend, recipe, train, info, .. } = self;
        let (smoothing, weights) = (recipe.label_smoothing, self.class_weights.as_ref());
        let answers = |own| Answers::of(backend, train.images(), batch, &Making { smoothing, weights, own });
        let images = train.tensor(batch)?;
        let Some(mix) = recipe.mixing().draw(recipe.seed, at, info.image) else { return Ok((images, answers(1.0)?)) };
        let mixed = backend.mix_images(&mix, images.data())?;
        Ok((Tensor::from_data(backend, images.shape(), mixed)?, answers(mix.own_label())?))
    }

    /// Forward, backward and the optimiser, of step `at`: by the whole batch, or in [parts](crate::Recipe::accumulate) whose
    /// gradients are added, each a part of the mean as it is of the images or of their weights.
    pub(super) fn update(&mut self, batch: &Batch, at: u64, lr: f64) -> Result<Outcome<B>> {
        let cut = if self.recipe.accumulate > 1 { batch.parts(self.recipe.accumulate) } else { Vec::new() };
        let parts = if cut.is_empty() { std::slice::from_ref(batch) } else { &cut };
        let inputs = parts.iter().map(|part| self.inputs(part, at)).collect::<Result<Vec<_>>>()?;
        let count: f64 = inputs.iter().map(|(_, answers)| answers.count()).sum();
        let Trainer { backend, recipe, model, optimizer, torn, .. } = self;
        let (gradients, correct, health) = backend.at_once(|| {
            let (mut gradients, mut correct) = (None::<Gradients<B>>, Vec::with_capacity(parts.len()));
            for (i, (images, answers)) in inputs.into_iter().enumerate() {
                // What is dropped shall not be the same in every part.
                let pass = Pass::train(backend, recipe.seed.wrapping_add((i as u64) << 32)).at_step(at as u32);
                let loss = answers.loss(&model.call(&pass.input(images)?)?)?;
                let mut of_part = loss.backward()?;
                correct.push(loss.correct_on_device().clone());
                if parts.len() > 1 {
                    of_part.scale(backend, answers.count() / count)?;
                }
                match &mut gradients {
                    Some(sum) => sum.accumulate(backend, &of_part)?,
                    None => gradients = Some(of_part),
                }
            }
            let none = || cnn_core::Error::invalid("images of a step", batch.len(), "must be at least one");
            let gradients = gradients.ok_or_else(none)?;
            // Some weights may have moved when it fails, and others not.
            *torn = true;
            let health = optimizer.step(lr, model, &gradients)?;
            Ok((gradients, correct, health))
        })?;
        *torn = false;
        let none = || Error::recipe("gradients", "of a step", "must be those of a loss");
        Ok(Outcome::of_parts(backend, gradients.loss().ok_or_else(none)?, &correct, &health)?)
    }

    /// Reads what steps came to, the oldest first, until at most `left` of them are pending, and reports them.
    pub(super) fn settle(
        &mut self,
        pending: &mut VecDeque<Step<B>>,
        left: usize,
        settled: &mut Instant,
        observe: &mut dyn FnMut(&Event) -> Control,
    ) -> Result<Control> {
        let mut control = Control::Continue;
        while pending.len() > left {
            let Some(step) = pending.pop_front() else { break };
            let StepOutcome { loss, correct, gradient_norm, finite } = step.outcome.read()?;
            if !finite {
                return Err(self.refused(&step, loss, pending)?);
            }
            let (images, seconds) = (step.batch.len() as f64, settled.elapsed().as_secs_f64());
            *settled = Instant::now();
            self.trained_images += step.batch.len() as u64;
            self.trained_seconds += seconds;
            self.guards.spent += seconds;
            for (sum, value) in self.progress.sums.iter_mut().zip([loss * images, f64::from(correct), images, seconds])
            {
                *sum += value;
            }
            let [_, correct, images, seconds] = self.progress.sums;
            let report = StepReport {
                epoch: self.progress.epoch + 1,
                step: step.number,
                steps: self.steps(),
                loss,
                accuracy: correct / images,
                lr: step.lr,
                images_per_second: images / seconds,
                gradient_norm,
            };
            if let Some(text) = self.guards.norm(report.epoch, report.step, gradient_norm) {
                control = control.max(observe(&Event::Warning { text }));
            }
            control = control.max(observe(&Event::Step(report)));
        }
        Ok(control)
    }

    /// The error of a step that was not finite. The optimiser has refused it, so it does not count, and neither do those
    /// after it that were refused too.
    fn refused(&mut self, step: &Step<B>, loss: f64, later: &VecDeque<Step<B>>) -> Result<Error> {
        for step in [step].into_iter().chain(later) {
            let taken = step.outcome.read()?.finite;
            self.progress.step -= u64::from(!taken);
            self.progress.batch -= u64::from(!taken);
        }
        self.info.step = self.progress.step;
        let pass = Pass::train(&self.backend, self.recipe.seed).at_step(step.at as u32);
        let (images, answers) = self.inputs(&step.batch, step.at)?;
        let place = first_not_finite(&self.backend, &mut *self.model, images, &answers, pass);
        step.statistics.put_back(&mut *self.model)?;
        let place = place?;
        Ok(Error::NotFinite {
            epoch: self.progress.epoch + 1,
            step: step.at + 1,
            what: if loss.is_finite() { "a gradient".into() } else { "the loss".into() },
            place: place.map(|place| format!("; first seen in {place}")).unwrap_or_default(),
        })
    }
}
