//! The problems of every operation: how they are generated and how they are run.

mod binary_loss;
mod concat;
mod conv2d;
mod elementwise;
mod images;
mod layer_norm;
mod linear;
mod loss;
mod memory;
mod norm;
mod optim;
mod pool2d;
mod scale_channels;
pub mod specs;

pub use binary_loss::{BinaryLoss, SpecialLogits, binary_loss, edges as binary_loss_edges, special_logits};
pub use concat::{Concat, concat, edges as concat_edges};
pub use conv2d::{
    Conv2d, activated as conv2d_activated, conv2d, edges as conv2d_edges, geometry as conv2d_geometry,
    halos as conv2d_halos, stems as conv2d_stems, tiles as conv2d_tiles,
};
pub use elementwise::{Elementwise, edges as elementwise_edges, elementwise};
pub use images::{Images, edges as images_edges, images};
pub use layer_norm::{LayerNorm, edges as layer_norm_edges, layer_norm};
pub use linear::{Linear, edges as linear_edges, linear};
pub use loss::{Loss, SpecialRow, edges as loss_edges, loss, special_rows};
pub use memory::{Memory, memory};
pub use norm::{Normalise, Statistics, normalise, normalise_edges, statistics, statistics_edges};
pub use optim::{Optimiser, edges as optimiser_edges, optimiser};
pub use pool2d::{AdaptivePool2d, Pool2d, adaptive_pool2d, edges as pool2d_edges, geometry as pool2d_geometry, pool2d};
pub use scale_channels::{ScaleChannels, edges as scale_channels_edges, scale_channels};

use cnn_core::backend::Activation;
use proptest::prelude::*;
use proptest::sample::select;

/// Numbers of channels that fill vectors, leave a rest, or do not fill one.
pub const CHANNELS: [usize; 7] = [1, 3, 15, 16, 17, 33, 64];

/// One of [`CHANNELS`].
pub fn channels() -> impl Strategy<Value = usize> {
    select(CHANNELS.to_vec())
}

/// Images in a batch: an empty one is rare.
fn batch() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0), 15 => 1usize..=5]
}

/// What an epilogue ends with.
fn activation() -> impl Strategy<Value = Option<Activation>> {
    // One draw, a third each for nothing, ReLU and the others: faults are planted that cases drawn so find.
    let others = Activation::ALL.map(|other| if other == Activation::Relu { Activation::Gelu } else { other });
    let each = [[None; 8], [Some(Activation::Relu); 8], others.map(Some)];
    select(each.concat())
}

/// Rows and columns of an image.
pub fn sides() -> impl Strategy<Value = [usize; 2]> {
    [1usize..=19, 1usize..=19]
}
