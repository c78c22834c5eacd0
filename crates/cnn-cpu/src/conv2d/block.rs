//! The micro-kernel: a register block of the output, summed over taps and channels before it is stored once.
//!
//! ```text
//! acc[r][p][v] = 0                                          r < RY rows, p < RX pixels, v < NV vectors of channels
//! for each block of L channels, each tap, each channel c of the block:
//!     w[v] = packed weights                                 NV loads
//!     acc[r][p][v] += broadcast(x[tap + r * row + p][c]) * w[v]
//! y[r][p] = acc, finished as `epilogue` says
//! ```

use super::epilogue::Finish;
use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};

/// Where a tap reads: elements into the scratch, and its index in the packed weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) x: usize,
    pub(crate) w: usize,
}

/// A piece of `len` things in pieces of at most `most`, as even as can be: (start, length).
#[inline(always)]
pub(crate) fn split(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = len.div_ceil(most.max(1)).max(1);
    (0..pieces).map(move |i| {
        let (start, end) = (len * i / pieces, len * (i + 1) / pieces);
        (start, end - start)
    })
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
    /// The packed panel, and how many taps it holds.
    pub(crate) w: *const T::Accum,
    pub(crate) w_taps: usize,
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

/// Rows of a panel that are asked for ahead.
const AHEAD: usize = 48;

struct Sized<'a, T: CpuElement, const PAIRS: bool, const NV: usize, const RY: usize, const RX: usize>(Block<'a, T>);

impl<T: CpuElement, const PAIRS: bool, const NV: usize, const RY: usize, const RX: usize> Kernel
    for Sized<'_, T, PAIRS, NV, RY, RX>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let b = self.0;
        let lanes = V::<T, S>::LANES;
        let mut acc = [[[V::<T, S>::zero(simd); NV]; RX]; RY];
        let (mut x, mut w, mut left) = (b.x, b.w, b.channels);
        // SAFETY: `Block::run`'s caller promises that the taps reach inside the scratch for all channels and pixels of
        // the block, that the panel has w_taps taps for all channels, and that y and the epilogue have the written
        // elements.
        unsafe {
            while left > 0 {
                let n = left.min(lanes);
                for tap in b.taps {
                    let rows: [*const T::Accum; RY] = std::array::from_fn(|r| x.add(tap.x + r * b.x_row));
                    let w = w.add(tap.w * n * NV * lanes);
                    for c in 0..n {
                        let weights: [V<T, S>; NV] =
                            std::array::from_fn(|v| V::<T, S>::load(simd, w.add((c * NV + v) * lanes)));
                        // With few pixels a panel is used once and comes from memory, which sees no farther than a page.
                        for v in 0..NV {
                            simd.prefetch(w.wrapping_add(((c + AHEAD) * NV + v) * lanes));
                        }
                        for r in 0..RY {
                            for p in 0..RX {
                                let value = V::<T, S>::splat(simd, *rows[r].add(p * lanes + c));
                                for v in 0..NV {
                                    acc[r][p][v] = if PAIRS {
                                        T::dot::<S>(value, weights[v], acc[r][p][v])
                                    } else {
                                        value.mul_add(weights[v], acc[r][p][v])
                                    };
                                }
                            }
                        }
                    }
                }
                x = x.add(b.x_plane);
                w = w.add(b.w_taps * n * NV * lanes);
                left -= n;
            }
            // Short loops over constant ranges: if one of them were not unrolled, the accumulators would live in memory.
            if let Some(bias) = b.finish.bias {
                let bias: [V<T, S>; NV] = std::array::from_fn(|v| {
                    V::<T, S>::load_head(simd, bias.add(v * lanes), b.write.saturating_sub(v * lanes).min(lanes))
                });
                for r in 0..RY {
                    for p in 0..RX {
                        for v in 0..NV {
                            acc[r][p][v] = acc[r][p][v].add(bias[v]);
                        }
                    }
                }
            }
            // Rounding to a narrower element makes these loops too long to be unrolled.
            if b.write < NV * lanes || const { size_of::<T>() < size_of::<T::Accum>() } {
                Self::store_from_memory(simd, &b, acc);
                return;
            }
            let floor = b.finish.floor(simd);
            if let Some(residual) = b.finish.residual {
                for r in 0..RY {
                    for p in 0..RX {
                        for v in 0..NV {
                            let at = r * b.y_row + p * b.y_pixel + v * lanes;
                            acc[r][p][v] = acc[r][p][v].add(T::load(simd, residual.add(at)));
                        }
                    }
                }
            }
            for r in 0..RY {
                for p in 0..RX {
                    for v in 0..NV {
                        let at = r * b.y_row + p * b.y_pixel + v * lanes;
                        T::store::<S>(acc[r][p][v].max(floor), b.y.add(at));
                    }
                }
            }
        }
    }
}

impl<T: CpuElement, const PAIRS: bool, const NV: usize, const RY: usize, const RX: usize>
    Sized<'_, T, PAIRS, NV, RY, RX>
{
    /// Stores a block by way of memory: one whose last vector is not full, or whose elements have to be rounded.
    ///
    /// # Safety
    /// As `Block::run`.
    #[inline(always)]
    unsafe fn store_from_memory<S: Simd>(simd: S, b: &Block<'_, T>, acc: [[[V<T, S>; NV]; RX]; RY]) {
        let lanes = V::<T, S>::LANES;
        let mut copy = acc;
        let copy: &mut [[[V<T, S>; NV]; RX]; RY] = std::hint::black_box(&mut copy); // see the comment above
        for r in 0..RY {
            for p in 0..RX {
                for v in 0..NV {
                    let n = b.write.saturating_sub(v * lanes).min(lanes);
                    // SAFETY: the caller's promise.
                    unsafe {
                        let at = r * b.y_row + p * b.y_pixel + v * lanes;
                        let mut value = copy[r][p][v];
                        if let Some(residual) = b.finish.residual {
                            value = value.add(T::load_head(simd, residual.add(at), n));
                        }
                        T::store_head::<S>(value.max(b.finish.floor(simd)), b.y.add(at), n);
                    }
                }
            }
        }
    }
}

impl<T: CpuElement> Block<'_, T> {
    /// Computes `rows` x `pixels` pixels of `vectors` vectors.
    ///
    /// # Safety
    /// With every tap, pixel, row and channel added, `x` stays inside one packed image; `w` is a panel of `vectors`
    /// vectors for all channels; `y` may be written at `write` channels of each pixel, by nobody else; the
    /// epilogue has those channels and pixels.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(self, simd: S, vectors: usize, rows: usize, pixels: usize) {
        macro_rules! go {
            ($($ry:literal: $($rx:literal)*;)*) => {
                match (self.pairs, vectors, rows, pixels) {
                    $($(
                        (false, 2, $ry, $rx) if const { $ry * $rx <= S::PIXELS } => {
                            simd.outline(Sized::<T, false, 2, $ry, $rx>(self))
                        }
                        (false, 1, $ry, $rx) if const { $ry * $rx <= S::PIXELS } => {
                            simd.outline(Sized::<T, false, 1, $ry, $rx>(self))
                        }
                        (true, 2, $ry, $rx) if const { T::PAIRS && S::DOTS && $ry * $rx <= S::PIXELS } => {
                            simd.outline_dots(Sized::<T, true, 2, $ry, $rx>(self))
                        }
                        (true, 1, $ry, $rx) if const { T::PAIRS && S::DOTS && $ry * $rx <= S::PIXELS } => {
                            simd.outline_dots(Sized::<T, true, 1, $ry, $rx>(self))
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
