//! Accuracy, loss and confusion of a model on a set of images, every one of which is seen.

use std::collections::VecDeque;

use cnn_core::backend::Accum;
use cnn_core::image::SampleView;
use cnn_core::{Backend, Frozen, Real};
use cnn_data::{Augment, Loader, LoaderOptions};
use serde::Serialize;

use crate::batches::DeviceBatches;
use crate::control::Control;
use crate::multi_label::MultiLabelFigures;
use crate::{Error, Result};

/// Images at a time wherever nothing else is asked for, of up to 64x64 pixels: [`evaluation_batch`].
pub const EVALUATION_BATCH: usize = 128;

/// Images of `height` rows and `width` columns that are judged at a time wherever nothing else is asked for: 128, of more than 64x64
/// pixels as many fewer, 16 at least, so that they take no more memory than a training. It does not depend on the batch of the
/// training: a backend may choose its algorithms by the number of images, and the same weights shall have the same figures
/// everywhere.
pub fn evaluation_batch([height, width]: [usize; 2]) -> usize {
    (EVALUATION_BATCH * 64 * 64 / height.saturating_mul(width).max(1)).clamp(16, EVALUATION_BATCH)
}

/// How a model does on labelled images.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean cross entropy; the binary one, over classes too, where images may have several labels.
    pub loss: f64,
    /// Images whose largest logit is their label; of several labels, those of which every class is right.
    pub correct: u64,
    /// Images whose label is among the five largest logits; 0 of several labels.
    pub top5: u64,
    /// Images.
    pub count: u64,
    /// Images of class `row` that were taken for class `column`; nothing of several labels, as none is in place of another.
    pub confusion: Vec<Vec<u64>>,
    /// Where images may have several labels, the figures of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub several: Option<MultiLabelFigures>,
    /// What was said of each image, in the order of the set; nothing of several labels.
    #[serde(skip)]
    pub images: Vec<Judged>,
}

/// What a model said of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// The image's class.
    pub label: u32,
    /// The class that it was taken for.
    pub predicted: u32,
    /// Probability of that class.
    pub confidence: f32,
    /// Probability of the image's own class.
    pub probability: f32,
}

impl Evaluation {
    /// Part of the images that is correct.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / (self.count as f64).max(1.0)
    }

    /// What says which of two evaluations is the better one: the accuracy or, where images may have several labels, the mean average
    /// precision, which does not wait until every class is right.
    pub fn score(&self) -> f64 {
        match &self.several {
            None => self.accuracy(),
            Some(several) => several.mean_average_precision.unwrap_or(0.0),
        }
    }

    /// Part of the images whose label is among the five largest logits.
    pub fn top5_accuracy(&self) -> f64 {
        self.top5 as f64 / (self.count as f64).max(1.0)
    }

    /// Adds one image with its logits.
    fn add(&mut self, logits: &[f64], label: usize) {
        let at = logits[label];
        // The label's rank; of equal logits the first comes first, as in every backend's loss.
        let before = |class: usize, logit: f64| logit > at || (logit == at && class < label);
        let rank = logits.iter().enumerate().filter(|&(class, &logit)| before(class, logit)).count();
        let finite = logits.iter().all(|logit| logit.is_finite());
        self.correct += u64::from(finite && rank == 0);
        self.top5 += u64::from(finite && rank < 5);
        self.count += 1;
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let predicted = logits.iter().position(|&logit| logit == largest).unwrap_or(0);
        self.confusion[label][predicted] += 1;
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        self.loss += largest + sum.ln() - at;
        self.images.push(Judged {
            label: label as u32,
            predicted: predicted as u32,
            confidence: (1.0 / sum) as f32,
            probability: ((at - largest).exp() / sum) as f32,
        });
    }
}

/// What has been heard of images that may have several labels.
#[derive(Debug, Default)]
struct Several {
    logits: Vec<f32>,
    has: Vec<bool>,
}

impl Several {
    /// Adds one image with its logits; returns its loss, and whether every class is right.
    fn add(&mut self, logits: &[f64], labels: &[u32]) -> (f64, bool) {
        let (mut loss, mut right) = (0.0, true);
        for (class, &logit) in (0..).zip(logits) {
            let has = labels.contains(&class);
            // softplus of what speaks against the answer
            let against = if has { -logit } else { logit };
            loss += against.max(0.0) + (-against.abs()).exp().ln_1p();
            right &= (logit >= 0.0) == has;
            self.logits.push(logit as f32);
            self.has.push(has);
        }
        (loss / logits.len().max(1) as f64, right)
    }
}

/// How an image is seen, and what its logits count for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    /// Rows and columns by which it is moved.
    offset: i32,
    flip: bool,
    pub(crate) weight: f64,
}

impl View {
    const fn new(offset: i32, flip: bool, weight: f64) -> Self {
        View { offset, flip, weight }
    }

    /// As it is stored.
    pub(crate) const PLAIN: &[View] = &[View::new(0, false, 1.0)];

    /// As it is, moved up and left by a pixel, and down and right; each also in a mirror. Those that are not moved count for as
    /// much as the others (K. Jordan 2024, as in [`cnn_models::Fast`]).
    pub(crate) const SIX: &[View] = &[
        View::new(0, false, 0.25),
        View::new(0, true, 0.25),
        View::new(-1, false, 0.125),
        View::new(-1, true, 0.125),
        View::new(1, false, 0.125),
        View::new(1, true, 0.125),
    ];

    /// Images whose views were these, seen so.
    pub(crate) fn of(&self, views: &[SampleView]) -> Vec<SampleView> {
        let seen = |view: &SampleView| {
            let offset = view.offset.map(|offset| offset + self.offset);
            SampleView { offset, flip: view.flip ^ self.flip, ..*view }
        };
        views.iter().map(seen).collect()
    }
}

/// Evaluates `model` on the images of `batches`, `batch` at a time, each seen in these `views`. `progress(done, total)` is called after each batch; if
/// it says stop, the evaluation is of the images so far.
pub(crate) fn evaluate<B: Backend>(
    backend: &B,
    model: &Frozen<B>,
    batches: &DeviceBatches<B>,
    views: &[View],
    batch: usize,
    progress: &mut dyn FnMut(u64, u64) -> Control,
) -> Result<Evaluation> {
    let images = batches.images();
    let classes = images.classes().len();
    let mut several = images.is_multi_label().then(Several::default);
    let confusion = if several.is_some() { Vec::new() } else { vec![vec![0; classes]; classes] };
    let mut evaluation = Evaluation { confusion, ..Evaluation::default() };
    let total = images.len() as u64;
    if total == 0 {
        return Err(Error::recipe("images", 0, "must be at least one to evaluate"));
    }
    let loader = Loader::new(images.clone(), LoaderOptions::new(batch))?;
    let mut epoch = loader.epoch(0, &Augment::NONE);
    // Batches whose logits are on their way, the oldest first: as many as the device may run behind.
    let mut pending = VecDeque::new();
    loop {
        if let Some(next) = epoch.next() {
            let next = next?;
            let seen = views.iter().map(|view| {
                let logits = model.run(batches.seen(&next, &view.of(&next.views))?)?;
                let [_, outputs] = logits.shape().matrix("logits")?;
                if outputs != classes {
                    let rule = format!("must be the {outputs} that the model tells apart");
                    return Err(Error::recipe("classes", classes, rule));
                }
                Ok((view.weight, backend.download_later(&backend.widen(logits.data())?)?))
            });
            let seen = seen.collect::<Result<Vec<_>>>()?;
            pending.push_back((next, seen));
            if pending.len() <= backend.steps_behind() {
                continue;
            }
        }
        let Some((batch, seen)) = pending.pop_front() else { break };
        let mut values = vec![0.0; batch.len() * classes];
        for (weight, logits) in seen {
            let logits = logits.get()?;
            values.iter_mut().zip(logits.iter()).for_each(|(sum, &v): (_, &Accum<B>)| *sum += weight * v.as_f64());
        }
        if let Some(at) = values.chunks_exact(classes).position(|row| row.iter().any(|logit| !logit.is_finite())) {
            return Err(Error::NotFiniteLogits { image: images.name(batch.samples[at] as usize) });
        }
        for (row, &sample) in values.chunks_exact(classes).zip(&batch.samples) {
            match &mut several {
                None => evaluation.add(row, images.label(sample as usize) as usize),
                Some(several) => {
                    let (loss, right) = several.add(row, images.classes_of(sample as usize));
                    (evaluation.loss, evaluation.count) = (evaluation.loss + loss, evaluation.count + 1);
                    evaluation.correct += u64::from(right);
                }
            }
        }
        if progress(evaluation.count, total) == Control::Stop {
            break;
        }
    }
    evaluation.loss /= evaluation.count as f64;
    evaluation.several = several.map(|Several { logits, has }| MultiLabelFigures::of(logits, &has, classes));
    Ok(evaluation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_ranks_and_confusion() {
        let mut evaluation = Evaluation { confusion: vec![vec![0; 3]; 3], ..Evaluation::default() };
        evaluation.add(&[1.0, 1.0, 0.0], 0);
        evaluation.add(&[1.0, 1.0, 0.0], 1);
        evaluation.add(&[f64::NAN, 1.0, 0.0], 1);
        assert_eq!((evaluation.correct, evaluation.top5, evaluation.count), (1, 2, 3));
        assert_eq!(evaluation.confusion, [[1, 0, 0], [1, 1, 0], [0, 0, 0]]);
        let Judged { label, predicted, confidence, probability } = evaluation.images[1];
        assert_eq!((label, predicted), (1, 0));
        let expected = (1.0 / (2.0 + (-1.0f64).exp())) as f32;
        assert_eq!((confidence, probability), (expected, expected));
    }
}
