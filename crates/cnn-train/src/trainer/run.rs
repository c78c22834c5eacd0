//! The loop: steps, epochs, evaluation, checkpoints.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, Instant};

use cnn_core::{Backend, Frozen};

use super::{Saved, Split, Trainer, full};
use crate::checkpoint::{self, Best, Progress, ToBeat};
use crate::control::Control;
use crate::disk::{remove, replace};
use crate::evaluation::{Evaluation, View, evaluate, evaluation_batch};
use crate::metrics;
use crate::recipe::{AverageKind, Monitor};
use crate::report::{BestEpoch, EpochReport, Event, Stopped, Summary};
use crate::run_folder::RunFolder;
use crate::{Error, Recipe, Result};

/// Why the steps of a run came to an end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// They are all made.
    Complete,
    Stopped(Stopped),
    /// The observer said so.
    Interrupted,
}

impl<B: Backend> Trainer<B> {
    /// Trains to the end of the recipe and evaluates on the test set. Saves before the first step, every
    /// [`checkpoint_minutes`](crate::Recipe::checkpoint_minutes), after every epoch, and whatever could be done when an error ends
    /// the run. Before the first step it is made sure that the folder has room for all that will be saved.
    ///
    /// # Errors
    /// A folder with another run, or with too little room; files that cannot be read or written; a step or an evaluation that is
    /// not finite. The checkpoint is then of the last step before, or, if that could not be saved, the one before.
    pub fn run(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Summary> {
        let (start, before) = (Instant::now(), self.timed.seconds);
        let seconds = || before + start.elapsed().as_secs_f64();
        self.move_in(folder)?;
        if self.saved.is_none() {
            self.save(folder, observe)?;
        }
        let mut prepared = false;
        let end = loop {
            if let Some(end) = self.end() {
                break end;
            }
            if !prepared {
                checkpoint::check_room(folder, self.validation.is_some())?;
                // They are of a checkpoint that will not be there any more.
                remove(&folder.results())?;
                self.watch(folder, observe);
                prepared = true;
            }
            let result = self.epoch(folder, &seconds, observe);
            self.timed.seconds = seconds();
            match result {
                Ok(None) => {}
                Ok(Some(end)) => {
                    self.save_if_new(folder, observe)?;
                    break end;
                }
                Err(error) => {
                    // The error that is told is the one that ended the run; what could not be saved stays as it was.
                    let _ = self.save_if_new(folder, observe);
                    return Err(error);
                }
            }
        };
        let test = if end == End::Interrupted { None } else { self.evaluate(Split::Test, observe)? };
        let Some(test) = test else { return Ok(self.summary(None, seconds())) };
        let by_views = if self.recipe.tta { self.evaluate(Split::TestByViews, observe)? } else { None };
        let stopped = if let End::Stopped(stopped) = end { Some(stopped) } else { None };
        let summary = Summary { test_tta: by_views, stopped, ..self.summary(Some(test), seconds()) };
        replace(&folder.results(), summary.results(&self.info.classes).as_bytes())?;
        Ok(summary)
    }

    /// Writes the recipe into the folder, unless that is another run's.
    fn move_in(&mut self, folder: &RunFolder) -> Result<()> {
        let (path, text) = (folder.recipe(), self.recipe.to_toml()?);
        if self.home.as_ref() != Some(&full(folder.path())) {
            if folder.is_saved() {
                return Err(Error::file(folder.path(), "holds the checkpoint of another run, and this one is not it"));
            }
            let there = RunFolder::holds_run(folder.path()).then(|| fs::read_to_string(&path));
            if there.is_some_and(|there| there.ok().as_ref() != Some(&text)) {
                let advice = "resume that run, remove this file, or choose another folder";
                return Err(Error::file(
                    path,
                    format!("is of another run, which ended before it saved anything: {advice}"),
                ));
            }
        }
        replace(&path, text.as_bytes())?;
        let home = Some(full(folder.path()));
        if self.home != home {
            (self.home, self.saved) = (home, None);
        }
        Ok(())
    }

    fn summary(&self, test: Option<Evaluation>, seconds: f64) -> Summary {
        Summary {
            interrupted: test.is_none(),
            stopped: None,
            test,
            test_tta: None,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            seconds,
            images_per_second: self.trained_images as f64 / self.trained_seconds.max(1e-9),
            seed: self.recipe.seed,
            best: self.progress.best.as_ref().map(|best| BestEpoch {
                epoch: best.epoch,
                validation_accuracy: best.correct as f64 / best.count as f64,
                validation_mean_average_precision: best.mean_average_precision,
            }),
        }
    }

    /// Whether the run has come to its end.
    fn end(&self) -> Option<End> {
        let Recipe { early_stopping, extended, .. } = &self.recipe;
        if self.progress.epoch >= self.recipe.all_epochs() {
            return Some(End::Complete);
        }
        if let (Some(stopping), Some(to_beat)) = (early_stopping, self.progress.to_beat) {
            // Who extended the run has seen what there was to see by then.
            let seen = extended.iter().filter(|added| added.after_steps <= self.progress.step);
            let seen = seen.map(|added| (added.after_steps / self.steps()) as u32).max().unwrap_or(0);
            if self.progress.epoch - to_beat.epoch.max(seen) >= stopping.patience {
                return Some(End::Stopped(Stopped::Early));
            }
        }
        self.is_over(self.timed.seconds).then_some(End::Stopped(Stopped::Time))
    }

    /// Whether the run's time is over.
    fn is_over(&self, seconds: f64) -> bool {
        self.recipe.max_seconds.is_some_and(|most| seconds >= most)
    }

    /// The rest of the current epoch, its validation and its checkpoint; or why it is not complete. `seconds` are those of the run.
    fn epoch(
        &mut self,
        folder: &RunFolder,
        seconds: &dyn Fn() -> f64,
        observe: &mut dyn FnMut(&Event) -> Control,
    ) -> Result<Option<End>> {
        let (epoch, epochs, steps) = (self.progress.epoch + 1, self.recipe.all_epochs(), self.steps());
        let begin = Event::EpochBegin { epoch, epochs, done: self.progress.batch, steps };
        if observe(&begin) == Control::Stop {
            return Ok(Some(End::Interrupted));
        }
        self.freezing.apply(&mut *self.model, self.progress.epoch);
        self.guards.begin_epoch();
        let pause = Duration::try_from_secs_f64(60.0 * self.recipe.checkpoint_minutes).unwrap_or(Duration::MAX);
        let mut batches = self.loader.epoch_from(epoch - 1, self.progress.batch as usize, &self.recipe.augment());
        // Steps that were made and not yet heard of, the oldest first.
        let mut pending = VecDeque::with_capacity(self.behind + 1);
        let mut settled = Instant::now();
        loop {
            let asked = Instant::now();
            let batch = batches.next();
            // A device that still has steps to make loses nothing by it.
            if pending.is_empty() {
                self.guards.waited += asked.elapsed().as_secs_f64();
            }
            let Some(batch) = batch else { break };
            match batch.map_err(Error::from).and_then(|batch| self.step(batch)) {
                Ok(step) => pending.push_back(step),
                Err(error) => {
                    self.settle(&mut pending, 0, &mut settled, observe)?;
                    return Err(error);
                }
            }
            let mut control = self.settle(&mut pending, self.behind, &mut settled, observe)?;
            // The end of an epoch saves anyway.
            let due =
                self.progress.batch < steps && self.saved.as_ref().is_none_or(|saved| saved.at.elapsed() >= pause);
            let over = self.is_over(seconds());
            if control == Control::Continue && !due && !over {
                continue;
            }
            control = control.max(self.settle(&mut pending, 0, &mut settled, observe)?);
            self.timed.seconds = seconds();
            if control == Control::Stop {
                return Ok(Some(End::Interrupted));
            }
            // A complete epoch goes on to its validation.
            if over && self.progress.batch < steps {
                return Ok(Some(End::Stopped(Stopped::Time)));
            }
            self.save_if_new(folder, observe)?;
            settled = Instant::now();
        }
        if self.settle(&mut pending, 0, &mut settled, observe)? == Control::Stop {
            return Ok(Some(End::Interrupted));
        }
        // What the epoch is judged by counts its last steps.
        self.move_average()?;
        let [loss, correct, images, spent] = self.progress.sums;
        let validation = match self.validation {
            None => None,
            Some(_) => match self.evaluate(Split::Validation, observe)? {
                // All steps of this epoch are done, and it is not complete: a resume begins with the evaluation.
                None => return Ok(Some(End::Interrupted)),
                evaluation => evaluation,
            },
        };
        let report = EpochReport {
            epoch,
            step: self.progress.step,
            train_loss: loss / images,
            train_accuracy: correct / images,
            validation,
            lr: self.rate(self.progress.step.saturating_sub(1)),
            seconds: spent,
            images_per_second: images / spent,
            gradient_norm: self.guards.of_steps().map(|(norm, _)| norm),
            waiting: self.guards.of_steps().map(|(_, waiting)| waiting),
        };
        // The row first: a row too many is taken out by a resume, one too few would be missed for ever.
        self.timed.metrics += &metrics::append_row(folder, &report, self.info.multi_label)?;
        self.complete(&report);
        self.timed.seconds = seconds();
        self.save(folder, observe)?;
        self.watch_epoch(&report, observe);
        let told = self.guard_epoch(&report, observe);
        Ok((told.max(observe(&Event::EpochEnd(report))) == Control::Stop).then_some(End::Interrupted))
    }

    /// Counts an epoch, and compares it with those before.
    fn complete(&mut self, report: &EpochReport) {
        let (epoch, step) = (report.epoch, report.step);
        let Progress { averaged, best, to_beat, .. } = std::mem::take(&mut self.progress);
        self.progress = Progress { epoch, step, averaged, best, to_beat, ..Progress::default() };
        let Some(evaluation) = &report.validation else { return };
        let (Evaluation { correct, count, loss, .. }, score) = (evaluation, evaluation.score());
        if self.progress.best.as_ref().is_none_or(|best| score > best.score()) {
            let mean_average_precision = evaluation.several.as_ref().map(|_| score);
            self.progress.best = Some(Best { epoch, step, correct: *correct, count: *count, mean_average_precision });
        }
        let Some(stopping) = &self.recipe.early_stopping else { return };
        // The larger, the better.
        let figure = match stopping.by {
            Monitor::Accuracy if evaluation.several.is_some() => score,
            Monitor::Accuracy => *correct as f64,
            Monitor::Loss => -*loss,
        };
        if self.progress.to_beat.is_none_or(|to_beat| figure > to_beat.figure) {
            self.progress.to_beat = Some(ToBeat { figure, epoch });
        }
    }

    /// The learning rate of a step, counted from 0.
    pub(super) fn rate(&self, step: u64) -> f64 {
        self.recipe.schedule(self.steps(), step).rate(step)
    }

    /// None if the observer says stop before the last image.
    fn evaluate(&mut self, split: Split, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Option<Evaluation>> {
        let model = self.frozen()?;
        let (batches, views) = match (split, &self.validation) {
            (Split::Validation, Some(validation)) => (validation, View::PLAIN),
            (Split::TestByViews, _) => (&self.test, View::SIX),
            _ => (&self.test, View::PLAIN),
        };
        let [height, width, _] = self.info.image;
        let at_a_time = evaluation_batch([height, width]);
        let evaluation = evaluate(&self.backend, &model, batches, views, at_a_time, &mut |done, total| {
            observe(&Event::Evaluating { done, total })
        })?;
        Ok((evaluation.count == batches.images().len() as u64).then_some(evaluation))
    }

    /// The model that the run is about: of the average, if there is one.
    fn frozen(&mut self) -> Result<Frozen<B>> {
        let Trainer { backend, model, average, info, .. } = self;
        if let Some(average) = average.as_mut() {
            average.swap(&mut **model)?;
        }
        let frozen = Frozen::new(backend, &mut **model, &info.image);
        if let Some(average) = average.as_mut() {
            average.swap(&mut **model)?;
        }
        Ok(frozen?)
    }

    /// Moves the average towards the weights if that is due: before the next step, or at the end of the epoch. By then a step
    /// that was not finite is known where the device does not run behind, and nothing of it is in the average.
    pub(super) fn move_average(&mut self) -> Result<()> {
        let step = self.progress.step;
        // What was decided at the end of a run is not known behind its last step.
        let total = self.steps() * u64::from(self.recipe.epochs_at(step.saturating_sub(1)));
        let (Some(average), Some(of)) = (&mut self.average, &self.recipe.average) else { return Ok(()) };
        let Some(decay) = of.decay(step, total).filter(|_| self.progress.averaged < step) else { return Ok(()) };
        self.progress.averaged = step;
        average.update_by(&self.model, decay)?;
        if of.kind == AverageKind::Lookahead {
            average.put(&mut self.model)?;
        }
        Ok(())
    }

    fn save(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<()> {
        let Trainer { backend, model, optimizer, average, recipe, info, progress, timed, .. } = self;
        let trained = checkpoint::Trained { model: &mut **model, optimizer, average };
        checkpoint::save(folder, backend, trained, recipe, info, (progress, timed))?;
        self.saved = Some(Saved::now(&self.progress));
        observe(&Event::Saved { path: folder.weights() });
        Ok(())
    }

    /// Saves, unless this is what was saved last, or half a step.
    fn save_if_new(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<()> {
        if self.torn || self.saved.as_ref().is_some_and(|saved| saved.progress == self.progress) {
            return Ok(());
        }
        self.save(folder, observe)
    }
}

#[cfg(test)]
mod tests;
