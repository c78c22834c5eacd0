//! Steps that are tried and belong to no run: of a few images again and again, and at ever higher rates.

use cnn_core::Backend;
use cnn_data::{Augment, Loader, LoaderOptions};
use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::{Error, Result};

/// Whether a network can learn a few images by heart: one that cannot will not learn many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Overfit {
    /// Images.
    pub images: usize,
    /// Images that were right in the last step, before it moved the weights.
    pub correct: u32,
    /// Mean loss then; none if it was not finite.
    pub loss: Option<f64>,
    /// Steps that were made.
    pub steps: usize,
    /// The learning rate.
    pub lr: f64,
}

impl Overfit {
    /// Whether every image was right.
    pub fn succeeded(&self) -> bool {
        self.correct as usize == self.images
    }
}

/// What steps at rising rates came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RateRange {
    /// The rate of each step, and the mean loss before it.
    pub trials: Vec<(f64, f64)>,
    /// The rate at which the smoothed loss was least, if it ever fell.
    pub lowest: Option<f64>,
    /// The rate below that at which it fell fastest.
    pub fastest: Option<f64>,
    /// Whether the loss rose to four times its least, or was not finite, before the last rate.
    pub diverged: bool,
}

/// Part of the smoothed loss that is kept from the steps before.
const KEPT: f64 = 0.9;
/// Times its least value to which a smoothed loss rises when a rate is far too high.
const DIVERGED: f64 = 4.0;

impl RateRange {
    fn of(trials: Vec<(f64, f64)>, finite: bool) -> Self {
        // A moving average, which is biased towards 0 at first (D. Kingma and J. Ba, 2014, section 3).
        let (mut average, mut weight, mut smooth) = (0.0, 0.0, Vec::with_capacity(trials.len()));
        for (_, loss) in &trials {
            average = KEPT * average + (1.0 - KEPT) * loss;
            weight = KEPT * weight + (1.0 - KEPT);
            smooth.push(average / weight);
        }
        let least = (0..smooth.len()).min_by(|&a, &b| smooth[a].total_cmp(&smooth[b])).filter(|&at| at > 0);
        let slope = |at: &usize| smooth[*at] - smooth[at - 1]; // the rates are evenly spaced in their logarithm
        let fastest = least.and_then(|least| (1..=least).min_by(|a, b| slope(a).total_cmp(&slope(b))));
        let diverged =
            !finite || least.is_some_and(|at| smooth.last().is_some_and(|&last| last > DIVERGED * smooth[at]));
        let rate = |at: usize| trials[at].0;
        RateRange { lowest: least.map(rate), fastest: fastest.map(rate), diverged, trials }
    }
}

impl<B: Backend> Trainer<B> {
    /// The learning rate of the first step.
    pub fn first_rate(&self) -> f64 {
        self.rate(0)
    }

    /// Trains on the first `images` training images, as they are stored, for at most `steps` steps at a rate of `lr`, until all
    /// are right.
    ///
    /// # Errors
    /// Images that cannot be read, and what the model and the device say.
    pub fn overfit(mut self, images: usize, steps: usize, lr: f64) -> Result<Overfit> {
        (self.recipe.augment.mixup, self.recipe.augment.cutmix) = (0.0, 0.0);
        let set = self.train.images().clone();
        let batch = Loader::new(set, LoaderOptions::new(images.max(1)))?.epoch(0, &Augment::NONE).next();
        let batch = batch.ok_or_else(|| Error::recipe("training images", 0, "must be at least one"))??;
        let mut overfit = Overfit { images: batch.len(), correct: 0, loss: None, steps: 0, lr };
        for step in 0..steps {
            let outcome = self.update(&batch, step as u64, lr)?.read()?;
            (overfit.correct, overfit.steps) = (outcome.correct, step + 1);
            overfit.loss = Some(outcome.loss).filter(|_| outcome.finite);
            if overfit.succeeded() || !outcome.finite {
                break;
            }
        }
        Ok(overfit)
    }

    /// Makes `steps` steps at rates from `low` to `high`, each as many times the one before, and ends early when the loss has
    /// risen to four times its least or is not finite (L. Smith, "Cyclical Learning Rates for Training Neural Networks", 2015).
    ///
    /// # Errors
    /// Images that cannot be read, and what the model and the device say.
    pub fn rate_range(mut self, low: f64, high: f64, steps: usize) -> Result<RateRange> {
        let factor = (high / low).powf(1.0 / (steps.max(2) - 1) as f64);
        let (mut trials, mut finite, mut epoch) = (Vec::with_capacity(steps), true, 0);
        'all: while trials.len() < steps {
            for batch in self.loader.epoch(epoch, &self.recipe.augment()) {
                let lr = low * factor.powi(trials.len() as i32);
                let outcome = self.update(&batch?, trials.len() as u64, lr)?.read()?;
                finite = outcome.finite && outcome.loss.is_finite();
                if !finite {
                    break 'all;
                }
                trials.push((lr, outcome.loss));
                if trials.len() == steps || RateRange::of(trials.clone(), true).diverged {
                    break 'all;
                }
            }
            epoch += 1;
        }
        Ok(RateRange::of(trials, finite))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;
    use crate::fault_tests::{cpu, dataset, recipe};

    #[test]
    fn the_range_is_found_where_it_was_put() {
        // Falls fastest where the 40th rate is, is least at the 60th, and rises from there.
        let loss =
            |i: f64| if i < 60.0 { 2.0 - 1.5 / (1.0 + (-(i - 40.0) / 3.0).exp()) } else { 0.5 + (i - 60.0).powi(2) };
        let trials: Vec<(f64, f64)> = (0..80).map(|i| (1e-5 * 1.2f64.powi(i), loss(f64::from(i)))).collect();
        let step_of = |rate: f64| ((rate / 1e-5).ln() / 1.2f64.ln()).round() as i32;
        let range = RateRange::of(trials.clone(), true);
        let [fastest, lowest] = [range.fastest, range.lowest].map(|rate| step_of(rate.unwrap()));
        // Smoothing comes a few steps late.
        assert!((40..=46).contains(&fastest) && (58..=66).contains(&lowest), "{fastest}, {lowest}");
        assert!(range.diverged);
        let before = RateRange::of(trials[..60].to_vec(), true);
        assert!(!before.diverged && before.lowest == Some(trials[59].0));
        let flat = RateRange::of(vec![(0.1, 1.0), (0.2, 2.0)], false);
        assert_eq!((flat.lowest, flat.fastest, flat.diverged), (None, None, true));
    }

    #[test]
    fn a_network_that_can_learn_learns_a_few_images_by_heart() {
        let trainer = |seed| Trainer::new(&cpu(), Recipe { seed, ..recipe() }, dataset()).unwrap();
        let learned = trainer(0).overfit(8, 200, 0.02).unwrap();
        assert!(learned.succeeded() && learned.steps < 200 && learned.images == 8, "{learned:?}");
        let still = trainer(0).overfit(8, 5, 1e-12).unwrap();
        assert!(!still.succeeded() && still.steps == 5, "{still:?}");
        let wild = trainer(0).overfit(8, 50, 1e30).unwrap();
        assert!(!wild.succeeded() && wild.loss.is_none(), "{wild:?}");
    }

    #[test]
    fn rates_rise_until_the_loss_does() {
        let range = Trainer::new(&cpu(), recipe(), dataset()).unwrap().rate_range(1e-4, 1e4, 60).unwrap();
        assert!(range.diverged && range.trials.len() < 60, "{range:?}");
        let rates = range.trials.windows(2).map(|two| two[1].0 / two[0].0);
        assert!(rates.into_iter().all(|factor| (1.3..1.4).contains(&factor)));
        let (fastest, lowest) = (range.fastest.unwrap(), range.lowest.unwrap());
        assert!(fastest <= lowest && (1e-3..10.0).contains(&lowest), "{fastest} {lowest}");
    }
}
