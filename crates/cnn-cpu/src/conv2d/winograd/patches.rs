//! Patches of an image to the points of tiles: each line of a patch is transformed, then each column of the result.

use std::ops::Range;

use super::super::reader::{Read, Reader};
use super::matrices::{self, POINTS, SIDE};
use super::{Place, Planes, Tiling};
use crate::Cpu;
use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};
use crate::threads::Shared;

/// What a tile of an operand becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// Bt x B of the 6x6 inputs under a tile.
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
            ($($variant:ident)*) => {
                match (self.reader, self.patch) {
                    $(
                        (Reader::$variant(source), Patch::Input) => {
                            simd.outline(Transform::<T, _, POINTS> { source, of: self, tiles, row, planes, to });
                        }
                        (Reader::$variant(source), Patch::Gradient) => {
                            simd.outline(Transform::<T, _, SIDE> { source, of: self, tiles, row, planes, to });
                        }
                    )*
                }
            };
        }
        go!(Plain Norm Gradient);
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

impl<T: CpuElement> Kernel for Stage<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Stage { operand, tiles, row, planes, to } = self;
        // SAFETY: `stage` has checked that `to` holds the planes; no other task has these tiles of them.
        unsafe { operand.transform(simd, tiles, row, planes, to.get()) }
    }
}

/// A transform of patches of N x N.
struct Transform<'a, T: CpuElement, R, const N: usize> {
    source: R,
    of: Operand<'a, T>,
    tiles: Range<usize>,
    row: usize,
    planes: Planes,
    to: *mut T::Accum,
}

impl<T: CpuElement, R: Read<T>, const N: usize> Kernel for Transform<'_, T, R, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Transform { source, of: Operand { tiling, channels, .. }, tiles, row, planes, to } = self;
        let lanes = V::<T, S>::LANES;
        let mut place = tiling.place(tiles.start);
        // All channels of a tile, so that what is read lies together.
        for tile in 0..tiles.len() {
            let patch = Where::new::<N>(&tiling, place, channels);
            let inside = patch.rows.len() == N && patch.columns.len() == N;
            let following = tiling.next(place);
            let soon = Where::core::<N>(&tiling, following, channels);
            for c in (0..channels).step_by(lanes) {
                for i in 0..SIDE {
                    for j in 0..SIDE {
                        source.prefetch(simd, soon + i * patch.row + j * patch.column + c);
                    }
                }
                let n = lanes.min(channels - c);
                // SAFETY: the channels exist; the caller of `transform` promises these tiles of the planes; the
                // pixels that are read are inside the image, of which the reader has all elements.
                unsafe {
                    let with = source.coefficients(simd, c, n);
                    let to = to.add(c / lanes * planes.block() + (row + tile) * lanes);
                    if inside && n == lanes {
                        let mut half = [[V::<T, S>::zero(simd); N]; POINTS];
                        for j in 0..N {
                            let mut d = [V::<T, S>::zero(simd); N];
                            for i in 0..N {
                                let at = patch.corner + (i * patch.row + j * patch.column + c) as isize;
                                d[i] = source.read(simd, &with, at as usize, lanes);
                            }
                            let points = line::<T, S, N>(simd, d);
                            for i in 0..POINTS {
                                half[i][j] = points[i];
                            }
                        }
                        store::<T, S, N>(simd, &half, to, planes.point());
                    } else if n == lanes {
                        edge::<T, S, R, N>(simd, &source, &with, &patch, c, lanes, to, planes.point());
                    } else {
                        edge::<T, S, R, N>(simd, &source, &with, &patch, c, n, to, planes.point());
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
    /// The first of the 4x4 pixels that the tile at `place` has for itself.
    #[inline(always)]
    fn core<const N: usize>(tiling: &Tiling, place: Place, channels: usize) -> usize {
        let [height, width] = if N == POINTS { tiling.from } else { tiling.to };
        ((place.image * height + place.at[0]) * width + place.at[1]) * channels
    }

    /// The inputs (N = 6) or the outputs (N = 4) of the tile at `place`.
    #[inline(always)]
    fn new<const N: usize>(tiling: &Tiling, place: Place, channels: usize) -> Self {
        let (size, before) = if N == POINTS { (tiling.from, tiling.before) } else { (tiling.to, [0; 2]) };
        let start = [0, 1].map(|axis| place.at[axis] as isize - before[axis]);
        let inside = |axis: usize| {
            let first = (-start[axis]).clamp(0, N as isize) as usize;
            let end = (size[axis] as isize - start[axis]).clamp(first as isize, N as isize) as usize;
            first..end
        };
        let pixel = ((place.image * size[0]) as isize + start[0]) * size[1] as isize + start[1];
        Where {
            corner: pixel * channels as isize,
            row: size[1] * channels,
            column: channels,
            rows: inside(0),
            columns: inside(1),
        }
    }
}

/// Transforms a patch that reaches over an edge of the image, or the last channels.
///
/// # Safety
/// The pixels of the patch that are inside exist for `n` channels from `c` on; `to` has room for 36 vectors, `point` apart.
#[inline(always)]
unsafe fn edge<T: CpuElement, S: Simd, R: Read<T>, const N: usize>(
    simd: S,
    source: &R,
    with: &R::Coefficients<S>,
    patch: &Where,
    c: usize,
    n: usize,
    to: *mut T::Accum,
    point: usize,
) {
    let mut half = [[V::<T, S>::zero(simd); N]; POINTS];
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
        let points = line::<T, S, N>(simd, d);
        for i in 0..POINTS {
            half[i][j] = points[i];
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store::<T, S, N>(simd, &half, to, point) }
}

/// Transforms the rows of a patch whose columns are transformed, and stores its 36 points.
///
/// # Safety
/// `to` has room for 36 vectors, `point` apart.
#[inline(always)]
unsafe fn store<T: CpuElement, S: Simd, const N: usize>(
    simd: S,
    half: &[[V<T, S>; N]; POINTS],
    to: *mut T::Accum,
    point: usize,
) {
    for i in 0..POINTS {
        let points = line::<T, S, N>(simd, half[i]);
        for j in 0..POINTS {
            // SAFETY: the caller's promise.
            unsafe { points[j].store(to.add((i * POINTS + j) * point)) };
        }
    }
}

/// Six points of a line of six inputs or of four gradients.
#[inline(always)]
fn line<T: CpuElement, S: Simd, const N: usize>(simd: S, d: [V<T, S>; N]) -> [V<T, S>; POINTS] {
    if N == POINTS {
        matrices::input::<T, S>(simd, [d[0], d[1], d[2], d[3], d[N - 2], d[N - 1]])
    } else {
        matrices::gradient::<T, S>(simd, [d[0], d[1], d[2], d[3]])
    }
}
