//! What a run tells its observer, and what it ends with.

use serde::Serialize;
use serde_json::json;

use crate::Evaluation;

/// What a run tells its observer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An epoch begins, or goes on where the run was interrupted.
    EpochBegin {
        /// From 1.
        epoch: u32,
        /// Of the whole run.
        epochs: u32,
        /// Steps of this epoch that were done before.
        done: u64,
        /// Steps of an epoch.
        steps: u64,
    },
    /// A step was made.
    Step(StepReport),
    /// An evaluation goes on.
    Evaluating {
        /// Images so far.
        done: u64,
        /// All images.
        total: u64,
    },
    /// An epoch is complete.
    EpochEnd(EpochReport),
    /// Something that the run can do without could not be done, or something about the run that its user should know.
    Warning {
        /// What, and why.
        text: String,
    },
    /// Weights and state were written.
    Saved {
        /// The weights file.
        path: std::path::PathBuf,
    },
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// From 1.
    pub epoch: u32,
    /// Within the epoch, from 1.
    pub step: u64,
    /// Steps of an epoch.
    pub steps: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Part of this epoch's images so far that was correct when it was seen.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Of this epoch so far.
    pub images_per_second: f64,
    /// The Euclidean norm of all gradients, before it is cut.
    pub gradient_norm: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EpochReport {
    /// From 1.
    pub epoch: u32,
    /// Steps of the run so far.
    pub step: u64,
    /// Mean loss over the epoch, each batch measured before its step.
    pub train_loss: f64,
    /// Part of the images that was correct when it was seen.
    pub train_accuracy: f64,
    /// On the images held out, if there are any.
    pub validation: Option<Evaluation>,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Spent in training.
    pub seconds: f64,
    /// In training.
    pub images_per_second: f64,
    /// The largest Euclidean norm of all gradients of a step, of those since the run was resumed; none if they were all made before.
    pub gradient_norm: Option<f64>,
    /// Part of the seconds of those steps that went by waiting for images, with nothing else to do.
    pub waiting: Option<f64>,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// On the test set, which is read once at the end; none if the run was interrupted.
    pub test: Option<Evaluation>,
    /// The same by several views of each image, if the [recipe](crate::Recipe::tta) asks for it.
    pub test_tta: Option<Evaluation>,
    /// Epochs that are complete.
    pub epochs: u32,
    /// Steps in all.
    pub steps: u64,
    /// Of the whole run, evaluations included; what came before it was resumed counts up to that checkpoint.
    pub seconds: f64,
    /// Training images per second of training, in this process.
    pub images_per_second: f64,
    /// The recipe's seed.
    pub seed: u64,
    /// Whether the observer stopped the run.
    pub interrupted: bool,
    /// What else ended it before its last epoch.
    pub stopped: Option<Stopped>,
    /// The epoch that did best on the images held out, if there are any: its weights are
    /// [there](crate::RunFolder::best).
    pub best: Option<BestEpoch>,
}

/// What ended a run that was tested all the same before its last epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// As many epochs as the [recipe](crate::EarlyStoppingRecipe) allows went by without a better figure.
    Early,
    /// Its [time](crate::Recipe::max_seconds) was over.
    Time,
}

/// The epoch that did best on the images held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BestEpoch {
    /// From 1.
    pub epoch: u32,
    /// Part of the images held out that was correct.
    pub validation_accuracy: f64,
    /// Where images may have several labels, by which the epoch is the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_mean_average_precision: Option<f64>,
}

impl Summary {
    /// The text of `results.json`: how a run of these classes did on the test set.
    pub(crate) fn results(&self, classes: &[String]) -> String {
        let Summary { test, test_tta, epochs, steps, seconds, images_per_second, seed, stopped, best, .. } = self;
        let (test, tta) = (test.as_ref(), test_tta.as_ref());
        let mut results = json!({
            "test_accuracy": test.map(Evaluation::accuracy),
            "test_top5_accuracy": test.map(Evaluation::top5_accuracy),
            "test_accuracy_tta": tta.map(Evaluation::accuracy),
            "test_loss": test.map(|test| test.loss),
            "correct": test.map(|test| test.correct),
            "count": test.map(|test| test.count),
            "classes": classes,
            "confusion": test.map(|test| &test.confusion),
            "epochs": epochs,
            "steps": steps,
            "seconds": seconds,
            "images_per_second": images_per_second,
            "seed": seed,
            "stopped": stopped,
            "best": best,
        });
        if let (Some(several), Some(fields)) = (test.and_then(|test| test.several.as_ref()), results.as_object_mut()) {
            // Their answers are no places in an order, and none is taken for another.
            fields.remove("test_top5_accuracy");
            fields.remove("confusion");
            fields.insert("test_mean_average_precision".into(), json!(several.mean_average_precision));
            fields.insert("test_f1_micro".into(), json!(several.f1_micro));
            fields.insert("test_f1_macro".into(), json!(several.f1_macro));
        }
        format!("{results:#}\n")
    }
}
