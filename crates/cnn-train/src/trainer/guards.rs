//! What a run warns of while something can still be changed: gradients and outputs that explode, a loss that is worse than a guess,
//! units that are never active, and time spent waiting for images. Nothing of it moves a weight or a statistic, or draws a random number.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use cnn_core::backend::Activation;
use cnn_core::graph::{Event as Operation, Observer, Op};
use cnn_core::{Backend, Pass, Real, Tensor};
use cnn_data::{Augment, Loader, LoaderOptions};

use super::Trainer;
use crate::Result;
use crate::control::Control;
use crate::report::{EpochReport, Event};

/// Steps whose norms are not compared with yet: growth over so many is seen, however slow it is from step to step.
const RECENT: usize = 10;
/// Steps that are known before one is called large: the first ones are.
const KNOWN: u64 = 20;
/// So many times the largest norm before is more than a hard batch does.
const EXPLODES: f64 = 10.0;
/// So many times the norm of the first step, at any step.
const FROM_THE_FIRST: f64 = 1000.0;
/// Images that are looked at after an epoch, and numbers of them at most, if they are a few.
const LOOKED_AT: usize = 64;
const FEW: usize = 16;
const NUMBERS: usize = LOOKED_AT * 32 * 32 * 3;
/// An output's root mean square that no network with sensible weights has.
const LARGE_OUTPUT: f64 = 1e4;
/// Part of the time of the steps that is spent on looking, about: where an epoch lasts a second, not every one is looked at.
const LOOKING: f64 = 0.02;
/// So many times the loss of who guesses is more than an epoch's hard images make of it.
const WORSE_THAN_A_GUESS: f64 = 2.0;
/// Part of an epoch, and seconds of it, that may go by waiting for images.
const WAITING: (f64, f64) = (0.2, 5.0);

/// What the guards remember. A resumed run begins without it.
#[derive(Debug, Default)]
pub(super) struct Guards {
    /// Norms of the gradients of the last steps, the oldest first.
    recent: VecDeque<f64>,
    /// That of the first step of this process.
    first: Option<f64>,
    /// The largest of those before the last ones, and how many there were.
    largest: f64,
    known: u64,
    /// The largest of this epoch.
    pub(super) of_epoch: f64,
    /// Seconds of this epoch in this process, and those of them that went by waiting for images with nothing else to do.
    pub(super) spent: f64,
    pub(super) waited: f64,
    /// Seconds of all epochs of this process, and those that went by looking at what the layers answer.
    trained: f64,
    pub(super) looked: f64,
    /// Whether exploding gradients were told of in this epoch, and waiting and the loss in any.
    told_norm: bool,
    told_waiting: bool,
    told_loss: bool,
    /// Silent channels of a layer when they were last told of, and whether large outputs were.
    silent: BTreeMap<String, usize>,
    told_outputs: bool,
}

impl Guards {
    /// Forgets what was of one epoch.
    pub(super) fn begin_epoch(&mut self) {
        (self.of_epoch, self.spent, self.waited, self.told_norm) = (0.0, 0.0, 0.0, false);
    }

    /// The largest norm of this epoch, and the part of its seconds that went by waiting; none where no step was made.
    pub(super) fn of_steps(&self) -> Option<(f64, f64)> {
        (self.spent > 0.0).then(|| (self.of_epoch, (self.waited / self.spent).min(1.0)))
    }

    /// Notes a step's norm of all gradients, and says if it explodes.
    pub(super) fn norm(&mut self, epoch: u32, step: u64, norm: f64) -> Option<String> {
        self.of_epoch = self.of_epoch.max(norm);
        let (first, before) = (*self.first.get_or_insert(norm), self.largest);
        let from_the_first = first > 0.0 && norm > FROM_THE_FIRST * first;
        let explodes = from_the_first || self.known >= KNOWN && before > 0.0 && norm > EXPLODES * before;
        self.recent.push_back(norm);
        if self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.largest = self.largest.max(oldest);
            self.known += 1;
        }
        if !explodes || self.told_norm {
            return None;
        }
        self.told_norm = true;
        let (of, than) = match from_the_first {
            true => ("that of the first step".to_owned(), first),
            false => (format!("the largest of all steps but the last {RECENT}"), before),
        };
        let (times, norm, than) = (norm / than, number(norm), number(than));
        let times = if times < 1e6 { format!("{times:.0}") } else { number(times) };
        Some(format!(
            "the gradients explode: their norm is {norm} in step {step} of epoch {epoch}, {times} times {of}: a lower learning rate, a \
             longer warm-up or clip_grad_norm = {than} in the recipe may hold them",
        ))
    }

    /// Says that an epoch waited too long for its images, once.
    fn waiting(&mut self, epoch: u32) -> Option<String> {
        let (waited, (_, waiting)) = (self.waited, self.of_steps()?);
        if self.told_waiting || waiting < WAITING.0 || waited < WAITING.1 {
            return None;
        }
        self.told_waiting = true;
        Some(format!(
            "{:.0}% of epoch {epoch} ({waited:.0} s) went by waiting for images: they are read and decoded slower than the network \
             learns; smaller files, a faster disk or more threads would help",
            100.0 * waiting,
        ))
    }

    /// Says once that an epoch's training loss is far above that of giving every class the same probability; in the first epoch it
    /// may be, until the network has found its bounds.
    fn loss(&mut self, epoch: u32, loss: f64, guess: f64) -> Option<String> {
        if self.told_loss || epoch < 2 || loss <= WORSE_THAN_A_GUESS * guess.max(0.1) {
            return None;
        }
        self.told_loss = true;
        Some(format!(
            "the training loss of epoch {epoch}, {loss:.2}, is far above that of a guess, {guess:.2}: the steps are too long, and a \
             lower learning rate may hold them",
        ))
    }

    /// Says which ReLUs are dead, again when they are twice as many, and once that outputs are large.
    fn outputs(&mut self, epoch: u32, images: usize, seen: &Seen) -> Vec<String> {
        let mut words = Vec::new();
        for Active { layer, active } in &seen.active {
            let (silent, channels) = (&active.iter().filter(|active| !**active).count(), &active.len());
            let before = self.silent.get(layer).copied().unwrap_or(0);
            if 2 * silent < *channels || *silent < 2 * before {
                continue;
            }
            self.silent.insert(layer.clone(), *silent);
            words.push(format!(
                "{silent} of {channels} ReLUs behind {layer} are dead after epoch {epoch}: 0 for all of {images} training images, \
                 and what is 0 learns nothing; a lower learning rate or a longer warm-up may keep them alive"
            ));
        }
        if let (Some((layer, rms)), false) = (&seen.largest, self.told_outputs)
            && *rms > LARGE_OUTPUT
        {
            self.told_outputs = true;
            words.push(format!(
                "the outputs of {layer} are large after epoch {epoch}, {rms:.1e} in the root of their mean square: a lower learning \
                 rate, more weight decay or a normalisation may keep them in bounds"
            ));
        }
        words
    }
}

/// A ReLU: how many of its channels are 0 for every pixel of every image.
#[derive(Debug, PartialEq)]
struct Active {
    /// The layer that it is in, or the one before.
    layer: String,
    /// Of each channel.
    active: Vec<bool>,
}

/// A number of three digits or more, as a recipe can have it.
fn number(x: f64) -> String {
    if (1e-3..1e6).contains(&x) { format!("{x:.3}") } else { format!("{x:.2e}") }
}

/// What passes over some images showed.
#[derive(Debug, Default)]
struct Seen {
    active: Vec<Active>,
    /// The layer with the largest root mean square of its outputs, and that.
    largest: Option<(String, f64)>,
    /// ReLUs of this pass so far.
    relus: usize,
    /// The last operation that has a path: an operation without is named by it.
    layer: String,
}

impl<B: Backend> Observer<B> for Seen {
    fn observe(&mut self, event: &Operation<'_, B>) -> cnn_core::Result<()> {
        let rectified = match event.op {
            Op::Input | Op::Parameter { .. } => return Ok(()),
            Op::Activation(activation) => Some(*activation),
            Op::BatchNorm2d { after, .. } => after.activation,
            _ => None,
        };
        let (values, channels) = (event.output.to_vec()?, event.output.shape().channels().max(1));
        if !event.path.is_empty() {
            self.layer = event.path.to_owned();
        }
        let layer = self.layer.clone();
        let squares: f64 = values.iter().map(|value| value.as_f64() * value.as_f64()).sum();
        let rms = (squares / values.len().max(1) as f64).sqrt();
        if self.largest.as_ref().is_none_or(|(_, largest)| rms > *largest) {
            self.largest = Some((layer.clone(), rms));
        }
        if rectified == Some(Activation::Relu) {
            if self.relus == self.active.len() {
                self.active.push(Active { layer, active: vec![false; channels] });
            }
            let active = &mut self.active[self.relus].active;
            for pixel in values.chunks_exact(channels) {
                active.iter_mut().zip(pixel).for_each(|(active, value)| *active |= value.as_f64() != 0.0);
            }
            self.relus += 1;
        }
        Ok(())
    }
}

impl<B: Backend> Trainer<B> {
    /// Looks at an epoch that is complete, and at what the layers answer to some of the training images.
    pub(super) fn guard_epoch(&mut self, report: &EpochReport, observe: &mut dyn FnMut(&Event) -> Control) -> Control {
        let epoch = report.epoch;
        let mut words: Vec<String> = self.guards.waiting(epoch).into_iter().collect();
        words.extend(self.guards.loss(epoch, report.train_loss, self.guess));
        self.guards.trained += self.guards.spent;
        if self.guards.looked <= LOOKING * self.guards.trained {
            let start = Instant::now();
            match self.look() {
                Ok((images, seen)) => words.extend(self.guards.outputs(epoch, images, &seen)),
                Err(error) => words.push(format!("what the layers answer could not be looked at: {error}")),
            }
            self.guards.looked += start.elapsed().as_secs_f64();
        }
        let told = words.into_iter().map(|text| observe(&Event::Warning { text }));
        told.fold(Control::Continue, Control::max)
    }

    /// Passes over some training images of all classes as they are stored, in evaluation mode, which changes nothing, and no more
    /// of them at a time than a step has.
    fn look(&mut self) -> Result<(usize, Seen)> {
        let images = self.train.images().clone();
        let numbers = self.info.image.iter().product::<usize>().max(1);
        let count = (NUMBERS / numbers).clamp(FEW, LOOKED_AT).min(images.len());
        let batch = count.min(self.recipe.batch.div_ceil(self.recipe.accumulate));
        let options = LoaderOptions::new(batch).seed(self.recipe.seed).shuffle(true);
        let (seen, mut looked_at) = (Rc::new(RefCell::new(Seen::default())), 0);
        for batch in Loader::new(images, options)?.epoch(0, &Augment::NONE) {
            if looked_at >= count {
                break;
            }
            let images: Tensor<B> = self.train.tensor(&batch?)?;
            looked_at += images.shape().dims()[0];
            seen.borrow_mut().relus = 0;
            let pass = Pass::eval(&self.backend).observed(seen.clone());
            self.model.call(&pass.input(images)?)?;
        }
        Ok((looked_at, seen.take()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_that_explode_are_told_of_and_hard_batches_are_not() {
        let told = |norms: &mut dyn Iterator<Item = f64>| {
            let mut guards = Guards::default();
            norms
                .enumerate()
                .filter_map(|(i, norm)| Some(i).filter(|_| guards.norm(1, i as u64 + 1, norm).is_some()))
                .collect()
        };
        let steady = |i: usize| 1.0 + 0.5 * (i as f64).sin();
        let none: Vec<usize> = told(&mut (0..200).map(steady));
        assert!(none.is_empty(), "{none:?}");
        // Large at first, small later, and a hard batch.
        let none: Vec<usize> = told(&mut (0..200).map(|i| if i == 150 { 9.0 } else { 5.0 / (i + 1) as f64 }));
        assert!(none.is_empty(), "{none:?}");
        // At once, and by a third from step to step; once in an epoch.
        let at_once: Vec<usize> = told(&mut (0..200).map(|i| if i < 100 { steady(i) } else { 20.0 }));
        assert_eq!(at_once, [100]);
        let slowly: Vec<usize> = told(&mut (0..90).map(|i| 1.3f64.powi(i - 60).max(1.0)));
        assert_eq!(slowly.len(), 1, "{slowly:?}");
        assert!((65..75).contains(&slowly[0]), "{slowly:?}");
        let mut guards = Guards::default();
        (0..50).for_each(|i| drop(guards.norm(1, i, 1.0)));
        let text = guards.norm(2, 7, 25.0).unwrap();
        assert!(
            text.contains(
                "their norm is 25.000 in step 7 of epoch 2, 25 times the largest of all steps but the last 10"
            ),
            "{text}"
        );
        assert_eq!(guards.norm(2, 8, 250.0), None, "told once");
        guards.begin_epoch();
        assert!(guards.norm(3, 1, 250.0).is_some());
        // From the first steps on, however large they are by then.
        let mut wild = Guards::default();
        let told: Vec<Option<String>> = (0..6).map(|i| wild.norm(1, i, 2.0 * 50f64.powi(i as i32))).collect();
        assert!(told[..2].iter().all(Option::is_none), "{told:?}");
        let text = told[2].as_ref().unwrap();
        assert!(
            text.contains("2500 times that of the first step") && text.contains("clip_grad_norm = 2.000 in"),
            "{text}"
        );
        // What is advised can be written into a recipe.
        let mut tiny = Guards::default();
        (0..50).for_each(|i| drop(tiny.norm(1, i, 2e-5)));
        assert!(tiny.norm(1, 50, 1e-3).unwrap().contains("clip_grad_norm = 2.00e-5 in"));
    }

    #[test]
    fn an_epoch_that_waits_for_its_images_says_so_once() {
        let mut guards = Guards::default();
        let mut told = |waited: f64, spent: f64| {
            (guards.waited, guards.spent) = (waited, spent);
            guards.waiting(2)
        };
        assert_eq!(told(0.0, 0.0), None, "no step was made");
        assert_eq!(told(100.0, 1000.0), None);
        assert_eq!(told(0.9, 1.0), None, "a second is not worth a word");
        let text = told(20.0, 80.0).unwrap();
        assert!(text.starts_with("25% of epoch 2 (20 s) went by waiting for images"), "{text}");
        assert_eq!(told(40.0, 80.0), None);
    }

    #[test]
    fn a_loss_that_is_worse_than_a_guess_is_told_of_once() {
        let mut guards = Guards::default();
        assert_eq!(guards.loss(1, 19.0, 4f64.ln()), None, "the first epoch finds its bounds");
        assert_eq!(guards.loss(2, 2.7, 4f64.ln()), None);
        let text = guards.loss(3, 24.16, 4f64.ln()).unwrap();
        let expected = "the training loss of epoch 3, 24.16, is far above that of a guess, 1.39: the steps are too long, and a \
                        lower learning rate may hold them";
        assert_eq!(text, expected);
        assert_eq!(guards.loss(4, 30.0, 4f64.ln()), None);
        // Of one class every answer is right.
        assert_eq!(Guards::default().loss(2, 1e-3, 0.0), None);
    }

    #[test]
    fn what_is_told_of_a_layer_is_told_again_when_it_is_twice_as_bad() {
        let seen = |silent: usize, rms: f64| Seen {
            active: vec![Active { layer: "features.relu".into(), active: (0..64).map(|i| i >= silent).collect() }],
            largest: Some(("fc".into(), rms)),
            ..Seen::default()
        };
        let mut guards = Guards::default();
        assert!(guards.outputs(1, 64, &seen(31, 9e3)).is_empty());
        let words = guards.outputs(2, 64, &seen(32, 2e4));
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(
            words[0].starts_with("32 of 64 ReLUs behind features.relu are dead after epoch 2: 0 for all of 64"),
            "{words:?}"
        );
        assert!(words[1].starts_with("the outputs of fc are large after epoch 2, 2.0e4 in"), "{words:?}");
        assert!(guards.outputs(3, 64, &seen(40, 9e9)).is_empty());
        assert_eq!(guards.outputs(4, 64, &seen(64, 0.0)).len(), 1);
    }
}
