//! What a recipe's defaults become for few images: they are made for tens of thousands.

use cnn_core::optim::Group;

use super::{HEAD, OptimizerKind, Recipe};

/// Steps of an epoch that batches are made small enough for, and the smallest such batch.
const STEPS_OF_AN_EPOCH: usize = 16;
const SMALLEST_BATCH: usize = 8;
/// Steps of a run that there are epochs enough for: fewer do not bring a rate up and down again.
const STEPS_OF_A_RUN: usize = 400;
/// And the most epochs for that.
const MOST_EPOCHS: usize = 60;

/// Of [fine-tuning](Recipe::fit_fine_tuning): batches that are tried, steps of a run that there are epochs enough for, and the fewest
/// and the most epochs for that. Weights that are trained already need few, and images that are few need not be seen for ever.
const BATCHES: [usize; 2] = [8, 32];
const STEPS_OF_TUNING: usize = 800;
const EPOCHS_OF_TUNING: [usize; 2] = [5, 40];
/// Of its epochs the first this-many-th part is the last layer's alone, one at least.
const HEAD_ALONE: u32 = 10;

/// Which of these were chosen, and stay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen {
    /// [`Recipe::batch`].
    pub batch: bool,
    /// [`Recipe::epochs`].
    pub epochs: bool,
    /// The highest learning rate.
    pub lr: bool,
}

impl Recipe {
    /// The smallest batch that each part of a step has an image of, or two where they are mixed with each other.
    fn least_batch(&self) -> usize {
        let each = if self.augment.mixup > 0.0 || self.augment.cutmix > 0.0 { 2 } else { 1 };
        (each * self.accumulate).min(self.batch)
    }

    /// How many of `images` training images are left to train on when the recipe's part of them is held out.
    pub fn trained_on(&self, images: usize) -> usize {
        images - self.held_out(images)
    }

    /// How many of them are held out.
    pub(crate) fn held_out(&self, images: usize) -> usize {
        ((self.validation * images as f64).round() as usize).min(images)
    }

    /// Makes defaults those of weights that are trained already: a tenth of the rate, but for the last layer, a third of the
    /// epochs, and labels that are smoothed.
    pub fn fine_tune(&mut self, chosen: Chosen) {
        if !chosen.lr {
            self.optimizer.lr /= 10.0;
        }
        if !chosen.epochs {
            self.epochs = self.epochs.div_ceil(3);
        }
        self.label_smoothing = self.label_smoothing.max(0.1);
        self.optimizer.groups.insert(0, Group::new(HEAD, 10.0));
    }

    /// Sets batch, epochs and [`unfreeze`](Recipe::unfreeze) of the preset [`finetune`](Recipe::FINE_TUNING) for `images` training
    /// images: batches of 8 to 32, so that an epoch has 16 steps, and epochs for 800 steps, but 5 at least and 40 at most, a tenth
    /// of them for the last layer alone where there is more than one. Says what that comes to.
    pub fn fit_fine_tuning(&mut self, images: usize, chosen: Chosen) -> String {
        if !chosen.batch {
            let most = (images / STEPS_OF_AN_EPOCH).max(1);
            self.batch = (1usize << most.ilog2()).clamp(BATCHES[0], BATCHES[1]).max(self.least_batch());
        }
        let steps = images.div_ceil(self.batch.max(1)).max(1);
        if !chosen.epochs {
            self.epochs = STEPS_OF_TUNING.div_ceil(steps).clamp(EPOCHS_OF_TUNING[0], EPOCHS_OF_TUNING[1]) as u32;
        }
        let alone = (self.epochs / HEAD_ALONE).max(1);
        self.unfreeze = if alone < self.epochs { vec![alone] } else { Vec::new() };
        let alone = self.unfreeze.iter().map(|alone| format!(", the last layer alone for {alone}")).collect::<String>();
        let epochs = if self.epochs == 1 { "epoch" } else { "epochs" };
        format!(
            "fine-tuning on {images} images: {} {epochs} of {steps} steps of {}{alone}; --epochs and --batch choose",
            self.epochs, self.batch
        )
    }

    /// Makes batches smaller and epochs more for `images` training images, where an epoch would have fewer than 16 steps, and with
    /// batches SGD's rate in proportion (P. Goyal et al., "Accurate, Large Minibatch SGD", 2017). Says what has changed; none where
    /// nothing has.
    pub fn fit_to(&mut self, images: usize, chosen: Chosen) -> Option<String> {
        let (batch, epochs, lr) = (self.batch, self.epochs, self.optimizer.lr);
        if images == 0 || batch == 0 || images.div_ceil(batch) >= STEPS_OF_AN_EPOCH {
            return None;
        }
        if !chosen.batch {
            let most = (images / STEPS_OF_AN_EPOCH).max(1);
            // The largest power of two of at most so many.
            self.batch = (1usize << most.ilog2()).clamp(SMALLEST_BATCH.min(batch), batch).max(self.least_batch());
            if !chosen.lr && self.optimizer.kind == OptimizerKind::Sgd {
                self.optimizer.lr *= self.batch as f64 / batch as f64;
            }
        }
        if !chosen.epochs {
            let enough = STEPS_OF_A_RUN.div_ceil(images.div_ceil(self.batch)).min(MOST_EPOCHS);
            self.epochs = epochs.max(enough as u32);
        }
        let new = [
            (self.batch != batch).then(|| format!("steps of {} images, not {batch}", self.batch)),
            (self.epochs != epochs).then(|| format!("{} epochs, not {epochs}", self.epochs)),
            (self.optimizer.lr != lr).then(|| format!("a rate of {}, not {lr}", self.optimizer.lr)),
        ];
        let new: Vec<String> = new.into_iter().flatten().collect();
        (!new.is_empty())
            .then(|| format!("few images ({images}): {}; --batch, --epochs and --lr choose", new.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fine_tuning_takes_epochs_by_the_number_of_images() {
        let fitted = |images, chosen| {
            let mut recipe = Recipe::preset(Recipe::FINE_TUNING).unwrap();
            let said = recipe.fit_fine_tuning(images, chosen);
            recipe.check().unwrap();
            (recipe.batch, recipe.epochs, recipe.unfreeze, said)
        };
        let of = |images| {
            let (batch, epochs, unfreeze, _) = fitted(images, Chosen::default());
            (batch, epochs, unfreeze[0])
        };
        assert_eq!([of(0), of(40), of(160)], [(8, 40, 4); 3]);
        assert_eq!([of(1600), of(5000), of(50_000)], [(32, 16, 1), (32, 6, 1), (32, 5, 1)]);
        let chosen = Chosen { batch: true, epochs: true, lr: false };
        let mut recipe = Recipe { batch: 16, epochs: 30, ..Recipe::preset(Recipe::FINE_TUNING).unwrap() };
        let said = recipe.fit_fine_tuning(100, chosen);
        let expected = "fine-tuning on 100 images: 30 epochs of 7 steps of 16, the last layer alone for 3; --epochs and --batch choose";
        assert_eq!((recipe.batch, recipe.epochs, &*said), (16, 30, expected));
        recipe.epochs = 1;
        recipe.fit_fine_tuning(100, chosen);
        assert!(recipe.unfreeze.is_empty(), "one epoch is not the last layer's alone");
        recipe.check().unwrap();
    }

    #[test]
    fn few_images_get_more_steps_and_many_none() {
        let recipe = || Recipe::default_for("small", "photos").unwrap();
        let fitted = |images, chosen| {
            let mut recipe = recipe();
            let said = recipe.fit_to(images, chosen);
            recipe.check().unwrap();
            (recipe.batch, recipe.epochs, recipe.optimizer.lr, said)
        };
        let none = Chosen::default();
        for images in [0, 1024, 50_000] {
            assert_eq!(fitted(images, none), (64, 10, 0.05, None));
        }
        let said = "few images (106): steps of 8 images, not 64, 29 epochs, not 10, a rate of 0.00625, not 0.05; \
                    --batch, --epochs and --lr choose";
        assert_eq!(fitted(106, none), (8, 29, 0.00625, Some(said.into())));
        let (batch, epochs, lr, _) = fitted(900, none);
        assert_eq!((batch, epochs, lr), (32, 14, 0.025));
        for images in 1..20 {
            let (batch, epochs, lr, _) = fitted(images, none);
            assert_eq!((batch, epochs, lr), (8, 60, 0.00625), "{images} images");
        }
        // What was chosen stays.
        let chosen = |batch, epochs, lr| fitted(106, Chosen { batch, epochs, lr });
        assert_eq!(chosen(true, true, false), (64, 10, 0.05, None));
        assert_eq!(chosen(true, false, false).1, 60);
        assert_eq!(chosen(false, true, true).2, 0.05);
        let with = |batch, accumulate, mixup| {
            let mut recipe = Recipe { batch, accumulate, ..recipe() };
            recipe.augment.mixup = mixup;
            recipe.fit_to(106, none);
            recipe
        };
        assert_eq!(with(0, 1, 0.0).batch, 0, "what no recipe may have is left to its check");
        assert_eq!((with(64, 8, 0.2).batch, with(64, 8, 0.0).batch), (16, 8));
        with(64, 8, 0.2).check().unwrap();
        // Adam's rate says how far a weight moves, whatever the batch.
        let mut adam = recipe();
        adam.optimizer.kind = OptimizerKind::Adam;
        adam.fit_to(106, none);
        assert_eq!((adam.batch, adam.optimizer.lr), (8, 0.05));
    }
}
