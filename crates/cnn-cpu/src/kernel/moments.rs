//! Mean and variance of a convolution's output, taken while it is in the cache.
//!
//! Each task takes them of the piece it has just written, in two passes: the mean, then the squared deviations from it.
//! The pieces are combined in f64, again in two passes and in their order:
//!
//! ```text
//! mean = sum n_i mean_i / sum n_i,   M2 = sum M2_i + n_i (mean_i - mean)^2
//! ```

use cnn_core::backend::Moments;
use cnn_core::{Real, Result};
use num_traits::One;

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::chunks;

/// Takes the moments of `pixels` pixels from `y` on, `pitch` elements apart, over `channels` channels: writes the means
/// to `mean` and the sums of squared deviations to `squares`.
pub(crate) struct Piece<T: CpuElement> {
    pub(crate) y: *const T,
    pub(crate) pitch: usize,
    pub(crate) pixels: usize,
    pub(crate) channels: usize,
    pub(crate) mean: *mut T::Accum,
    pub(crate) squares: *mut T::Accum,
}

impl<T: CpuElement> Piece<T> {
    /// # Safety
    /// The pixels can be read, and the results written by nobody else.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(self, simd: S) {
        simd.outline(Take(self));
    }
}

struct Take<T: CpuElement>(Piece<T>);

impl<T: CpuElement> SimdKernel for Take<T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Piece { y, pitch, pixels, channels, mean, squares } = self.0;
        let lanes = V::<T, S>::LANES;
        let inverse = V::<T, S>::splat(simd, T::Accum::one() / T::Accum::from_f64(pixels as f64));
        for c in (0..channels).step_by(lanes) {
            let n = lanes.min(channels - c);
            // SAFETY: the caller of Piece::run promises these pixels and results.
            unsafe {
                let load = |p: usize| {
                    let at = y.add(p * pitch + c);
                    if n == lanes { T::load(simd, at) } else { T::load_head(simd, at, n) }
                };
                let m = total::<T, S>(simd, pixels, |sum, p| sum.add(load(p))).mul(inverse);
                let squares_of = |sum: V<T, S>, p: usize| {
                    let d = load(p).sub(m);
                    d.mul_add(d, sum)
                };
                let sum = total::<T, S>(simd, pixels, squares_of);
                m.store_head(mean.add(c), n);
                sum.store_head(squares.add(c), n);
            }
        }
    }
}

/// The sum of a term for each pixel: in four registers, which hides the latency of the addition, and in runs of 64,
/// which keeps the rounding small.
#[inline(always)]
fn total<T: CpuElement, S: Simd>(simd: S, pixels: usize, term: impl Fn(V<T, S>, usize) -> V<T, S>) -> V<T, S> {
    let mut total = V::<T, S>::zero(simd);
    for start in (0..pixels).step_by(64) {
        let mut sums = [V::<T, S>::zero(simd); 4];
        let run = (pixels - start).min(64);
        for p in (start..start + run / 4 * 4).step_by(4) {
            for i in 0..4 {
                sums[i] = term(sums[i], p + i);
            }
        }
        for p in start + run / 4 * 4..start + run {
            sums[0] = term(sums[0], p);
        }
        total = total.add(sums[0].add(sums[1]).add(sums[2].add(sums[3])));
    }
    total
}

/// Combines the moments of pieces, `[pieces][2][channels]`; `pixels` gives the size of piece `i`.
pub(crate) fn combine<T: CpuElement>(
    cpu: &Cpu<T>,
    pieces: &[T::Accum],
    channels: usize,
    pixels: impl Fn(usize) -> usize + Sync,
) -> Result<Moments<Cpu<T>>> {
    const CHANNELS: usize = 32; // of a task
    let (mut mean, mut variance) = (cpu.alloc(channels)?, cpu.alloc(channels)?);
    let total: usize = (0..pieces.len() / (2 * channels)).map(&pixels).sum();
    let out = (chunks(mean.make_mut()?, CHANNELS), chunks(variance.make_mut()?, CHANNELS));
    cpu.for_each_part(out, |task, (mean, variance)| {
        let (mut sums, mut squares) = ([0.0f64; CHANNELS], [0.0f64; CHANNELS]);
        let first = task * CHANNELS;
        for (i, piece) in pieces.chunks_exact(2 * channels).enumerate() {
            let n = pixels(i) as f64;
            for (sum, m) in sums.iter_mut().zip(&piece[first..][..mean.len()]) {
                *sum += n * m.as_f64();
            }
        }
        sums.iter_mut().for_each(|sum| *sum /= total as f64);
        for (i, piece) in pieces.chunks_exact(2 * channels).enumerate() {
            let n = pixels(i) as f64;
            let (means, deviations) = piece.split_at(channels);
            for c in 0..mean.len() {
                let d = means[first + c].as_f64() - sums[c];
                squares[c] += deviations[first + c].as_f64() + n * d * d;
            }
        }
        for c in 0..mean.len() {
            mean[c] = T::Accum::from_f64(sums[c]);
            variance[c] = T::Accum::from_f64(squares[c] / total as f64);
        }
    });
    Ok(Moments { mean, variance })
}
