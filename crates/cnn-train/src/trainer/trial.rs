//! Steps that are tried and belong to no run: of a few images again and again, and at ever higher rates.

use cnn_core::Backend;
use cnn_data::{Augment, Loader, LoaderOptions};
use serde::Serialize;

use super::Trainer;
use crate::{Error, Result};

mod rate_range;

pub use rate_range::RateRange;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;
    use crate::fault_tests::{cpu, dataset, recipe};

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
}
