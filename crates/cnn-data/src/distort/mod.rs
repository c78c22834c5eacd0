//! Changes of a picture's colours and shape, drawn at random: colour jitter, TrivialAugment, RandAugment.
//!
//! They are computed on bytes before a backend sees them, by the threads that decode, with Pillow's arithmetic.

mod colour;
mod hue;
mod policy;
mod warp;

use std::str::FromStr;

use cnn_core::names;
use cnn_core::rng::{Philox, Purpose};
use serde::{Deserialize, Serialize};

use policy::Operation;

/// Which operations a picture goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// None.
    #[default]
    None,
    /// One operation of fourteen, of any strength (S. Müller, F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
    /// Augmentation", 2021, with the wide space of strengths).
    TrivialAugment,
    /// Two of the fourteen, of a strength of 9 of 30 (E. Cubuk et al., "RandAugment", 2019).
    RandAugment,
}

impl FromStr for Policy {
    type Err = cnn_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let values = [
            ("none", Policy::None),
            ("trivial-augment", Policy::TrivialAugment),
            ("rand-augment", Policy::RandAugment),
        ];
        names::value("policy", text, &values)
    }
}

/// What is done to a picture before it is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distort {
    /// Operations by a policy.
    pub policy: Policy,
    /// Brightness, contrast and saturation are each multiplied by up to 1 more or less this; the hue is turned by up to this part of a
    /// circle, at most half. torchvision's ColorJitter.
    pub jitter: [f64; 4],
}

impl Distort {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        *self == Distort::default()
    }

    /// Changes the bytes of stored image `sample`, \[height, width, channels\] = `size`, as it is seen in `epoch`.
    pub fn apply(&self, seed: u64, epoch: u32, sample: u32, bytes: &mut [u8], size: [usize; 3]) {
        if self.is_none() || bytes.is_empty() {
            return;
        }
        let mut stream = Philox::new(seed, Purpose::Distort, epoch, sample).stream();
        // Colours first, as in front of the policy in torchvision's references.
        let mut order = [0, 1, 2, 3];
        stream.shuffle(&mut order);
        for which in order {
            let most = self.jitter[which];
            if most <= 0.0 {
                continue;
            }
            let operation = match which {
                3 => Operation::Hue(stream.range(-most.min(0.5), most.min(0.5))),
                _ => {
                    let by_factor = [Operation::Brightness, Operation::Contrast, Operation::Saturation][which];
                    by_factor(stream.range((1.0 - most).max(0.0), 1.0 + most))
                }
            };
            operation.apply(bytes, size);
        }
        match self.policy {
            Policy::None => {}
            Policy::TrivialAugment => Operation::trivial(&mut stream).apply(bytes, size),
            Policy::RandAugment => {
                for _ in 0..2 {
                    Operation::rand(&mut stream, size).apply(bytes, size);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
