//! Architectures by name.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::{Backend, Error, Naive, Result, names};

use crate::efficientnet;
use crate::{EfficientNetLite, Fast, FastConfig, MobileNetV2, Model, ResNet, ResNetConfig, Small, Stem, Stepwise};

/// An architecture that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// `stepwise`: a CNN to be followed step by step, one convolution deep.
    Stepwise,
    /// `small`: three stages of convolution and pooling.
    Small,
    /// `fast`, `fast-wide`, `fast-deep`: CIFAR-10 in minutes.
    Fast(FastConfig),
    /// `resnet18`, `resnet34`, the same with `-imagenet`, and the larger ones, which are for large images.
    ResNet(ResNetConfig),
    /// `mobilenet-v2`.
    MobileNetV2,
    /// `efficientnet-lite0`.
    EfficientNetLite0,
}

/// Mean and deviation of the channels of ImageNet's images, of pixels from 0 to 1.
pub const IMAGENET_NORMALISATION: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// A name, what it is the name of, and a line on that.
type Named = (&'static str, Arch, &'static str);

const NAMED: [Named; 15] = [
    ("stepwise", Arch::Stepwise, "one convolution, to be followed step by step"),
    ("small", Arch::Small, "three convolutions, for a first try"),
    ("fast", Arch::Fast(FastConfig::FAST), "most accuracy in least time, 32x32"),
    ("fast-wide", Arch::Fast(FastConfig::WIDE), "the same with more channels"),
    ("fast-deep", Arch::Fast(FastConfig::DEEP), "the same with more channels and convolutions"),
    ("resnet18", Arch::ResNet(ResNetConfig::resnet18(Stem::Cifar)), "ResNet for about 32x32"),
    ("resnet34", Arch::ResNet(ResNetConfig::resnet34(Stem::Cifar)), "the same, deeper"),
    ("resnet18-imagenet", Arch::ResNet(ResNetConfig::resnet18(Stem::ImageNet)), "ResNet for about 224x224, untrained"),
    ("resnet34-imagenet", Arch::ResNet(ResNetConfig::resnet34(Stem::ImageNet)), "the same, deeper"),
    ("resnet50", Arch::ResNet(ResNetConfig::RESNET50), "of bottlenecks, for about 224x224"),
    ("resnet101", Arch::ResNet(ResNetConfig::RESNET101), "the same, deeper"),
    ("wide-resnet50-2", Arch::ResNet(ResNetConfig::WIDE_RESNET50_2), "the same, wider"),
    ("resnext50-32x4d", Arch::ResNet(ResNetConfig::RESNEXT50_32X4D), "the same, of groups"),
    ("mobilenet-v2", Arch::MobileNetV2, "little work, for about 224x224"),
    ("efficientnet-lite0", Arch::EfficientNetLite0, "the same, a newer one"),
];

impl Arch {
    /// The names that [`Arch::from_str`] knows; it does not mind capitals and hyphens.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name)
    }

    /// Every name with a line on what it is the name of.
    pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMED.iter().map(|(name, _, words)| (*name, *words))
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
            Arch::MobileNetV2 => {
                Box::new(MobileNetV2::new(backend, seed, image[2], classes, MobileNetV2::<B>::DROPOUT)?)
            }
            Arch::EfficientNetLite0 => {
                Box::new(EfficientNetLite::new(backend, seed, image, classes, EfficientNetLite::<B>::DROPOUT)?)
            }
        })
    }

    /// Height and width of the images that the network was published for.
    pub fn usual_size(&self) -> [usize; 2] {
        match self {
            Arch::Stepwise | Arch::Small | Arch::Fast(_) => [32; 2],
            Arch::ResNet(config) if config.stem == Stem::Cifar => [32; 2],
            Arch::ResNet(_) | Arch::MobileNetV2 | Arch::EfficientNetLite0 => [224; 2],
        }
    }

    /// Mean and deviation of each channel, of pixels from 0 to 1, by which the network's published weights were trained: those of
    /// ImageNet's images, or the half that TensorFlow's programs take.
    pub fn usual_normalisation(&self) -> [[f64; 3]; 2] {
        match self {
            Arch::EfficientNetLite0 => [[127.0 / 255.0; 3], [128.0 / 255.0; 3]],
            _ => IMAGENET_NORMALISATION,
        }
    }

    /// The name here of an array that other programs than torchvision and timm call `name`, whatever stands before that; none if
    /// it is none of theirs.
    pub fn name_of(&self, name: &str) -> Option<String> {
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        [0].into_iter().chain(starts).find_map(|start| match self {
            Arch::EfficientNetLite0 => Some(name[..start].to_owned() + &efficientnet::name_of(&name[start..])?),
            _ => None,
        })
    }

    /// How many weights [`Arch::build`] would make, without making them; none if they cannot be counted.
    pub fn parameter_count(&self, image: [usize; 3], classes: usize) -> Option<usize> {
        match self {
            Arch::Stepwise => Stepwise::<Naive<f32>>::parameter_count(image, classes),
            Arch::Small => Small::<Naive<f32>>::parameter_count(image, classes),
            Arch::Fast(config) => config.parameter_count(image[2], classes),
            Arch::ResNet(config) => config.parameter_count(image[2], classes),
            Arch::MobileNetV2 => MobileNetV2::<Naive<f32>>::parameter_count(image[2], classes),
            Arch::EfficientNetLite0 => EfficientNetLite::<Naive<f32>>::parameter_count(image[2], classes),
        }
    }
}

impl Display for Arch {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAMED.iter().find(|(_, arch, _)| arch == self).map_or("resnet", |(name, ..)| name))
    }
}

impl FromStr for Arch {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let meant = names::meant(text, Arch::names());
        let found = NAMED.iter().find(|(name, ..)| Some(*name) == meant);
        found.map(|(_, arch, _)| *arch).ok_or_else(|| names::unknown("model", text, Arch::names()))
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
        for (name, arch, _) in NAMED {
            for (image, classes) in [([32, 32, 3], 10), ([17, 9, 1], 3)] {
                let model = arch.build(&backend, 0, image, classes).unwrap();
                let made: usize = parameters(&model).iter().map(|parameter| parameter.shape().numel()).sum();
                assert_eq!(arch.parameter_count(image, classes), Some(made), "{name} for {image:?}, {classes} classes");
            }
        }
        assert_eq!(Arch::Stepwise.parameter_count([usize::MAX, usize::MAX, 3], 2), None);
    }
}
