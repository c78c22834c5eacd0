//! The networks, generic over the backend: the step-by-step CNN of README, a small one, one that learns CIFAR-10 quickly, and a zoo
//! of those that people use, a file each, under torchvision's or timm's names.
#![forbid(unsafe_code)]

mod arch;
mod conv_unit;
mod convnext;
mod densenet;
mod efficientnet;
mod efficientnet_lite;
mod fast;
mod inverted_residual;
mod mobilenet_v2;
mod mobilenet_v3;
mod regnet;
mod resnet;
mod shufflenet_v2;
mod small;
mod squeeze_excitation;
mod squeezenet;
mod stepwise;
mod timm;
mod vgg;
mod whitening;

pub use arch::{Arch, IMAGENET_NORMALISATION};
pub use convnext::ConvNeXt;
pub use densenet::{DenseNet, DenseNetConfig};
pub use efficientnet::EfficientNet;
pub use efficientnet_lite::EfficientNetLite;
pub use fast::{Fast, FastConfig};
pub use mobilenet_v2::MobileNetV2;
pub use mobilenet_v3::{MobileNetV3, MobileNetV3Config};
pub use regnet::{RegNet, RegNetConfig};
pub use resnet::{BasicBlock, Block, Bottleneck, Downsample, ResNet, ResNetConfig, Stem};
pub use shufflenet_v2::{ShuffleNetV2, ShuffleNetV2Config};
pub use small::Small;
pub use squeezenet::SqueezeNet;
pub use stepwise::Stepwise;
pub use vgg::{Vgg, VggConfig};

/// A model, or a part of one, whose architecture was chosen at run time.
pub type Model<B> = Box<dyn cnn_core::nn::Module<B> + Send>;
