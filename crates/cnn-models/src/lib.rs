//! The networks, generic over the backend: the step-by-step CNN of README, a small one, one that learns CIFAR-10 quickly, and a zoo
//! of those that people use, a file each, under torchvision's or timm's names.
#![forbid(unsafe_code)]

mod arch;
mod efficientnet;
mod fast;
mod mobilenet_v2;
mod resnet;
mod small;
mod stepwise;
mod whitening;

pub use arch::{Arch, IMAGENET_NORMALISATION};
pub use efficientnet::EfficientNetLite;
pub use fast::{Fast, FastConfig};
pub use mobilenet_v2::MobileNetV2;
pub use resnet::{BasicBlock, Block, Bottleneck, Downsample, ResNet, ResNetConfig, Stem};
pub use small::Small;
pub use stepwise::Stepwise;

/// A model, or a part of one, whose architecture was chosen at run time.
pub type Model<B> = Box<dyn cnn_core::nn::Module<B> + Send>;
