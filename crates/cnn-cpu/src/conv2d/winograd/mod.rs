//! Winograd's minimal filtering F(4x4, 3x3) for 3x3 convolutions of stride 1, and its relative for stride 2.
//!
//! A tile of 4x4 outputs costs 36 multiplications a pair of channels instead of 144 (Winograd 1980; Lavin and Gray 2016):
//!
//! ```text
//! V = Bt x B   of a 6x6 patch of the input         U = G w Gt   of the 3x3 kernel
//! M = sum over C of V * U, one product of matrices for each of the 36 points
//! y = At M A                                       a 4x4 tile of the output
//! ```
//!
//! With a stride of 2 the patch is 9x9, and a point where an axis is at its last holds 4 or 16 values of a tile, which
//! share a weight: 81 multiplications instead of 144, in 36 products of matrices again (see [`matrices`]).
//!
//! The gradient of the input is the same algorithm with the roles of the channels exchanged and the kernel rotated by
//! 180 degrees. The gradient of the weight is the transpose: `D = A dy At`, `dU = sum over tiles of V * D`, `dw = Gt dU G`.
//!
//! With [N, H, W, C] the channel is the lane of every transform. The transformed operands are kept as
//! `[36][C / L][tiles][values][L]`, so that whatever a product broadcasts has a constant offset from the one before, with a
//! vector between two of the 36 planes that keeps them from falling on the same cache sets. They are never stored for a
//! whole batch: see [`forward`] and [`weight`].

mod ahead;
#[cfg(test)]
mod balance;
mod forward;
mod matrices;
mod outputs;
mod patches;
mod product;
#[cfg(test)]
mod tests;
mod tiling;
mod weight;
mod weights;

use std::ops::Range;

use cnn_core::Conv2dSpec;

use super::panels::Panels;
use matrices::{POINTS, TAPS};
use tiling::Stride;

pub(super) use forward::Convolution;
pub(super) use tiling::Tiling;
pub(super) use weight::WeightGradient;
pub(super) use weights::{Kernel3x3, Kernels, ready_len, transform_ready};

/// Whether the algorithm is the faster one and keeps the logits of a network within 1e-5: it has enough channels for its
/// products, over which the rounding of its transforms averages, and loses little of its tiles to the edges of the image.
/// Measured, see README; of networks whose layers are smaller some are 2e-5 off. A direct convolution that multiplies pairs of bf16 (`pairs`) is slower than
/// this one where the stride is 1, and faster where it is 2.
pub(super) fn pays(spec: &Conv2dSpec, pairs: bool) -> bool {
    const CHANNELS: usize = 32;
    let tiling = Tiling::forward(spec);
    let (tiles, outputs) = (tiling.count(), spec.batch * spec.output[0] * spec.output[1]);
    // Direct convolution multiplies 9 times for each output, this one for each value of a tile.
    let (direct, this) = (TAPS * TAPS * outputs, tiling.stride.values() * tiles);
    let saves = match tiling.stride {
        Stride::One => direct >= 2 * this,
        _ => !pairs && 2 * direct >= 3 * this,
    };
    Tiling::fits(spec) && saves && spec.in_channels.min(spec.out_channels) >= CHANNELS && tiles >= 16
}

/// Points of a transformed tile.
const PLANES: usize = POINTS * POINTS;

/// How a weight's channels that are written are cut into panels of two vectors.
pub(super) fn panels(read: usize, write: usize, lanes: usize) -> Panels {
    Panels { groups: 1, taps: TAPS * TAPS, read, write, lanes, pairs: false, tiles: false }
}

/// `range` in pieces of at most `most`, as even as can be.
fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    crate::kernel::block::split(range.len(), most).map(move |(at, len)| range.start + at..range.start + at + len)
}
