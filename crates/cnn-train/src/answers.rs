//! What is to be learned of the images of a batch: the one class of each or, where an image may have none or several, which of all
//! classes it has.

use cnn_core::ops::{ClassWeights, Labels, Loss, Targets};
use cnn_core::{Backend, Var};
use cnn_data::{Batch, ImageSet};

/// The answers to a batch, on the device.
#[derive(Debug)]
pub(crate) enum Answers<B: Backend> {
    /// A class each, of which a part is spread over all classes.
    One { labels: Labels<B>, smoothing: f64 },
    /// A number for each class, smoothed already.
    Several(Targets<B>),
}

/// How answers are made of labels.
#[derive(Debug)]
pub(crate) struct Making<'a, B: Backend> {
    /// Part of an answer that is no label's: spread over all classes or, of several labels, half of it for and half of it against each.
    pub(crate) smoothing: f64,
    /// What the classes count, if not all alike.
    pub(crate) weights: Option<&'a ClassWeights<B>>,
    /// Part of an image that is its own, the rest being the image's before it: 1 for images that are not mixed.
    pub(crate) own: f64,
}

impl<B: Backend> Answers<B> {
    /// The answers to a batch of `images`.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn of(backend: &B, images: &ImageSet, batch: &Batch, making: &Making<'_, B>) -> cnn_core::Result<Self> {
        let Making { smoothing, weights, own } = *making;
        if !images.is_multi_label() {
            let labels = match weights {
                Some(weights) => Labels::weighted(backend, &batch.labels, weights)?,
                None => Labels::new(backend, &batch.labels)?,
            };
            return Ok(Answers::One { labels: labels.mixed(own)?, smoothing });
        }
        let (classes, plain) = (images.classes().len(), images.targets(&batch.samples));
        let target = |i: usize| {
            // The image before the first is the last.
            let before = (i + plain.len() - classes) % plain.len();
            let mixed = own * f64::from(plain[i]) + (1.0 - own) * f64::from(plain[before]);
            ((1.0 - smoothing) * mixed + smoothing / 2.0) as f32
        };
        let targets = Targets::new(backend, classes, &(0..plain.len()).map(target).collect::<Vec<f32>>())?;
        Ok(Answers::Several(match weights {
            Some(weights) => targets.weighted(weights)?,
            None => targets,
        }))
    }

    /// Answers to `count` images of no meaning, of `classes`: what a step takes does not depend on them.
    pub(crate) fn any(backend: &B, count: usize, classes: usize, multi_label: bool) -> cnn_core::Result<Self> {
        Ok(match multi_label {
            true => Answers::Several(Targets::new(backend, classes, &vec![0.0; count * classes])?),
            false => Answers::One { labels: Labels::new(backend, &vec![0; count])?, smoothing: 0.0 },
        })
    }

    /// What the mean of the loss is over: images, or their weights.
    pub(crate) fn count(&self) -> f64 {
        match self {
            Answers::One { labels, .. } => labels.count(),
            Answers::Several(targets) => targets.len() as f64,
        }
    }

    /// The mean loss of `logits` \[N, classes\].
    pub(crate) fn loss(&self, logits: &Var<B>) -> cnn_core::Result<Loss<B>> {
        match self {
            Answers::One { labels, smoothing } => logits.cross_entropy_with(labels, *smoothing),
            Answers::Several(targets) => logits.binary_cross_entropy(targets),
        }
    }
}
