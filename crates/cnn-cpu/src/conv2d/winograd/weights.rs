//! 3x3 kernels to their 36 points, and the gradients of these points back to those of the kernels.

use std::ops::Range;

use super::matrices::{self, POINTS, TAPS};
use crate::element::CpuReal;
use crate::simd::{Kernel, Simd, V, Vector};

/// Transforms the weights \[9\]\[read\]\[write\] of some channels that are read, for a panel of channels that are written:
/// lines `lines` of the six of each transformed kernel, `[6 * lines][read][vectors]`.
pub(super) struct Weights<'a, T> {
    pub(super) weights: &'a [T],
    pub(super) read: usize,
    pub(super) write: usize,
    /// Turns the kernel by half a circle.
    pub(super) turned: bool,
    /// The first channel that is written, and how many vectors.
    pub(super) first: usize,
    pub(super) vectors: usize,
    pub(super) channels: Range<usize>,
    pub(super) lines: Range<usize>,
    pub(super) u: *mut T,
    pub(super) u_point: usize,
}

impl<T: CpuReal> Weights<'_, T> {
    /// # Safety
    /// Nobody else uses these channels of `u`, which has room for `6 * lines` points of all channels.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        assert_eq!(self.weights.len(), TAPS * TAPS * self.read * self.write);
        assert!(self.channels.end <= self.read && self.first < self.write && self.lines.end <= POINTS);
        simd.outline(self);
    }
}

impl<T: CpuReal> Kernel for Weights<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Weights { weights, read, write, turned, first, vectors, channels, lines, u, u_point } = self;
        let lanes = V::<T, S>::LANES;
        for c in channels {
            for v in 0..vectors {
                let n = lanes.min(write - first - v * lanes);
                // SAFETY: the indices are inside of the weights, whose length was checked; the caller of Weights::run
                // promises u.
                unsafe {
                    let from = weights.as_ptr().add(c * write + first + v * lanes);
                    // Rows of a panel are far apart: the hardware does not foresee them.
                    let mut half = [[V::<T, S>::zero(simd); TAPS]; POINTS];
                    for j in 0..TAPS {
                        let mut d = [V::<T, S>::zero(simd); TAPS];
                        for i in 0..TAPS {
                            let tap = if turned { TAPS * TAPS - 1 - (i * TAPS + j) } else { i * TAPS + j };
                            let at = from.add(tap * read * write);
                            simd.prefetch(at.wrapping_add(8 * write));
                            d[i] =
                                if n == lanes { V::<T, S>::load(simd, at) } else { V::<T, S>::load_head(simd, at, n) };
                        }
                        let points = matrices::weight::<T, S>(simd, d);
                        for i in 0..POINTS {
                            half[i][j] = points[i];
                        }
                    }
                    for i in lines.clone() {
                        let points = matrices::weight::<T, S>(simd, half[i]);
                        for j in 0..POINTS {
                            let point = (i - lines.start) * POINTS + j;
                            points[j].store(u.add(point * u_point + (c * vectors + v) * lanes));
                        }
                    }
                }
            }
        }
    }
}

/// Writes (or adds) the gradients of some kernels from their transform `du`, `[36][channels][vectors]`, to `dw`,
/// `[channels][9][vectors]`: a panel of the gradient in one piece.
pub(super) struct WeightsBack<T> {
    pub(super) du: *const T,
    pub(super) du_point: usize,
    pub(super) dw: *mut T,
    pub(super) channels: usize,
    pub(super) vectors: usize,
    pub(super) accumulate: bool,
}

impl<T: CpuReal> WeightsBack<T> {
    /// # Safety
    /// `du` holds the transform, and nobody else uses these channels of `dw`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        simd.outline(self);
    }
}

impl<T: CpuReal> Kernel for WeightsBack<T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let WeightsBack { du, du_point, dw, channels, vectors, accumulate } = self;
        let lanes = V::<T, S>::LANES;
        for c in 0..channels {
            for v in 0..vectors {
                // SAFETY: the caller of WeightsBack::run promises du and dw at these channels.
                unsafe {
                    let du = du.add((c * vectors + v) * lanes);
                    let dw = dw.add((c * TAPS * TAPS * vectors + v) * lanes);
                    let mut half = [[V::<T, S>::zero(simd); POINTS]; TAPS];
                    for j in 0..POINTS {
                        let mut d = [V::<T, S>::zero(simd); POINTS];
                        for i in 0..POINTS {
                            let at = du.add((i * POINTS + j) * du_point);
                            d[i] = V::<T, S>::load(simd, at);
                        }
                        let taps = matrices::weight_gradient::<T, S>(simd, d);
                        for i in 0..TAPS {
                            half[i][j] = taps[i];
                        }
                    }
                    for i in 0..TAPS {
                        let taps = matrices::weight_gradient::<T, S>(simd, half[i]);
                        for j in 0..TAPS {
                            let to = dw.add((i * TAPS + j) * vectors * lanes);
                            let value = if accumulate { V::<T, S>::load(simd, to).add(taps[j]) } else { taps[j] };
                            value.store(to);
                        }
                    }
                }
            }
        }
    }
}
