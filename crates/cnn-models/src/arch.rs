//! Architectures by name.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::{Backend, Error, Naive, Result, names};

use crate::{ConvNeXt, DenseNet, DenseNetConfig, EfficientNet, EfficientNetLite, Fast, FastConfig, MobileNetV2};
use crate::{MobileNetV3, MobileNetV3Config, Model, RegNet, RegNetConfig, ResNet, ResNetConfig, ShuffleNetV2};
use crate::{ShuffleNetV2Config, Small, SqueezeNet, Stem, Stepwise, Vgg, VggConfig};
use crate::{convnext, densenet, efficientnet, efficientnet_lite, timm};

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
    /// `vgg11`, `vgg16`, the same with `-bn`.
    Vgg(VggConfig),
    /// `squeezenet1-1`.
    SqueezeNet,
    /// `mobilenet-v3-small`, `mobilenet-v3-large`.
    MobileNetV3(MobileNetV3Config),
    /// `densenet121`.
    DenseNet(DenseNetConfig),
    /// `shufflenet-v2-x1-0`.
    ShuffleNetV2(ShuffleNetV2Config),
    /// `regnet-y-400mf`.
    RegNet(RegNetConfig),
    /// `efficientnet-b0`.
    EfficientNetB0,
    /// `convnext-tiny`.
    ConvNeXtTiny,
}

/// Mean and deviation of the channels of ImageNet's images, of pixels from 0 to 1.
pub const IMAGENET_NORMALISATION: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// A name, what it is the name of, and a line on that.
type Named = (&'static str, Arch, &'static str);

const NAMED: [Named; 27] = [
    ("stepwise", Arch::Stepwise, "one convolution, to be followed step by step"),
    ("small", Arch::Small, "three convolutions, for a first try"),
    ("fast", Arch::Fast(FastConfig::FAST), "most accuracy in least time, 32x32"),
    ("fast-wide", Arch::Fast(FastConfig::WIDE), "the same with more channels"),
    ("fast-deep", Arch::Fast(FastConfig::DEEP), "the same with more channels and convolutions"),
    ("resnet18", Arch::ResNet(ResNetConfig::resnet18(Stem::Cifar)), "ResNet for about 32x32"),
    ("resnet34", Arch::ResNet(ResNetConfig::resnet34(Stem::Cifar)), "the same, deeper"),
    (
        "resnet18-imagenet",
        Arch::ResNet(ResNetConfig::resnet18(Stem::ImageNet)),
        "ResNet for about 224x224, as torchvision has it",
    ),
    ("resnet34-imagenet", Arch::ResNet(ResNetConfig::resnet34(Stem::ImageNet)), "the same, deeper"),
    ("resnet50", Arch::ResNet(ResNetConfig::RESNET50), "of bottlenecks, for about 224x224"),
    ("resnet101", Arch::ResNet(ResNetConfig::RESNET101), "the same, deeper"),
    ("wide-resnet50-2", Arch::ResNet(ResNetConfig::WIDE_RESNET50_2), "the same, wider"),
    ("resnext50-32x4d", Arch::ResNet(ResNetConfig::RESNEXT50_32X4D), "the same, of groups"),
    ("mobilenet-v2", Arch::MobileNetV2, "little work, for about 224x224"),
    ("efficientnet-lite0", Arch::EfficientNetLite0, "the same, a newer one"),
    ("mobilenet-v3-small", Arch::MobileNetV3(MobileNetV3Config::SMALL), "least work, with squeeze and excitation"),
    ("mobilenet-v3-large", Arch::MobileNetV3(MobileNetV3Config::LARGE), "the same, with more of everything"),
    ("shufflenet-v2-x1-0", Arch::ShuffleNetV2(ShuffleNetV2Config::X1_0), "little work, channels shuffled"),
    ("squeezenet1-1", Arch::SqueezeNet, "few weights, not normalised, for about 224x224"),
    ("regnet-y-400mf", Arch::RegNet(RegNetConfig::Y_400MF), "little work, of groups, for about 224x224"),
    ("densenet121", Arch::DenseNet(DenseNetConfig::DENSENET121), "every layer sees all before it, for about 224x224"),
    ("vgg11", Arch::Vgg(VggConfig::VGG11), "3x3 convolutions, large dense layers, not normalised"),
    ("vgg11-bn", Arch::Vgg(VggConfig::VGG11_BN), "the same, normalised"),
    ("vgg16", Arch::Vgg(VggConfig::VGG16), "deeper, not normalised"),
    ("vgg16-bn", Arch::Vgg(VggConfig::VGG16_BN), "the same, normalised"),
    ("efficientnet-b0", Arch::EfficientNetB0, "the same with squeeze and excitation"),
    ("convnext-tiny", Arch::ConvNeXtTiny, "of large depthwise convolutions, for about 224x224"),
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
            Arch::Vgg(config) => Box::new(Vgg::new(backend, seed, config, image, classes, Vgg::<B>::DROPOUT)?),
            Arch::SqueezeNet => Box::new(SqueezeNet::new(backend, seed, image, classes, SqueezeNet::<B>::DROPOUT)?),
            Arch::MobileNetV3(config) => {
                Box::new(MobileNetV3::new(backend, seed, config, image[2], classes, MobileNetV3::<B>::DROPOUT)?)
            }
            Arch::DenseNet(config) => Box::new(DenseNet::new(backend, seed, config, image, classes)?),
            Arch::ShuffleNetV2(config) => Box::new(ShuffleNetV2::new(backend, seed, config, image[2], classes)?),
            Arch::RegNet(config) => Box::new(RegNet::new(backend, seed, config, image[2], classes)?),
            Arch::EfficientNetB0 => {
                let (dropout, stochastic_depth) = (EfficientNet::<B>::DROPOUT, EfficientNet::<B>::STOCHASTIC_DEPTH);
                Box::new(EfficientNet::new(backend, seed, image[2], classes, dropout, stochastic_depth)?)
            }
            Arch::ConvNeXtTiny => {
                Box::new(ConvNeXt::new(backend, seed, image[2], classes, ConvNeXt::<B>::STOCHASTIC_DEPTH)?)
            }
        })
    }

    /// Height and width of the images that the network was published for.
    pub fn usual_size(&self) -> [usize; 2] {
        match self {
            Arch::Stepwise | Arch::Small | Arch::Fast(_) => [32; 2],
            Arch::ResNet(config) if config.stem == Stem::Cifar => [32; 2],
            Arch::ResNet(_)
            | Arch::MobileNetV2
            | Arch::EfficientNetLite0
            | Arch::Vgg(_)
            | Arch::SqueezeNet
            | Arch::MobileNetV3(_)
            | Arch::DenseNet(_)
            | Arch::ShuffleNetV2(_)
            | Arch::RegNet(_)
            | Arch::EfficientNetB0
            | Arch::ConvNeXtTiny => [224; 2],
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

    /// The name here of an array that timm, or other programs, or files that are older than those, call `name`, whatever stands before
    /// that; none if it is none of theirs.
    pub fn name_of(&self, name: &str) -> Option<String> {
        let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
        let name_of = match self {
            Arch::EfficientNetLite0 => efficientnet_lite::name_of,
            Arch::DenseNet(_) => densenet::name_of,
            Arch::EfficientNetB0 => timm::efficientnet,
            Arch::MobileNetV2 => timm::mobilenet_v2,
            Arch::ConvNeXtTiny => timm::convnext,
            Arch::Vgg(_) => timm::vgg,
            Arch::RegNet(_) => timm::regnet,
            _ => return None,
        };
        [0].into_iter().chain(starts).find_map(|start| Some(name[..start].to_owned() + &name_of(&name[start..])?))
    }

    /// The shape here of an array that [`Arch::name_of`] calls `name`, if it has another one in those files, of as many numbers in the same
    /// order.
    pub fn shape_of(&self, name: &str, shape: &[usize]) -> Option<Vec<usize>> {
        match self {
            Arch::ConvNeXtTiny | Arch::Vgg(_) => timm::shape(name, shape),
            _ => None,
        }
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
            Arch::Vgg(config) => config.parameter_count(image[2], classes),
            Arch::SqueezeNet => SqueezeNet::<Naive<f32>>::parameter_count(image[2], classes),
            Arch::MobileNetV3(config) => config.parameter_count(image[2], classes),
            Arch::DenseNet(config) => config.parameter_count(image[2], classes),
            Arch::ShuffleNetV2(config) => config.parameter_count(image[2], classes),
            Arch::RegNet(config) => config.parameter_count(image[2], classes),
            Arch::EfficientNetB0 => efficientnet::parameter_count(image[2], classes),
            Arch::ConvNeXtTiny => convnext::parameter_count(image[2], classes),
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
        names::value("model", text, &NAMED.map(|(name, arch, _)| (name, arch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn weights_are_counted_as_torchvision_says_of_its_own() {
        for (name, count) in [("vgg11", 132_863_336), ("vgg16-bn", 138_365_992), ("squeezenet1-1", 1_235_496)] {
            let arch: Arch = name.parse().unwrap();
            assert_eq!(arch.parameter_count([224, 224, 3], 1000), Some(count), "{name}");
            assert_eq!(arch.parameter_count([224, 224, usize::MAX], 2), None, "{name}");
        }
        assert_eq!(Arch::Stepwise.parameter_count([usize::MAX, usize::MAX, 3], 2), None);
    }

    #[test]
    fn older_names_of_arrays_are_known() {
        let name_of = |arch: &str, name: &str| arch.parse::<Arch>().unwrap().name_of(name);
        let layer = "features.denseblock3.denselayer17";
        for prefix in ["", "state_dict.module."] {
            for (theirs, ours) in [("norm.1.running_var", "norm1.running_var"), ("conv.2.weight", "conv2.weight")] {
                let (theirs, ours) = [theirs, ours].map(|name| format!("{prefix}{layer}.{name}")).into();
                assert_eq!(name_of("densenet121", &theirs), Some(ours));
                assert_eq!(name_of("resnet18", &theirs), None);
            }
        }
        for other in
            ["features.transition1.norm.1.weight", "features.denseblock1.denselayer1.norm1.weight", "classifier.weight"]
        {
            assert_eq!(name_of("densenet121", other), None, "{other}");
        }
        let theirs = "_blocks.3._expand_conv.weight";
        assert_eq!(name_of("efficientnet-lite0", theirs).as_deref(), Some("blocks.2.0.conv_pw.weight"));
    }
}
