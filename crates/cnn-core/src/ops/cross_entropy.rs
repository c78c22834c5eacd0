//! The loss of a classifier of which one class is right.

use super::Loss;
use crate::backend::{Accum, Backend, CrossEntropySpec, Wide};
use crate::element::Real;
use crate::graph::Op;
use crate::{Error, Result, Var};

/// What the classes count in a loss, on the device: a weight for each.
#[derive(Clone, Debug)]
pub struct ClassWeights<B: Backend> {
    pub(super) device: Wide<B>,
    /// The same, as rounded there.
    values: Vec<f64>,
}

impl<B: Backend> ClassWeights<B> {
    /// Uploads `weights`, one for each class.
    ///
    /// # Errors
    /// A weight that is not above 0 or not finite in the accumulator's precision.
    pub fn new(backend: &B, weights: &[f64]) -> Result<Self> {
        let rounded: Vec<Accum<B>> = weights.iter().map(|&weight| Real::from_f64(weight)).collect();
        let values: Vec<f64> = rounded.iter().map(|weight| weight.as_f64()).collect();
        if let Some(class) = values.iter().position(|&weight| !(weight > 0.0 && weight.is_finite())) {
            let rule = "must be above 0 and finite, as the loss counts it";
            return Err(Error::invalid(format!("weight of class {class}"), weights[class], rule));
        }
        Ok(ClassWeights { device: backend.upload(&rounded)?, values })
    }

    /// The weights, as rounded on the device.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Refuses weights of another number of classes.
    pub(super) fn check(&self, classes: usize) -> Result<()> {
        if self.values.len() == classes {
            return Ok(());
        }
        let rule = format!("must be {classes}, one for each class");
        Err(Error::invalid("weights of classes", self.values.len(), rule))
    }

    /// The sum of the weights of these labels; what is no class counts nothing.
    pub fn sum_of(&self, labels: &[u32]) -> f64 {
        labels.iter().filter_map(|&label| self.values.get(label as usize)).sum()
    }
}

/// The classes of a batch, on the device.
#[derive(Clone, Debug)]
pub struct Labels<B: Backend> {
    classes: B::Buffer<u32>,
    len: usize,
    /// The first of the largest: its row and the class.
    largest: Option<(usize, u32)>,
    /// Part of each that is the row's own; the rest is the label of the row before.
    own: f64,
    /// What the classes count, and the mean of that over the labels.
    weights: Option<(ClassWeights<B>, f64)>,
}

impl<B: Backend> Labels<B> {
    /// Uploads `labels`.
    ///
    /// # Errors
    /// The device's.
    pub fn new(backend: &B, labels: &[u32]) -> Result<Self> {
        let largest = labels.iter().copied().enumerate().rev().max_by_key(|&(_, label)| label);
        Ok(Labels { classes: backend.upload(labels)?, len: labels.len(), largest, own: 1.0, weights: None })
    }

    /// Uploads `labels`, each of which counts as much as its class: PyTorch's `CrossEntropyLoss(weight=...)`. The mean is over
    /// the weights of the labels and, where they are [mixed](Labels::mixed), over the rows, as PyTorch's of class probabilities;
    /// what is spread over all classes by smoothing counts each class times its weight.
    ///
    /// # Errors
    /// The device's.
    pub fn weighted(backend: &B, labels: &[u32], weights: &ClassWeights<B>) -> Result<Self> {
        let mean = weights.sum_of(labels) / labels.len().max(1) as f64;
        Ok(Labels { weights: Some((weights.clone(), mean)), ..Labels::new(backend, labels)? })
    }

    /// The labels of images that were [mixed](crate::image::Mix): `own` of each, and the rest of the label before it, of the first
    /// one's the last.
    ///
    /// # Errors
    /// `own` is not from 0 to 1.
    pub fn mixed(self, own: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&own) {
            return Err(Error::invalid("part of a label", own, "must be from 0 to 1"));
        }
        Ok(Labels { own, ..self })
    }

    /// What the mean of a loss is over: the labels or, where they are [weighted](Labels::weighted) and not mixed, their weights.
    pub fn count(&self) -> f64 {
        self.len as f64 * self.mean_weight()
    }

    fn mean_weight(&self) -> f64 {
        self.weights.as_ref().filter(|_| self.own == 1.0).map_or(1.0, |(_, mean)| *mean)
    }
}

impl<B: Backend> Var<B> {
    /// The mean cross entropy between softmax(self) \[N, classes\] and `labels`, of which `smoothing` is spread over all
    /// classes.
    ///
    /// # Errors
    /// Not one label per row, a label that is no class, no rows, or smoothing outside of \[0, 1\].
    pub fn cross_entropy(&self, labels: &[u32], smoothing: f64) -> Result<Loss<B>> {
        self.cross_entropy_with(&Labels::new(self.pass().backend(), labels)?, smoothing)
    }

    /// The same with labels that are on the device already.
    ///
    /// # Errors
    /// As [`cross_entropy`](Var::cross_entropy).
    pub fn cross_entropy_with(&self, labels: &Labels<B>, smoothing: f64) -> Result<Loss<B>> {
        let backend = self.pass().backend();
        let [rows, classes] = self.shape().matrix("logits")?;
        if labels.len != rows || rows == 0 {
            let rule = format!("needs one label per row of the logits {}, and at least one row", self.shape());
            return Err(Error::invalid("labels", format!("[{}]", labels.len), rule));
        }
        if let Some((row, label)) = labels.largest.filter(|&(_, label)| label as usize >= classes) {
            let rule = format!("must be below {classes}, the classes");
            return Err(Error::invalid("label", format!("{label} of row {row}"), rule));
        }
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::invalid("label smoothing", smoothing, "must be from 0 to 1"));
        }
        let weights = labels.weights.as_ref();
        weights.map_or(Ok(()), |(weights, _)| weights.check(classes))?;
        let spec = CrossEntropySpec { classes, smoothing, own: labels.own, mean_weight: labels.mean_weight() };
        let weights = weights.map(|(weights, _)| &weights.device);
        let result = backend.cross_entropy(&spec, &self.data()?, &labels.classes, weights)?;
        Loss::new(self, Op::CrossEntropy, result)
    }
}
