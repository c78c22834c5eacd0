//! The loss of a classifier. Its kernel returns the gradient with the loss, so the way back starts at the logits.

use crate::backend::{Accum, Backend, CrossEntropy, CrossEntropySpec, Input, Wide, download_one};
use crate::element::Real;
use crate::graph::Op;
use crate::tape::Gradients;
use crate::{Error, Result, Shape, Tensor, Var};

/// What the classes count in a loss, on the device: a weight for each.
#[derive(Clone, Debug)]
pub struct ClassWeights<B: Backend> {
    device: Wide<B>,
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

/// The mean loss of a batch, still on the device.
#[derive(Debug)]
pub struct Loss<B: Backend> {
    logits: Var<B>,
    result: CrossEntropy<B>,
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
        let (pass, backend) = (self.pass(), self.pass().backend());
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
        if let Some((weights, _)) = weights.filter(|(weights, _)| weights.values.len() != classes) {
            let rule = format!("must be {classes}, one for each class");
            return Err(Error::invalid("weights of classes", weights.values.len(), rule));
        }
        let spec = CrossEntropySpec { classes, smoothing, own: labels.own, mean_weight: labels.mean_weight() };
        let weights = weights.map(|(weights, _)| &weights.device);
        let result = backend.cross_entropy(&spec, &self.data()?, &labels.classes, weights)?;
        if pass.is_observed() {
            // The observer sees a scalar; the loss itself stays in the accumulator's precision.
            let scalar = backend.narrow(&result.loss)?;
            pass.emit(|| Op::CrossEntropy, &[self], Shape::new(&[1])?, Input::Plain(scalar), false)?;
        }
        Ok(Loss { logits: self.clone(), result })
    }
}

impl<B: Backend> Loss<B> {
    /// The mean loss, on the device: one number.
    pub fn value(&self) -> &Wide<B> {
        &self.result.loss
    }

    /// The mean loss, read back from the device.
    pub fn to_f64(&self) -> Result<f64> {
        Ok(download_one(self.logits.pass().backend(), "the loss", &self.result.loss)?.as_f64())
    }

    /// How many rows have their (first) largest logit at the label, or the larger part of a [mixed](Labels::mixed) one, on the device:
    /// one number.
    pub fn correct_on_device(&self) -> &B::Buffer<u32> {
        &self.result.correct
    }

    /// The same, read back from the device.
    pub fn correct(&self) -> Result<u32> {
        download_one(self.logits.pass().backend(), "the hits", &self.result.correct)
    }

    /// Gradients of the mean loss.
    ///
    /// # Errors
    /// The pass is not recorded, or was run backward before.
    pub fn backward(&self) -> Result<Gradients<B>> {
        self.backward_with(&mut |_, _| Ok(()))
    }

    /// As [`Loss::backward`], with a callback per complete parameter gradient: see [`Var::backward_with`].
    pub fn backward_with(&self, on_ready: &mut dyn FnMut(usize, &mut Wide<B>) -> Result<()>) -> Result<Gradients<B>> {
        let backend = self.logits.pass().backend();
        let dlogits = Tensor::from_data(backend, self.logits.shape(), self.result.dlogits.clone())?;
        Ok(self.logits.backward_with(dlogits, on_ready)?.of_loss(self.result.loss.clone()))
    }
}
