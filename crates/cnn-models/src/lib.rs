//! The networks: the step-by-step CNN of README, a small one, one that learns CIFAR-10 quickly, and the ResNet family, generic over the backend.
#![forbid(unsafe_code)]

mod arch;
mod fast;
mod resnet;
mod small;
mod stepwise;
mod whitening;

pub use arch::Arch;
pub use fast::{Fast, FastConfig};
pub use resnet::{BasicBlock, Block, Bottleneck, Downsample, ResNet, ResNetConfig, Stem};
pub use small::Small;
pub use stepwise::Stepwise;

/// A model, or a part of one, whose architecture was chosen at run time.
pub type Model<B> = Box<dyn cnn_core::nn::Module<B> + Send>;
