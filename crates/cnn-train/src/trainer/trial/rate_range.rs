//! The loss at rising rates: where it falls, and from which rate on it explodes.

use cnn_core::Backend;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::trainer::Trainer;

/// The rate of a step, and the mean loss before it.
type Trial = (f64, f64);

/// What steps at rising rates came to, by the loss smoothed. It "clearly" falls or rises where it does so by more than
/// its scatter from step to step can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RateRange {
    /// The rate of each step, and the mean loss before it.
    pub trials: Vec<(f64, f64)>,
    /// The smoothed loss of each step.
    pub smooth: Vec<f64>,
    /// The loss that the network began with: the mean of the first steps.
    pub start: Option<f64>,
    /// The rate at which the smoothed loss was least, if it clearly fell.
    pub lowest: Option<f64>,
    /// The rate not above that at which it fell fastest.
    pub fastest: Option<f64>,
    /// The first rate, above that of the least smoothed loss, at which it is clearly more than the network began with, or not
    /// finite.
    pub explodes: Option<f64>,
    /// Whether the loss went so far up, or was not finite, that no higher rate was tried.
    pub diverged: bool,
}

/// Part of the smoothed loss that is kept from the steps before.
const KEPT: f64 = 0.9;
/// Steps by which a moving average that keeps that part is late; a slope is taken over as many.
const LATE: usize = 9;
/// Steps whose mean is what the network began with: at the rates of a sweep's first ones nothing moves.
const FIRST: usize = 10;
/// Times the scatter of single losses by which a smoothed loss has to differ from the start. The mean of the first ten and
/// the moving average scatter by 0.4 times as much together, so that is nearly four deviations.
const CLEAR: f64 = 1.5;
/// Times its least value, and times its start, to which a smoothed loss rises when a rate is far too high. The first is
/// fast.ai's, and counts above the start only: the least of a loss that fell to nearly 0 is soon there four times. By the
/// second a network explodes that had learned nothing yet.
const DIVERGED: [f64; 2] = [4.0, 2.0];

impl RateRange {
    /// What `trials` show; `next` is the rate after the last of them if the loss there was not finite.
    fn of(trials: Vec<Trial>, next: Option<f64>) -> Self {
        let smooth = smoothed(&trials);
        let first = &trials[..trials.len().min(FIRST)];
        let start = first.iter().map(|trial| trial.1).sum::<f64>() / first.len().max(1) as f64;
        // Before that the average is of too few.
        let settled = (FIRST - 1).min(smooth.len().saturating_sub(1));
        let least = (settled..smooth.len()).min_by(|&a, &b| smooth[a].total_cmp(&smooth[b])).unwrap_or(0);
        let scatter = CLEAR * scatter(&trials[..trials.len().min((least + 1).max(FIRST))]);
        let fell = smooth.get(least).is_some_and(|&lowest| start - lowest > scatter);
        let above = (least..smooth.len()).find(|&at| smooth[at] - start > scatter);
        let last = smooth.len().checked_sub(1);
        let far =
            last.is_some_and(|last| smooth[last] > (DIVERGED[0] * smooth[least]).clamp(start, DIVERGED[1] * start));
        let rate = |at: usize| trials[at].0;
        // What the average shows at a step happened some steps before.
        let drop = |&at: &usize| smooth[at] - smooth[at + LATE];
        // Where it is not yet clearly below the start, a slope may be noise.
        let falls = (0..=least).rev();
        let falls = falls.take_while(|&at| fell && start - smooth[at] > scatter).last().unwrap_or(least);
        let windows = falls.saturating_sub(LATE)..(least + 1).saturating_sub(LATE);
        let fastest = windows.max_by(|a, b| drop(a).total_cmp(&drop(b)));
        RateRange {
            start: Some(start).filter(|_| !trials.is_empty()),
            lowest: fell.then(|| rate(least)),
            fastest: fastest.filter(|_| fell).map(rate),
            explodes: above.or(last.filter(|_| far)).map(rate).or(next),
            diverged: next.is_some() || far,
            smooth,
            trials,
        }
    }
}

/// A moving average without the bias towards 0 that it has at first (D. Kingma and J. Ba, 2014, section 3).
fn smoothed(trials: &[Trial]) -> Vec<f64> {
    let (mut average, mut weight) = (0.0, 0.0);
    let mut next = |&(_, loss): &Trial| {
        average = KEPT * average + (1.0 - KEPT) * loss;
        weight = KEPT * weight + (1.0 - KEPT);
        average / weight
    };
    trials.iter().map(&mut next).collect()
}

/// Standard deviation of a single loss, from the differences of neighbours, so that a slope does not count.
fn scatter(trials: &[Trial]) -> f64 {
    let squares = trials.windows(2).map(|two| (two[1].1 - two[0].1).powi(2));
    (squares.sum::<f64>() / (2 * trials.len().saturating_sub(1).max(1)) as f64).sqrt()
}

impl<B: Backend> Trainer<B> {
    /// Makes `steps` steps at rates from `low` to `high`, each as many times the one before, and ends early when the smoothed
    /// loss has risen to four times its least or twice its start, or the loss is not finite (L. Smith, "Cyclical Learning Rates
    /// for Training Neural Networks", 2015, section 3.3).
    ///
    /// # Errors
    /// Images that cannot be read, and what the model and the device say.
    pub fn rate_range(self, low: f64, high: f64, steps: usize) -> Result<RateRange> {
        let factor = (high / low).powf(1.0 / (steps.max(2) - 1) as f64);
        let diverged = |trials: &[Trial]| RateRange::of(trials.to_vec(), None).diverged;
        let (trials, next) = self.tried(steps, |_, step| low * factor.powi(step as i32), diverged)?;
        Ok(RateRange::of(trials, next))
    }

    /// Makes the first steps of the recipe's own schedule, with a highest rate of `lr`: up to that rate and as many again, at
    /// least 20 and at most `most`. Returns the rate at which the smoothed loss is twice `start`, what the network begins with,
    /// or the loss is not finite, if that happens. A rate that the sudden rise of a [`rate_range`](Trainer::rate_range) does
    /// not bear may be reached by a slow one.
    ///
    /// # Errors
    /// As for [`rate_range`](Trainer::rate_range).
    pub fn explodes_on_the_way(mut self, lr: f64, start: f64, most: usize) -> Result<Option<f64>> {
        self.recipe.optimizer.lr = lr;
        let all = self.steps() * u64::from(self.recipe.all_epochs());
        let top = (0..all).find(|&step| self.rate(step + 1) < self.rate(step)).unwrap_or(0);
        let steps = (2 * (top + 1)).max(20).min(all).min(most as u64) as usize;
        let high = |trials: &[Trial]| smoothed(trials).last().is_some_and(|&last| last > DIVERGED[1] * start);
        let (trials, next) = self.tried(steps, |trainer, step| trainer.rate(step as u64), high)?;
        Ok(next.or_else(|| trials.last().map(|trial| trial.0).filter(|_| high(&trials))))
    }

    /// Steps at these rates until there are so many, `enough` is, or the loss is not finite: each one's rate and loss, and the
    /// rate of the one that was not finite.
    fn tried(
        mut self,
        steps: usize,
        rate: impl Fn(&Self, usize) -> f64,
        enough: impl Fn(&[Trial]) -> bool,
    ) -> Result<(Vec<Trial>, Option<f64>)> {
        let (mut trials, mut epoch) = (Vec::with_capacity(steps), 0);
        while trials.len() < steps {
            for batch in self.loader.epoch(epoch, &self.recipe.augment()) {
                let lr = rate(&self, trials.len());
                let outcome = self.update(&batch?, trials.len() as u64, lr)?.read()?;
                if !outcome.finite || !outcome.loss.is_finite() {
                    return Ok((trials, Some(lr)));
                }
                trials.push((lr, outcome.loss));
                if trials.len() == steps || enough(&trials) {
                    return Ok((trials, None));
                }
            }
            epoch += 1;
        }
        Ok((trials, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;
    use crate::fault_tests::{cpu, dataset, recipe};

    /// Losses at rates from 0.00001 on, each 1.2 times the one before.
    fn swept(losses: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
        losses.enumerate().map(|(i, loss)| (1e-5 * 1.2f64.powi(i as i32), loss)).collect()
    }

    fn step_of(rate: f64) -> i32 {
        ((rate / 1e-5).ln() / 1.2f64.ln()).round() as i32
    }

    /// What scatters around 0 by 1 at most, the same in every run.
    fn noise(i: u32) -> f64 {
        f64::from(i.wrapping_mul(2_654_435_761).rotate_left(16) % 1000) / 500.0 - 1.0
    }

    #[test]
    fn the_range_is_found_where_it_was_put() {
        // Falls fastest where the 40th rate is, is least at the 60th, and rises from there.
        let loss =
            |i: f64| if i < 60.0 { 2.0 - 1.5 / (1.0 + (-(i - 40.0) / 3.0).exp()) } else { 0.5 + (i - 60.0).powi(2) };
        let trials = swept((0..80).map(|i| loss(f64::from(i))));
        let range = RateRange::of(trials.clone(), None);
        let [fastest, lowest] = [range.fastest, range.lowest].map(|rate| step_of(rate.unwrap()));
        // Smoothing comes a few steps late.
        assert!((36..=44).contains(&fastest) && (58..=66).contains(&lowest), "{fastest}, {lowest}");
        assert!(range.diverged && (62..=66).contains(&step_of(range.explodes.unwrap())), "{:?}", range.explodes);
        let before = RateRange::of(trials[..60].to_vec(), None);
        assert!(!before.diverged && before.explodes.is_none() && before.lowest == Some(trials[59].0));
        let flat = RateRange::of(vec![(0.1, 1.0), (0.2, 2.0)], Some(0.3));
        assert_eq!((flat.lowest, flat.fastest, flat.explodes, flat.diverged), (None, None, Some(0.3), true));
        let none = RateRange::of(vec![], Some(0.1));
        assert_eq!((none.start, none.lowest, none.explodes, none.diverged), (None, None, Some(0.1), true));
    }

    #[test]
    fn noise_at_the_start_is_no_fall() {
        // The same curve, which scatters: the first losses by as much as it falls in ten steps.
        let loss = |i: u32| 2.0 - 1.5 / (1.0 + (-(f64::from(i) - 40.0) / 3.0).exp()) + 0.3 * noise(i);
        let range = RateRange::of(swept((0..70).map(loss)), None);
        // A hump before it has the steepest slope of all.
        let hump = |i: u32| loss(i) + if (4..9).contains(&i) { 1.5 } else { 0.0 };
        let humped = RateRange::of(swept((0..70).map(hump)), None);
        assert!(step_of(humped.fastest.unwrap()) > 25, "{}", step_of(humped.fastest.unwrap()));
        assert!((34..=46).contains(&step_of(range.fastest.unwrap())), "{}", step_of(range.fastest.unwrap()));
        // A network that learns nothing in so few steps: neither a fall nor an explosion.
        let flat = RateRange::of(swept((0..70).map(|i| 2.3 + 0.3 * noise(i))), None);
        assert_eq!((flat.lowest, flat.fastest, flat.explodes, flat.diverged), (None, None, None, false));
    }

    #[test]
    fn a_network_that_had_hardly_learned_explodes_by_its_start() {
        // Never four times its least, and a dead network's loss behind that.
        let loss = |i: u32| if i < 40 { 2.5 - f64::from(i) / 200.0 } else { 8.0 };
        let range = RateRange::of(swept((0..60).map(loss)), None);
        assert!(range.diverged && (40..43).contains(&step_of(range.explodes.unwrap())), "{:?}", range.explodes);
    }

    #[test]
    fn rates_rise_until_the_loss_does() {
        let range = Trainer::new(&cpu(), recipe(), dataset()).unwrap().rate_range(1e-4, 1e4, 60).unwrap();
        assert!(range.diverged && range.trials.len() < 60, "{range:?}");
        let rates = range.trials.windows(2).map(|two| two[1].0 / two[0].0);
        assert!(rates.into_iter().all(|factor| (1.3..1.4).contains(&factor)));
        let (lowest, explodes) = (range.lowest.unwrap(), range.explodes.unwrap());
        assert!(range.fastest.is_none_or(|fastest| fastest <= lowest), "{range:?}");
        assert!((1e-3..10.0).contains(&lowest) && lowest < explodes, "{lowest} {explodes}");
    }

    #[test]
    fn a_recipe_s_own_rise_is_tried() {
        let trainer = || Trainer::new(&cpu(), Recipe { epochs: 40, ..recipe() }, dataset()).unwrap();
        let explodes = |lr: f64, most: usize| trainer().explodes_on_the_way(lr, 3.0, most).unwrap();
        assert_eq!(explodes(0.02, 300), None);
        // Early on the way, and not within a few steps at a low rate.
        assert!((1e4 / 25.0..1e4).contains(&explodes(1e4, 300).unwrap()));
        assert_eq!(explodes(0.02, 3), None);
    }
}
