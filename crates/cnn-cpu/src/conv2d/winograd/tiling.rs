//! A convolution cut into tiles, and the layout of transformed tiles.

use cnn_core::Conv2dSpec;

use super::PLANES;
use super::matrices::{POINTS, SIDE, TAPS};

/// How far the inputs of neighbouring outputs are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stride {
    One,
    Two,
    /// The gradient of the input where the stride is two: neighbouring outputs come in pairs.
    Half,
}

impl Stride {
    /// Outputs of a tile, on one axis.
    pub(super) const fn outputs(self) -> usize {
        match self {
            Stride::One | Stride::Two => SIDE,
            Stride::Half => 2 * SIDE,
        }
    }

    /// Inputs under a tile, on one axis.
    pub(super) const fn inputs(self) -> usize {
        match self {
            Stride::One => 6,
            Stride::Two => 9,
            Stride::Half => 5,
        }
    }

    /// The input that corresponds to the first output of a tile.
    pub(super) const fn input(self, output: usize) -> usize {
        match self {
            Stride::One => output,
            Stride::Two => output * 2,
            Stride::Half => output / 2,
        }
    }

    /// Values of a tile at the last point of an axis; at each of the others there is one.
    const fn last(self) -> usize {
        match self {
            Stride::One => 1,
            Stride::Two | Stride::Half => SIDE,
        }
    }

    /// Values of a transformed tile, each of which is multiplied once for each pair of channels.
    pub(super) const fn values(self) -> usize {
        let axis = POINTS - 1 + self.last();
        axis * axis
    }
}

/// A 3x3 convolution, cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Tiling {
    pub(super) batch: usize,
    /// H, W of what is read and of what is written.
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    /// Rows and columns of zeros before the image; negative where the first are not read at all.
    pub(super) before: [isize; 2],
    pub(super) stride: Stride,
}

/// Where a tile is: its image and its first output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TilePosition {
    pub(super) image: usize,
    pub(super) at: [usize; 2],
}

impl Tiling {
    /// Whether the algorithm can compute this convolution at all. With a stride of two the tiles of all passes lie on the
    /// same inputs only if the padding before the image is odd.
    pub(in super::super) fn fits(spec: &Conv2dSpec) -> bool {
        let odd = spec.padding.top % 2 == 1 && spec.padding.left % 2 == 1;
        (spec.kernel, spec.dilation, spec.groups) == ([TAPS; 2], [1; 2], 1)
            && (spec.stride == [1; 2] || spec.stride == [2; 2] && odd)
    }

    /// Of the output.
    pub(in super::super) fn forward(spec: &Conv2dSpec) -> Self {
        let before = [spec.padding.top as isize, spec.padding.left as isize];
        let stride = if spec.stride == [1; 2] { Stride::One } else { Stride::Two };
        Tiling { batch: spec.batch, from: spec.input, to: spec.output, before, stride }
    }

    /// Of the gradient of the input: the kernel is rotated, so that its last tap comes first.
    pub(in super::super) fn data(spec: &Conv2dSpec) -> Self {
        let padding = [spec.padding.top as isize, spec.padding.left as isize];
        let (before, stride) = match spec.stride {
            [1, 1] => (padding.map(|zeros| TAPS as isize - 1 - zeros), Stride::One),
            _ => (padding.map(|zeros| (1 - zeros) / 2), Stride::Half),
        };
        Tiling { batch: spec.batch, from: spec.output, to: spec.input, before, stride }
    }

    /// Rows and columns of tiles in an image.
    fn grid(&self) -> [usize; 2] {
        self.to.map(|size| size.div_ceil(self.stride.outputs()))
    }

    /// All tiles.
    pub(super) fn count(&self) -> usize {
        self.batch * self.grid().iter().product::<usize>()
    }

    pub(super) fn position(&self, tile: usize) -> TilePosition {
        let ([rows, columns], side) = (self.grid(), self.stride.outputs());
        let at = [tile / columns % rows * side, tile % columns * side];
        TilePosition { image: tile / (rows * columns), at }
    }

    /// The place of the tile behind this one.
    #[inline(always)]
    pub(super) fn next(&self, place: TilePosition) -> TilePosition {
        let (TilePosition { mut image, at: [mut y, mut x] }, side) = (place, self.stride.outputs());
        x += side;
        if x >= self.to[1] {
            (x, y) = (0, y + side);
            if y >= self.to[0] {
                (y, image) = (0, image + 1);
            }
        }
        TilePosition { image, at: [y, x] }
    }
}

/// The layout of transformed tiles, `[36][blocks][tiles][values][lanes]`, with a vector between two points. A tile has
/// one value at each point, or several where an axis is at its last point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    pub(super) tiles: usize,
    /// Blocks of channels, and channels of a block.
    blocks: usize,
    channels: usize,
    /// Elements between two points.
    gap: usize,
    /// Values of a tile at the last point of an axis.
    last: usize,
}

impl Planes {
    /// Of an operand, in blocks of a vector.
    pub(super) fn operand(stride: Stride, tiles: usize, channels: usize, lanes: usize) -> Self {
        Planes { tiles, blocks: channels.div_ceil(lanes), channels: lanes, gap: lanes, last: stride.last() }
    }

    /// Of the products of a panel, one block of two vectors.
    pub(super) fn products(stride: Stride, tiles: usize, lanes: usize) -> Self {
        Planes { tiles, blocks: 1, channels: 2 * lanes, gap: lanes, last: stride.last() }
    }

    /// Values of a tile at a point.
    #[inline(always)]
    pub(super) fn values(&self, point: usize) -> usize {
        let axis = |p: usize| if p == POINTS - 1 { self.last } else { 1 };
        axis(point / POINTS) * axis(point % POINTS)
    }

    /// Elements from one block of channels to the next, at a point.
    #[inline(always)]
    pub(super) fn block(&self, point: usize) -> usize {
        self.tiles * self.values(point) * self.channels
    }

    /// The first element of a point.
    #[inline(always)]
    pub(super) fn start(&self, point: usize) -> usize {
        let (p, q) = (point / POINTS, point % POINTS);
        let axis = POINTS - 1 + self.last;
        let before = match p {
            POINTS => axis * axis,
            _ => p * axis + q * if p == POINTS - 1 { self.last } else { 1 },
        };
        before * self.blocks * self.tiles * self.channels + point * self.gap
    }

    /// The channels of value (`i`, `j`) of the `axis` x `axis` of a tile. `row` counts tiles through the blocks.
    #[inline(always)]
    pub(super) fn at(&self, axis: usize, i: usize, j: usize, row: usize) -> usize {
        let planes = Planes { last: axis + 1 - POINTS, ..*self };
        let (p, q) = (i.min(POINTS - 1), j.min(POINTS - 1));
        let columns = if q == POINTS - 1 { planes.last } else { 1 };
        let value = (i - p) * columns + j - q;
        planes.start(p * POINTS + q) + (row * planes.values(p * POINTS + q) + value) * planes.channels
    }

    pub(super) fn len(&self) -> usize {
        self.start(PLANES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_place() {
        for (stride, axis) in [(Stride::One, 6), (Stride::Two, 9), (Stride::Half, 9)] {
            let (tiles, channels, lanes) = (3, 5, 4);
            let planes = Planes::operand(stride, tiles, channels, lanes);
            assert_eq!(stride.values(), axis * axis);
            let mut places: Vec<_> = (0..axis * axis * 2 * tiles)
                .map(|n| planes.at(axis, n % axis, n / axis % axis, n / (axis * axis)))
                .collect();
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= lanes), "{stride:?}");
            assert_eq!((places[0], places[places.len() - 1] + 2 * lanes), (0, planes.len()));
            for point in 0..PLANES {
                let end = planes.start(point) + 2 * planes.block(point) + lanes;
                assert_eq!(end, planes.start(point + 1), "{stride:?}");
            }
        }
    }
}
