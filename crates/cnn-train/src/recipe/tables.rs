//! The tables and words of a recipe.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::optim::Group;
use cnn_data::Policy;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How activations and their gradients are stored while a network runs. Weights, statistics and sums are f32 with either,
/// and so are the files: weights of one precision load in the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In 32 bits.
    #[default]
    F32,
    /// In 32 bits, of which products see the first 19: tensor cores of a GPU multiply them, and a CPU refuses.
    Tf32,
    /// In the upper 16 bits of an f32: half the memory, 8 bits of precision.
    Bf16,
}

impl Precision {
    /// The precision that stores activations alike and that every device has: of tf32 it is f32.
    pub fn stored(self) -> Self {
        match self {
            Precision::F32 | Precision::Tf32 => Precision::F32,
            Precision::Bf16 => Precision::Bf16,
        }
    }
}

impl Display for Precision {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Precision::F32),
            "tf32" => Ok(Precision::Tf32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(Error::recipe("precision", text, "must be f32, tf32 or bf16")),
        }
    }
}

/// Which optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
    /// Adam, weight decay as part of the gradient.
    Adam,
    /// Adam, weight decay apart from the gradient.
    AdamW,
    /// Muon for the weights of convolutions and dense layers, SGD for the rest.
    Muon,
}

/// How gradients become steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Which optimiser.
    pub kind: OptimizerKind,
    /// The highest learning rate.
    pub lr: f64,
    /// SGD and Muon: part of the velocity that is kept. Adam ignores it.
    pub momentum: f64,
    /// SGD and Muon: look ahead along the velocity. Adam ignores it.
    pub nesterov: bool,
    /// Muon: iterations that make a step orthogonal; 5 where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns_steps: Option<u32>,
    /// Muon: each weight is brought to a norm of the root of its outputs before its step; no where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescale: Option<bool>,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether biases and normalisations decay too.
    pub decay_all: bool,
    /// The gradients' norm is cut to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(alias = "max_norm")]
    pub clip_grad_norm: Option<f64>,
    /// Each block of the network has the rate of the one behind it times this, the last layer the whole rate; blocks are what the
    /// names of the parameters begin with, such as `layer1.0` or `features.3`. Not set: all alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Parameters with a rate, a decay or a method of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Not at all.
    Constant,
    /// By a factor every so many epochs.
    Step,
    /// As half a cosine.
    Cosine,
    /// Up, then down, each as half a cosine.
    OneCycle,
    /// In a straight line to 0.
    Linear,
    /// Up, then down, each in a straight line.
    Triangle,
}

/// The learning rate over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecipe {
    /// How it falls.
    pub kind: ScheduleKind,
    /// Epochs of linear rise before it.
    pub warmup_epochs: f64,
    /// One-cycle and triangle: part of the run in which the rate rises.
    #[serde(alias = "rise")]
    pub pct_start: f64,
    /// Triangle: part of the highest rate that it begins with.
    #[serde(default)]
    pub start: f64,
    /// Triangle: part of the highest rate that it ends with.
    #[serde(default)]
    pub end: f64,
    /// Step: epochs between two drops.
    pub step_epochs: f64,
    /// Step: factor of a drop.
    pub gamma: f64,
}

/// What a crop finds outside of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BorderRecipe {
    /// Black.
    Zero,
    /// The image, mirrored.
    Reflect,
}

fn is_0(value: &f64) -> bool {
    *value == 0.0
}

/// What is done to training images at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentRecipe {
    /// Pixels by which the crop moves, each way.
    pub crop_padding: usize,
    /// What it finds outside of the image.
    pub border: BorderRecipe,
    /// Mirror left to right.
    pub flip: bool,
    /// Least part of an image's area that a random part of it has, which is stretched over the whole in place of the crop; 0 for none.
    #[serde(default, skip_serializing_if = "is_0")]
    pub resized_crop: f64,
    /// Side of the square that is blanked; 0 for none.
    pub cutout: usize,
    /// Part of the images of which a rectangle is blanked, in place of the square.
    #[serde(default, skip_serializing_if = "is_0")]
    pub random_erasing: f64,
    /// Brightness, contrast and saturation are each multiplied by up to 1 more or less this; the hue is turned by up to this part of a
    /// circle.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub color_jitter: [f64; 4],
    /// A policy of operations on colours and shapes.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub policy: Policy,
    /// Mixup: the beta distribution's parameter, from which each step draws the part that an image keeps of itself; 0 for none.
    #[serde(default, skip_serializing_if = "is_0")]
    pub mixup: f64,
    /// CutMix: the same of the part that no rectangle of another image covers.
    #[serde(default, skip_serializing_if = "is_0")]
    pub cutmix: f64,
}

/// What is kept beside the trained weights, and is what the run is evaluated by and leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AverageKind {
    /// Their exponential moving average, which training knows nothing of.
    Ema,
    /// The same, and training goes on from it each time that it moves: Lookahead.
    Lookahead,
}

/// An average of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AverageRecipe {
    /// Which one.
    pub kind: AverageKind,
    /// Steps from one of its moves to the next.
    pub every: u64,
    /// What a move leaves of it.
    pub decay: f64,
    /// The decay is multiplied by the part of the run that is over, to this power: 0 for never.
    pub ramp: f64,
}

impl AverageRecipe {
    /// What the move behind step `step` of `total` leaves of the average, `step` counted from 1; none where there is no move.
    pub(crate) fn decay(&self, step: u64, total: u64) -> Option<f64> {
        let part = (step as f64 / total.max(1) as f64).min(1.0);
        step.is_multiple_of(self.every).then(|| self.decay * part.powf(self.ramp))
    }
}

/// Parameters whose initial values are one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRecipe {
    /// Which, by their names: as in a group of the optimiser.
    pub pattern: String,
    /// The number. 0 for the last normalisation's weights of every residual block lets each block begin as the identity (P. Goyal
    /// et al., "Accurate, Large Minibatch SGD", 2017).
    pub value: f64,
}

/// Parameters that are trained for some epochs only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeRecipe {
    /// Which, by their names: as in a group of the optimiser; `head` for the last layer, `backbone` for all others.
    pub pattern: String,
    /// Epochs for which they stay as they are at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_epochs: Option<u32>,
    /// Epochs after which they stay as they are; 0 for never trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_epochs: Option<u32>,
    /// Whether the normalisations whose weights are among them keep their running statistics too, and normalise by those.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub statistics: bool,
}

impl FreezeRecipe {
    /// Whether the parameters stay as they are in an epoch, counted from 0.
    pub(crate) fn holds(&self, epoch: u32) -> bool {
        self.before_epochs.is_some_and(|first| epoch < first) || self.after_epochs.is_some_and(|last| epoch >= last)
    }
}

/// Weights to begin with, which another run or another program has trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainedRecipe {
    /// The file: of a run, or of PyTorch (`.pth`, `.safetensors`).
    pub file: String,
    /// SHA-256 of its arrays; a run whose recipe says it is refused another file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Mean of each channel that pixels are normalised by, of pixels from 0 to 1: that of the images that the weights were
    /// trained on. Not set: what the file says, or else ImageNet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f64>>,
    /// Standard deviation of each channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f64>>,
}
