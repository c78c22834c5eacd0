//! Patches of an image to the points of tiles: each line of a patch is transformed, then each column of the result.

use std::ops::Range;

use super::super::reader::{Read, Reader};
use super::matrices::{self, ColumnsDone, SIDE};
use super::tiling::{Planes, Stride, TilePosition, Tiling};
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// What a tile of an operand becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// Bt x B of the inputs under a tile.
    Input,
    /// A dy At of the 4x4 gradients of a tile.
    Gradient,
}

/// An operand of a convolution, \[N, H, W, channels\], to be read by tiles.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, T: CpuElement> {
    pub(super) reader: Reader<'a, T>,
    pub(super) patch: Patch,
    pub(super) tiling: Tiling,
    pub(super) channels: usize,
}

impl<T: CpuElement> Operand<'_, T> {
    /// Transforms the patches of `tiles` into the tiles from `row` on of planes at `to`.
    ///
    /// # Safety
    /// `to` holds the planes, and nobody else uses these tiles of them.
    #[inline(always)]
    pub(super) unsafe fn transform<S: Simd>(
        self,
        simd: S,
        tiles: Range<usize>,
        row: usize,
        planes: Planes,
        to: *mut T::Accum,
    ) {
        debug_assert!(row + tiles.len() <= planes.tiles && tiles.end <= self.tiling.count());
        macro_rules! go {
            ($($variant:ident, $patch:ident, $stride:ident: $n:literal -> $p:literal;)*) => {
                match (self.reader, self.patch, self.tiling.stride) {
                    $(
                        (Reader::$variant(source), Patch::$patch, Stride::$stride) => {
                            simd.outline(Transform::<T, _, $n, $p> { source, of: self, tiles, row, planes, to });
                        }
                    )*
                    (_, patch, stride) => unreachable!("{patch:?} of a convolution of stride {stride:?}"),
                }
            };
        }
        go! {
            Stored, Input, One: 6 -> 6;
            Norm, Input, One: 6 -> 6;
            Gradient, Input, One: 6 -> 6;
            Stored, Input, Two: 9 -> 9;
            Norm, Input, Two: 9 -> 9;
            Stored, Input, Half: 5 -> 9;
            Gradient, Input, Half: 5 -> 9;
            Stored, Gradient, One: 4 -> 6;
            Gradient, Gradient, One: 4 -> 6;
            Stored, Gradient, Two: 4 -> 9;
            Gradient, Gradient, Two: 4 -> 9;
        }
    }

    /// Height and width of the images.
    #[inline(always)]
    fn size(&self) -> [usize; 2] {
        match self.patch {
            Patch::Input => self.tiling.from,
            Patch::Gradient => self.tiling.to,
        }
    }

    /// The first pixel of those that the tile at `place` has for itself.
    #[inline(always)]
    fn own(&self, place: TilePosition) -> [usize; 2] {
        match self.patch {
            Patch::Input => place.at.map(|output| self.tiling.stride.input(output)),
            Patch::Gradient => place.at,
        }
    }

    /// The elements of whole rows, from the first that the transform of `tiles` reads to the last.
    pub(super) fn elements(&self, tiles: Range<usize>) -> Range<usize> {
        let ([height, width], Tiling { stride, before, .. }) = (self.size(), self.tiling);
        let (side, before) = match self.patch {
            Patch::Input => (stride.inputs(), before[0]),
            Patch::Gradient => (stride.outputs(), 0),
        };
        let element = |tile: usize, more: usize| {
            let place = self.tiling.position(tile);
            let row = (self.own(place)[0] + more).saturating_add_signed(-before).min(height);
            (place.image * height + row) * width * self.channels
        };
        element(tiles.start, 0)..element(tiles.end - 1, side)
    }
}

/// Transforms `tiles` of each operand into the tiles from 0 on of its planes, on all threads.
pub(super) fn stage<T: CpuElement, const N: usize>(
    cpu: &Cpu<T>,
    tiles: &Range<usize>,
    operands: [Operand<'_, T>; N],
    planes: [Planes; N],
    to: [&mut [T::Accum]; N],
) {
    const PIECE: usize = 8; // tiles of a task
    for (planes, to) in planes.iter().zip(&to) {
        assert!(to.len() == planes.len() && tiles.len() <= planes.tiles);
    }
    let to = to.map(Shared::new);
    cpu.for_each(N * tiles.len().div_ceil(PIECE), |task| {
        let (which, row) = (task % N, task / N * PIECE);
        let tiles = tiles.start + row..tiles.end.min(tiles.start + row + PIECE);
        cpu.run(Stage { operand: operands[which], tiles, row, planes: planes[which], to: to[which] });
    });
}

/// Some tiles of a stage.
struct Stage<'a, T: CpuElement> {
    operand: Operand<'a, T>,
    tiles: Range<usize>,
    row: usize,
    planes: Planes,
    to: Shared<T::Accum>,
}

impl<T: CpuElement> SimdKernel for Stage<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Stage { operand, tiles, row, planes, to } = self;
        // SAFETY: `stage` has checked that `to` holds the planes; no other task has these tiles of them.
        unsafe { operand.transform(simd, tiles, row, planes, to.get()) }
    }
}

/// A transform of patches of N x N to P x P values.
struct Transform<'a, T: CpuElement, R, const N: usize, const P: usize> {
    source: R,
    of: Operand<'a, T>,
    tiles: Range<usize>,
    row: usize,
    planes: Planes,
    to: *mut T::Accum,
}

impl<T: CpuElement, R: Read<T>, const N: usize, const P: usize> SimdKernel for Transform<'_, T, R, N, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Transform { source, of, tiles, row, planes, to } = self;
        let lanes = V::<T, S>::LANES;
        // Pixels that a tile has for itself, on an axis.
        let own = const { if N == 9 { 2 * SIDE } else { SIDE } };
        let mut place = of.tiling.position(tiles.start);
        // All channels of a tile, so that what is read lies together.
        for tile in 0..tiles.len() {
            let patch = Where::new::<T, N>(&of, place);
            let inside = patch.rows.len() == N && patch.columns.len() == N;
            let following = of.tiling.next(place);
            // Two tiles ahead: memory is farther than the work of one.
            let soon = Where::own(&of, of.tiling.next(following));
            for c in (0..of.channels).step_by(lanes) {
                for i in 0..own {
                    for j in 0..own {
                        source.prefetch(simd, soon + i * patch.row + j * patch.column + c);
                    }
                }
                let n = lanes.min(of.channels - c);
                let row = c / lanes * planes.tiles + row + tile;
                // SAFETY: the channels exist; the caller of `transform` promises these tiles of the planes; the
                // pixels that are read are inside the image, of which the reader has all elements.
                unsafe {
                    let with = source.coefficients(simd, c, n);
                    if inside && n == lanes {
                        let mut half = ColumnsDone::new();
                        for j in 0..N {
                            let mut d = [V::<T, S>::zero(simd); N];
                            for i in 0..N {
                                let at = patch.corner + (i * patch.row + j * patch.column + c) as isize;
                                d[i] = source.read(simd, &with, at as usize, lanes);
                            }
                            half.set(j, matrices::points::<T, S, N, P>(simd, d));
                        }
                        store::<T, S, N, P>(simd, &half, to, &planes, row);
                    } else if n == lanes {
                        edge::<T, S, R, N, P>(simd, &source, &with, &patch, c, lanes, to, &planes, row);
                    } else {
                        edge::<T, S, R, N, P>(simd, &source, &with, &patch, c, n, to, &planes, row);
                    }
                }
            }
            place = following;
        }
    }
}

/// Where an N x N patch lies: its corner, which may be outside of the image, and what of it is inside.
struct Where {
    corner: isize,
    row: usize,
    column: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Where {
    /// The first element of the pixels that the tile at `place` has for itself.
    #[inline(always)]
    fn own<T: CpuElement>(of: &Operand<'_, T>, place: TilePosition) -> usize {
        let ([height, width], [y, x]) = (of.size(), of.own(place));
        ((place.image * height + y) * width + x) * of.channels
    }

    #[inline(always)]
    fn new<T: CpuElement, const N: usize>(of: &Operand<'_, T>, place: TilePosition) -> Self {
        let (size, own) = (of.size(), of.own(place));
        let before = if of.patch == Patch::Input { of.tiling.before } else { [0; 2] };
        let start = [0, 1].map(|axis| own[axis] as isize - before[axis]);
        let inside = |axis: usize| {
            let first = (-start[axis]).clamp(0, N as isize) as usize;
            let end = (size[axis] as isize - start[axis]).clamp(first as isize, N as isize) as usize;
            first..end
        };
        let pixel = ((place.image * size[0]) as isize + start[0]) * size[1] as isize + start[1];
        Where {
            corner: pixel * of.channels as isize,
            row: size[1] * of.channels,
            column: of.channels,
            rows: inside(0),
            columns: inside(1),
        }
    }
}

/// Transforms a patch that reaches over an edge of the image, or the last channels.
///
/// # Safety
/// The pixels of the patch that are inside exist for `n` channels from `c` on; `to` holds the planes, of which nobody else
/// uses this row.
#[inline(always)]
unsafe fn edge<T: CpuElement, S: Simd, R: Read<T>, const N: usize, const P: usize>(
    simd: S,
    source: &R,
    with: &R::Coefficients<S>,
    patch: &Where,
    c: usize,
    n: usize,
    to: *mut T::Accum,
    planes: &Planes,
    row: usize,
) {
    let mut half = ColumnsDone::new();
    for j in 0..N {
        let mut d = [V::<T, S>::zero(simd); N];
        if patch.columns.contains(&j) {
            let at = patch.corner + (j * patch.column + c) as isize;
            // The rows that are inside, as constants where that is common: inside of an image, at its upper or lower
            // edge, or an image of one row of tiles.
            macro_rules! read {
                ($($start:expr, $end:expr;)*) => {
                    match (patch.rows.start, patch.rows.end) {
                        $(
                            (start, end) if start == $start && end == $end => {
                                for i in $start..$end {
                                    let at = (at + (i * patch.row) as isize) as usize;
                                    // SAFETY: this row and column are inside of the image.
                                    d[i] = unsafe { source.read(simd, with, at, n) };
                                }
                            }
                        )*
                        (start, end) => {
                            let mut copy = d;
                            for i in start..end {
                                let at = (at + (i * patch.row) as isize) as usize;
                                // SAFETY: as above.
                                copy[i] = unsafe { source.read(simd, with, at, n) };
                            }
                            d = copy;
                        }
                    }
                };
            }
            read!(0, N; 1, N; 0, N - 1; 1, N - 1;);
        }
        half.set(j, matrices::points::<T, S, N, P>(simd, d));
    }
    // SAFETY: the caller's promise; all columns were set.
    unsafe { store::<T, S, N, P>(simd, &half, to, planes, row) }
}

/// Transforms the rows of a patch whose columns are transformed, and stores its values.
///
/// # Safety
/// All columns of `half` are set; `to` holds the planes, of which nobody else uses this row.
#[inline(always)]
unsafe fn store<T: CpuElement, S: Simd, const N: usize, const P: usize>(
    simd: S,
    half: &ColumnsDone<V<T, S>, N, P>,
    to: *mut T::Accum,
    planes: &Planes,
    row: usize,
) {
    for i in 0..P {
        // SAFETY: the caller's promise.
        let points = matrices::points::<T, S, N, P>(simd, unsafe { half.row(i) });
        for j in 0..P {
            // SAFETY: the caller's promise.
            unsafe { points[j].store(to.add(planes.at(P, i, j, row))) };
        }
    }
}
