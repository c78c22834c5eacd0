//! Architectures by name.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::nn::Module;
use cnn_core::{Backend, Error, Naive, Result, names};

use crate::{Fast, FastConfig, ResNet, ResNetConfig, Small, Stem, Stepwise};

/// A model whose architecture was chosen at run time.
pub type Model<B> = Box<dyn Module<B> + Send>;

/// An architecture that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// `stepwise`: a CNN to be followed step by step, one convolution deep.
    Stepwise,
    /// `small`: three stages of convolution and pooling.
    Small,
    /// `fast`, `fast-wide`, `fast-deep`: CIFAR-10 in minutes.
    Fast(FastConfig),
    /// `resnet18`, `resnet34` and the same with `-imagenet`.
    ResNet(ResNetConfig),
}

const NAMED: [(&str, Arch); 9] = [
    ("stepwise", Arch::Stepwise),
    ("small", Arch::Small),
    ("fast", Arch::Fast(FastConfig::FAST)),
    ("fast-wide", Arch::Fast(FastConfig::WIDE)),
    ("fast-deep", Arch::Fast(FastConfig::DEEP)),
    ("resnet18", Arch::ResNet(ResNetConfig::resnet18(Stem::Cifar))),
    ("resnet34", Arch::ResNet(ResNetConfig::resnet34(Stem::Cifar))),
    ("resnet18-imagenet", Arch::ResNet(ResNetConfig::resnet18(Stem::ImageNet))),
    ("resnet34-imagenet", Arch::ResNet(ResNetConfig::resnet34(Stem::ImageNet))),
];

impl Arch {
    /// The names that [`Arch::from_str`] knows; it does not mind capitals and hyphens.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The model for images \[height, width, channels\], its initial weights fixed by `seed`.
    ///
    /// # Errors
    /// Images that the architecture cannot take.
    pub fn build<B: Backend>(&self, backend: &B, seed: u64, image: [usize; 3], classes: usize) -> Result<Model<B>> {
        Ok(match self {
            Arch::Stepwise => Box::new(Stepwise::new(backend, seed, image, classes)?),
            Arch::Small => Box::new(Small::new(backend, seed, image, classes)?),
            Arch::Fast(config) => Box::new(Fast::new(backend, seed, config, image, classes)?),
            Arch::ResNet(config) => Box::new(ResNet::new(backend, seed, config, image[2], classes)?),
        })
    }

    /// How many weights [`Arch::build`] would make, without making them; none if they cannot be counted.
    pub fn parameter_count(&self, image: [usize; 3], classes: usize) -> Option<usize> {
        match self {
            Arch::Stepwise => Stepwise::<Naive<f32>>::parameter_count(image, classes),
            Arch::Small => Small::<Naive<f32>>::parameter_count(image, classes),
            Arch::Fast(config) => config.parameter_count(image[2], classes),
            Arch::ResNet(config) => config.parameter_count(image[2], classes),
        }
    }
}

impl Display for Arch {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAMED.iter().find(|(_, arch)| arch == self).map_or("resnet", |(name, _)| name))
    }
}

impl FromStr for Arch {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let meant = names::meant(text, Arch::names());
        let found = NAMED.iter().find(|(name, _)| Some(*name) == meant);
        found.map(|(_, arch)| *arch).ok_or_else(|| names::unknown("model", text, Arch::names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnn_core::nn::parameters;

    #[test]
    fn names_are_known_however_they_are_spelled_and_slips_are_answered() {
        for name in ["resnet18", "ResNet18", "ResNet-18", "RESNET_18"] {
            assert_eq!(name.parse::<Arch>().unwrap().to_string(), "resnet18", "{name}");
        }
        let error = "resnt18".parse::<Arch>().unwrap_err().to_string();
        assert!(
            error.starts_with("model resnt18: must be one of stepwise, small, fast, fast-wide, fast-deep, resnet18"),
            "{error}"
        );
        assert!(error.ends_with("; did you mean resnet18?"), "{error}");
    }

    #[test]
    fn weights_are_counted_without_making_them() {
        let backend = Naive::<f32>::new();
        for (name, arch) in NAMED {
            for (image, classes) in [([32, 32, 3], 10), ([17, 9, 1], 3)] {
                let model = arch.build(&backend, 0, image, classes).unwrap();
                let made: usize = parameters(&model).iter().map(|parameter| parameter.shape().numel()).sum();
                assert_eq!(arch.parameter_count(image, classes), Some(made), "{name} for {image:?}, {classes} classes");
            }
        }
        assert_eq!(Arch::Stepwise.parameter_count([usize::MAX, usize::MAX, 3], 2), None);
    }
}
