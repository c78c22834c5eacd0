//! Winograd's minimal filtering F(4x4, 3x3) for 3x3 convolutions of stride 1.
//!
//! A tile of 4x4 outputs costs 36 multiplications a pair of channels instead of 144 (Winograd 1980; Lavin and Gray 2016):
//!
//! ```text
//! V = Bt x B   of a 6x6 patch of the input         U = G w Gt   of the 3x3 kernel
//! M = sum over C of V * U, one product of matrices for each of the 36 points
//! y = At M A                                       a 4x4 tile of the output
//! ```
//!
//! The gradient of the input is the same algorithm with the roles of the channels exchanged and the kernel turned by half
//! a circle. The gradient of the weight is the transpose: `D = A dy At`, `dU = sum over tiles of V * D`, `dw = Gt dU G`.
//!
//! With [N, H, W, C] the channel is the lane of every transform. The transformed operands are kept as
//! `[36][C / L][tiles][L]`, so that whatever a product broadcasts has a constant offset from the one before, with a vector
//! between two of the 36 planes that keeps them from falling on the same cache sets. They are never stored for a whole
//! batch: see [`forward`] and [`weight`].

mod ahead;
mod forward;
mod matrices;
mod outputs;
mod patches;
mod product;
#[cfg(test)]
mod tests;
mod weight;
mod weights;

use std::ops::Range;

use cnn_core::Conv2dSpec;

use super::panels::Panels;
use matrices::{POINTS, SIDE, TAPS};

pub(super) use forward::Convolution;
pub(super) use weight::WeightGradient;
pub(super) use weights::{Kernel3x3, ready_len, transform_ready};

/// Whether the algorithm is the faster one: it has enough channels for its products and loses little of its tiles to the
/// edges of the image. Measured, see README. Also beside a direct convolution in bf16 that multiplies pairs.
pub(super) fn pays(spec: &Conv2dSpec) -> bool {
    const CHANNELS: usize = 32;
    let tiling = Tiling::forward(spec);
    let outputs = spec.batch * spec.output[0] * spec.output[1];
    // Direct convolution multiplies 9 times for each output, this one 36 times for each tile.
    Tiling::fits(spec)
        && spec.in_channels.min(spec.out_channels) >= CHANNELS
        && 9 * outputs >= 2 * PLANES * tiling.count()
        && tiling.count() >= 16
}

/// Points of a transformed tile.
const PLANES: usize = POINTS * POINTS;

/// A 3x3 convolution of stride 1, cut into tiles of 4x4 outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    batch: usize,
    /// H, W of what is read and of what is written.
    from: [usize; 2],
    to: [usize; 2],
    /// Rows and columns of zeros before the image; negative where the first are not read at all.
    before: [isize; 2],
}

/// Where a tile is: its image and its first output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    image: usize,
    at: [usize; 2],
}

impl Tiling {
    /// Whether the algorithm can compute this convolution at all.
    pub(super) fn fits(spec: &Conv2dSpec) -> bool {
        (spec.kernel, spec.stride, spec.dilation, spec.groups) == ([TAPS; 2], [1; 2], [1; 2], 1)
    }

    /// Of the output.
    pub(super) fn forward(spec: &Conv2dSpec) -> Self {
        let before = [spec.padding.top as isize, spec.padding.left as isize];
        Tiling { batch: spec.batch, from: spec.input, to: spec.output, before }
    }

    /// Of the gradient of the input: the kernel is turned, so that its last tap comes first.
    pub(super) fn data(spec: &Conv2dSpec) -> Self {
        let before = [spec.padding.top, spec.padding.left].map(|zeros| TAPS as isize - 1 - zeros as isize);
        Tiling { batch: spec.batch, from: spec.output, to: spec.input, before }
    }

    /// Rows and columns of tiles in an image.
    fn grid(&self) -> [usize; 2] {
        self.to.map(|size| size.div_ceil(SIDE))
    }

    /// All tiles.
    pub(super) fn count(&self) -> usize {
        self.batch * self.grid().iter().product::<usize>()
    }

    fn place(&self, tile: usize) -> Place {
        let [rows, columns] = self.grid();
        let at = [tile / columns % rows * SIDE, tile % columns * SIDE];
        Place { image: tile / (rows * columns), at }
    }

    /// The place of the tile behind this one.
    #[inline(always)]
    fn next(&self, place: Place) -> Place {
        let Place { mut image, at: [mut y, mut x] } = place;
        x += SIDE;
        if x >= self.to[1] {
            (x, y) = (0, y + SIDE);
            if y >= self.to[0] {
                (y, image) = (0, image + 1);
            }
        }
        Place { image, at: [y, x] }
    }
}

/// The layout of transformed tiles, `[36][blocks][tiles][lanes]`.
#[derive(Clone, Copy, Debug)]
struct Planes {
    tiles: usize,
    /// Blocks of channels.
    blocks: usize,
    lanes: usize,
}

impl Planes {
    fn new(tiles: usize, channels: usize, lanes: usize) -> Self {
        Planes { tiles, blocks: channels.div_ceil(lanes), lanes }
    }

    /// Elements from one block of channels to the next.
    fn block(&self) -> usize {
        self.tiles * self.lanes
    }

    /// Elements from one point to the next.
    fn point(&self) -> usize {
        self.blocks * self.block() + self.lanes
    }

    fn len(&self) -> usize {
        PLANES * self.point()
    }
}

/// How a weight's channels that are written are cut into panels of two vectors.
fn panels(read: usize, write: usize, lanes: usize) -> Panels {
    Panels { groups: 1, taps: TAPS * TAPS, read, write, lanes, pairs: false }
}

/// `range` in pieces of at most `most`, as even as can be.
fn pieces(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    super::block::split(range.len(), most).map(move |(at, len)| range.start + at..range.start + at + len)
}
