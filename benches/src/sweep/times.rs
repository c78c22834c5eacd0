//! What is measured of a convolution.

use serde::{Deserialize, Serialize};

/// The time of each pass in milliseconds, or how many times as quick one engine is in it as another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Times {
    /// Forward in a frozen model, its weight prepared before.
    pub(super) frozen: f64,
    /// Forward in training.
    pub(super) forward: f64,
    /// The gradient of the input.
    #[serde(rename = "backward data")]
    pub(super) data: f64,
    /// The gradient of the weight.
    #[serde(rename = "backward weight")]
    pub(super) weight: f64,
}

impl Times {
    /// In the order of the table's columns.
    pub(super) fn columns(self) -> [f64; 4] {
        [self.frozen, self.forward, self.data, self.weight]
    }

    /// The three passes of a training step.
    pub(super) fn training(self) -> f64 {
        self.forward + self.data + self.weight
    }

    /// Each pass of the one or the other, as `of` has it.
    pub(super) fn zip(self, other: Times, of: impl Fn(f64, f64) -> f64) -> Times {
        Times {
            frozen: of(self.frozen, other.frozen),
            forward: of(self.forward, other.forward),
            data: of(self.data, other.data),
            weight: of(self.weight, other.weight),
        }
    }
}
