//! The micro-kernel: a register block of the output, summed over taps and channels before it is stored once.
//!
//! ```text
//! acc[r][p][v] = 0                                          r < RY rows, p < RX pixels, v < NV vectors of channels
//! for each block of L channels, each tap, each channel c of the block:
//!     w[v] = packed weights                                 NV loads
//!     acc[r][p][v] += broadcast(x[tap + r * row + p][c]) * w[v]
//! y[r][p] = acc, finished as `epilogue` says
//! ```
//!
//! A tap that reads only padding is left out, which in a dilated kernel most do, and so are such rows and columns of a block as
//! wide as a small image: of 4x4 outputs with a 3x3 kernel, 44 products of 144.

use std::mem::MaybeUninit;

use super::Tap;
use super::epilogue::Finish;
use crate::element::{CpuElement, CpuReal, V};
use crate::simd::{Simd, SimdKernel, Vector};

/// Rows of a panel that are asked for ahead where a block reads it from one end to the other.
pub(crate) const AHEAD: usize = 48;

/// The most pixels of a register block.
const MOST_PIXELS: usize = 14;

/// A piece of `len` things in pieces of at most `most`, as even as can be: (start, length).
#[inline(always)]
pub(crate) fn split(len: usize, most: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + Clone {
    let pieces = len.div_ceil(most.max(1)).max(1);
    // Clones are made in inner loops, so no piece divides. The last ones are longer by one.
    let (least, short) = (len / pieces, pieces - len % pieces);
    (0..pieces).map(move |i| (i * least + i.saturating_sub(short), least + usize::from(i >= short)))
}

/// The operands of a register block.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, T: CpuElement> {
    /// The scratch pixel that the block's first pixel reads at tap offset 0.
    pub(crate) x: *const T::Accum,
    /// Elements from one row of pixels to the next, and from one block of channels to the next.
    pub(crate) x_row: usize,
    pub(crate) x_plane: usize,
    /// Channels that are read.
    pub(crate) channels: usize,
    pub(crate) taps: &'a [Tap],
    /// Which row and column of outputs the first pixel is, as the taps count them.
    pub(crate) first: [usize; 2],
    /// The packed panel, and how many taps it holds.
    pub(crate) w: *const T::Accum,
    pub(crate) w_taps: usize,
    /// What of the packed weight is asked for meanwhile, and how many bytes further on with each of its rows.
    pub(crate) ahead: *const T::Accum,
    pub(crate) ahead_step: usize,
    /// Sums over channels that were read before, and where they go when more channels follow: `rows * pixels * vectors`
    /// vectors.
    pub(crate) resume: Option<*const T::Accum>,
    pub(crate) pause: Option<*mut T::Accum>,
    /// Where the first pixel goes, and elements to the next pixel and row.
    pub(crate) y: *mut T,
    pub(crate) y_pixel: usize,
    pub(crate) y_row: usize,
    /// Channels that are written.
    pub(crate) write: usize,
    /// What follows the sum, from the first pixel on.
    pub(crate) finish: Finish<T>,
    /// A word of the packed image and of the packed panel is two channels, and `channels` counts words.
    pub(crate) pairs: bool,
}

/// `T` is the element whose pairs the words may be, else the number that they are.
struct SizedBlock<'a, T: CpuElement, const PAIRS: bool, const NV: usize, const RY: usize, const RX: usize>(
    Block<'a, T::Number>,
);

impl<T: CpuElement, const PAIRS: bool, const NV: usize, const RY: usize, const RX: usize> SimdKernel
    for SizedBlock<'_, T, PAIRS, NV, RY, RX>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let b = self.0;
        let lanes = V::<T, S>::LANES;
        let mut acc = [[[V::<T, S>::zero(simd); NV]; RX]; RY];
        let (mut x, mut w, mut ahead, mut rest) = (b.x, b.w, b.ahead, b.channels);
        // SAFETY: `Block::sum`'s caller promises that the taps reach inside the scratch for all channels and pixels of
        // the block, that the panel has w_taps taps for all channels, that sums kept between portions have a vector for
        // each of acc, and that y and the epilogue have the written elements.
        unsafe {
            if let Some(sums) = b.resume {
                for r in 0..RY {
                    for p in 0..RX {
                        for v in 0..NV {
                            acc[r][p][v] = V::<T, S>::load(simd, sums.add(((r * RX + p) * NV + v) * lanes));
                        }
                    }
                }
            }
            while rest > 0 {
                let n = rest.min(lanes);
                for tap in b.taps {
                    let rows_read = tap.rows[0] < b.first[0] + RY && tap.rows[1] > b.first[0];
                    let columns_read = tap.columns[0] < b.first[1] + RX && tap.columns[1] > b.first[1];
                    if !rows_read || !columns_read {
                        continue; // only padding
                    }
                    // Whether the block's first row or column, or its last, reads only padding.
                    let [top, left] = [tap.rows[0] > b.first[0], tap.columns[0] > b.first[1]];
                    let [bottom, right] = [tap.rows[1] < b.first[0] + RY, tap.columns[1] < b.first[1] + RX];
                    let (x, w) = (x.add(tap.x), w.add(tap.w * n * NV * lanes));
                    macro_rules! sum {
                        ($top:literal $bottom:literal $left:literal $right:literal) => {
                            acc = Self::sum::<S, $top, $bottom, $left, $right>(simd, &b, x, w, ahead, n, acc)
                        };
                    }
                    // For the blocks that images of 4 and of 8 columns are cut into.
                    match (const { RY == 2 && RX == 4 }, const { RX == 4 || RX == 8 }) {
                        (true, _) if top && left => sum!(1 0 1 0),
                        (true, _) if top && right => sum!(1 0 0 1),
                        (true, _) if top => sum!(1 0 0 0),
                        (true, _) if bottom && left => sum!(0 1 1 0),
                        (true, _) if bottom && right => sum!(0 1 0 1),
                        (true, _) if bottom => sum!(0 1 0 0),
                        (_, true) if left => sum!(0 0 1 0),
                        (_, true) if right => sum!(0 0 0 1),
                        _ => sum!(0 0 0 0),
                    }
                    ahead = ahead.wrapping_byte_add(n * b.ahead_step);
                }
                x = x.add(b.x_plane);
                w = w.add(b.w_taps * n * NV * lanes);
                rest -= n;
            }
            if let Some(sums) = b.pause {
                for r in 0..RY {
                    for p in 0..RX {
                        for v in 0..NV {
                            acc[r][p][v].store(sums.add(((r * RX + p) * NV + v) * lanes));
                        }
                    }
                }
                return;
            }
            // Short loops over constant ranges: if one of them were not unrolled, the accumulators would live in memory.
            if let Some(bias) = b.finish.bias {
                let mut biases = [V::<T, S>::zero(simd); NV];
                for v in 0..NV {
                    biases[v] = V::<T, S>::load(simd, bias.add(v * lanes));
                }
                for r in 0..RY {
                    for p in 0..RX {
                        for v in 0..NV {
                            acc[r][p][v] = acc[r][p][v].add(biases[v]);
                        }
                    }
                }
            }
            let floor = b.finish.floor(simd);
            if let Some(residual) = b.finish.residual {
                for r in 0..RY {
                    for p in 0..RX {
                        for v in 0..NV {
                            let at = r * b.y_row + p * b.y_pixel + v * lanes;
                            acc[r][p][v] = acc[r][p][v].add(V::<T, S>::load(simd, residual.add(at)));
                        }
                    }
                }
            }
            for r in 0..RY {
                for p in 0..RX {
                    for v in 0..NV {
                        let at = r * b.y_row + p * b.y_pixel + v * lanes;
                        acc[r][p][v].max(floor).store(b.y.add(at));
                    }
                }
            }
        }
    }
}

impl<T: CpuElement, const PAIRS: bool, const NV: usize, const RY: usize, const RX: usize>
    SizedBlock<'_, T, PAIRS, NV, RY, RX>
{
    /// Adds the products of one tap and `n` channels, without some rows and columns.
    ///
    /// # Safety
    /// As `Block::sum`.
    #[inline(always)]
    unsafe fn sum<S: Simd, const TOP: usize, const BOTTOM: usize, const LEFT: usize, const RIGHT: usize>(
        simd: S,
        b: &Block<'_, T::Number>,
        x: *const T::Number,
        w: *const T::Number,
        ahead: *const T::Number,
        n: usize,
        mut acc: [[[V<T, S>; NV]; RX]; RY],
    ) -> [[[V<T, S>; NV]; RX]; RY] {
        let lanes = V::<T, S>::LANES;
        let mut rows = [x; RY];
        for r in 0..RY {
            rows[r] = x.wrapping_add(r * b.x_row);
        }
        for c in 0..n {
            let mut weights = [V::<T, S>::zero(simd); NV];
            // What the hardware foresees ends with a page.
            for v in 0..NV {
                // SAFETY: the caller's promise.
                weights[v] = unsafe { V::<T, S>::load(simd, w.add((c * NV + v) * lanes)) };
                simd.prefetch(ahead.wrapping_byte_add(c * b.ahead_step).wrapping_add(v * lanes));
            }
            for r in TOP..RY - BOTTOM {
                for p in LEFT..RX - RIGHT {
                    // SAFETY: the caller's promise.
                    let value = V::<T, S>::splat(simd, unsafe { *rows[r].add(p * lanes + c) });
                    for v in 0..NV {
                        acc[r][p][v] = if PAIRS {
                            // SAFETY: the block has pairs, so `outline_dots` was called.
                            unsafe { T::dot::<S>(value, weights[v], acc[r][p][v]) }
                        } else {
                            value.mul_add(weights[v], acc[r][p][v])
                        };
                    }
                }
            }
        }
        acc
    }
}

/// Stores a block whose sums are in memory: one whose last vector is not full, or whose elements have to be rounded. In registers
/// that would take code for each size of block, and it is little beside the sums.
struct Store<'a, T: CpuElement> {
    of: Block<'a, T>,
    sums: *const T::Number,
    /// Rows, pixels, vectors.
    size: [usize; 3],
}

impl<T: CpuElement> SimdKernel for Store<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Store { of: b, mut sums, size: [rows, pixels, vectors] } = self;
        let lanes = V::<T, S>::LANES;
        let floor = b.finish.floor(simd);
        for r in 0..rows {
            for p in 0..pixels {
                for v in 0..vectors {
                    let (at, n) =
                        (r * b.y_row + p * b.y_pixel + v * lanes, b.write.saturating_sub(v * lanes).min(lanes));
                    // SAFETY: `Block::run` has written a vector for each; its caller promises that y and the epilogue have the
                    // written elements.
                    unsafe {
                        let mut value = V::<T, S>::load(simd, sums);
                        sums = sums.add(lanes);
                        if n == lanes {
                            if let Some(bias) = b.finish.bias {
                                value = value.add(V::<T, S>::load(simd, bias.add(v * lanes)));
                            }
                            if let Some(residual) = b.finish.residual {
                                value = value.add(T::load(simd, residual.add(at)));
                            }
                            T::store::<S>(value.max(floor), b.y.add(at));
                        } else {
                            let bias = b.finish.bias.map(|bias| bias.wrapping_add(v * lanes));
                            let finish = Finish { bias, ..b.finish };
                            T::store_head::<S>(finish.of(simd, value, at, n), b.y.add(at), n);
                        }
                    }
                }
            }
        }
    }
}

impl<'a, T: CpuElement> Block<'a, T> {
    /// Computes `rows` x `pixels` pixels of `vectors` vectors.
    ///
    /// # Safety
    /// With every tap, pixel, row and channel added, `x` stays inside one packed image; `w` is a panel of `vectors`
    /// vectors for all channels; `y` may be written at `write` channels of each pixel, by nobody else; the
    /// epilogue has those channels and pixels, as have `resume` and `pause`.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(self, simd: S, vectors: usize, rows: usize, pixels: usize) {
        let direct = const { size_of::<T>() == size_of::<T::Number>() } && self.write >= vectors * V::<T, S>::LANES;
        if self.pause.is_some() || direct {
            // SAFETY: the caller's promise; elements are stored where they are numbers.
            return unsafe { self.of_numbers(self.pause).sum::<T, S>(simd, vectors, rows, pixels) };
        }
        const { assert!(S::PIXELS <= MOST_PIXELS) };
        let mut sums = MaybeUninit::<[V<T, S>; 2 * MOST_PIXELS]>::uninit();
        let sums: *mut T::Number = sums.as_mut_ptr().cast();
        // SAFETY: the caller's promise; there is room for the vectors of the largest block.
        unsafe { self.of_numbers(Some(sums)).sum::<T, S>(simd, vectors, rows, pixels) };
        simd.outline(Store { of: self, sums, size: [rows, pixels, vectors] });
    }

    /// The same block of numbers: to be stored as they are, or kept as sums.
    #[inline(always)]
    fn of_numbers(self, pause: Option<*mut T::Number>) -> Block<'a, T::Number> {
        let Block { x, x_row, x_plane, channels, taps, first, w, w_taps, ahead, ahead_step, resume, pairs, .. } = self;
        let Block { y, y_pixel, y_row, write, finish: Finish { bias, residual, relu }, .. } = self;
        let finish = Finish { bias, residual: residual.map(<*const T>::cast), relu };
        let y = y.cast();
        Block {
            x,
            x_row,
            x_plane,
            channels,
            taps,
            first,
            w,
            w_taps,
            ahead,
            ahead_step,
            resume,
            pause,
            y,
            y_pixel,
            y_row,
            write,
            finish,
            pairs,
        }
    }
}

impl<F: CpuReal> Block<'_, F> {
    /// Computes a block of numbers, whose words may be pairs of `T`.
    ///
    /// # Safety
    /// As `run`; the last vector is full, or the sums are kept.
    #[inline(always)]
    unsafe fn sum<T: CpuElement<Number = F>, S: Simd>(self, simd: S, vectors: usize, rows: usize, pixels: usize) {
        macro_rules! go {
            ($($ry:literal: $($rx:literal)*;)*) => {
                match (self.pairs, vectors, rows, pixels) {
                    $($(
                        (false, 2, $ry, $rx) if const { $ry * $rx <= S::PIXELS } => {
                            simd.outline(SizedBlock::<F, false, 2, $ry, $rx>(self))
                        }
                        (false, 1, $ry, $rx) if const { $ry * $rx <= S::PIXELS } => {
                            simd.outline(SizedBlock::<F, false, 1, $ry, $rx>(self))
                        }
                        (true, 2, $ry, $rx) if const { T::PAIRS && S::DOTS && $ry * $rx <= S::PIXELS } => {
                            simd.outline_dots(SizedBlock::<T, true, 2, $ry, $rx>(self))
                        }
                        (true, 1, $ry, $rx) if const { T::PAIRS && S::DOTS && $ry * $rx <= S::PIXELS } => {
                            simd.outline_dots(SizedBlock::<T, true, 1, $ry, $rx>(self))
                        }
                    )*)*
                    _ => unreachable!("a register block of {rows} x {pixels} pixels"),
                }
            };
        }
        go!(
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
            2: 1 2 3 4 5 6 7;
            3: 1 2 3 4;
            4: 1 2 3;
        );
    }
}

/// Rows of a register block for outputs this many columns wide, and its most columns.
#[inline(always)]
pub(crate) fn shape<S: Simd>(columns: usize) -> (usize, usize) {
    let rows = (S::PIXELS / columns.max(1)).clamp(1, 4);
    (rows, S::PIXELS / rows)
}
