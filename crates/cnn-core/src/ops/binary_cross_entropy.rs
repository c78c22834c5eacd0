//! The loss of a classifier whose images have none, one or several of the classes.

use super::{ClassWeights, Loss};
use crate::backend::{Backend, Wide};
use crate::element::Real;
use crate::graph::Op;
use crate::{Error, Result, Var};

/// How much of each class the images of a batch have, on the device: a number from 0 to 1 for each image and class.
#[derive(Clone, Debug)]
pub struct Targets<B: Backend> {
    device: Wide<B>,
    classes: usize,
    len: usize,
    weights: Option<ClassWeights<B>>,
}

impl<B: Backend> Targets<B> {
    /// Uploads `values`, \[N, classes\].
    ///
    /// # Errors
    /// Values that are not whole rows, or one that is not from 0 to 1.
    pub fn new(backend: &B, classes: usize, values: &[f32]) -> Result<Self> {
        if classes == 0 || !values.len().is_multiple_of(classes) {
            let rule = format!("must be rows of {classes}, a number for each class, and at least one class");
            return Err(Error::invalid("targets", values.len(), rule));
        }
        if let Some(at) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
            let value = format!("{} of row {}, class {}", values[at], at / classes, at % classes);
            return Err(Error::invalid("target", value, "must be from 0 to 1"));
        }
        let device = backend.upload(&values.iter().map(|&value| Real::from_f64(value.into())).collect::<Vec<_>>())?;
        Ok(Targets { device, classes, len: values.len() / classes, weights: None })
    }

    /// The same, where that an image has a class counts as much as the class's weight, and that it has it not counts 1:
    /// PyTorch's `pos_weight`.
    ///
    /// # Errors
    /// Not one weight for each class.
    pub fn weighted(self, weights: &ClassWeights<B>) -> Result<Self> {
        weights.check(self.classes)?;
        Ok(Targets { weights: Some(weights.clone()), ..self })
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<B: Backend> Var<B> {
    /// The mean, over all images and classes, of the cross entropy between sigmoid(self) \[N, classes\] and `targets`: PyTorch's
    /// `binary_cross_entropy_with_logits`.
    ///
    /// # Errors
    /// Not one target for each logit, or no rows.
    pub fn binary_cross_entropy(&self, targets: &Targets<B>) -> Result<Loss<B>> {
        let [rows, classes] = self.shape().matrix("logits")?;
        if [targets.len, targets.classes] != [rows, classes] || rows == 0 {
            let rule = format!("needs one for each of the logits {}, and at least one row", self.shape());
            return Err(Error::invalid("targets", format!("[{}, {}]", targets.len, targets.classes), rule));
        }
        let weights = targets.weights.as_ref().map(|weights| &weights.device);
        let result = self.pass().backend().binary_cross_entropy(classes, &self.data()?, &targets.device, weights)?;
        Loss::new(self, Op::BinaryCrossEntropy, result)
    }
}
