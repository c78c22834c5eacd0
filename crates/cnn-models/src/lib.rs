//! The networks: the step-by-step CNN of README, a small one, and the ResNet family, generic over the backend.
#![forbid(unsafe_code)]

mod arch;
mod resnet;
mod small;
mod stepwise;

pub use arch::{Arch, Model};
pub use resnet::{BasicBlock, Downsample, ResNet, ResNetConfig, Stem};
pub use small::Small;
pub use stepwise::Stepwise;
