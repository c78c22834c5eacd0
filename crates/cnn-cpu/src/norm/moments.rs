//! Mean and variance of every channel.
//!
//! Of each part in two passes, the mean and then the squared deviations from it, while it is in the cache; the parts are
//! combined as those of a convolution's output.

use cnn_core::backend::{Data, Moments};
use cnn_core::{BatchNormSpec, Real, Result};

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::moments::combine;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::sums::{Itself, Terms, add_rows, rows_of_part};
use crate::threads::chunks;
use cnn_core::backend::check;

pub(crate) fn channel_moments<T: CpuElement>(
    cpu: &Cpu<T>,
    x: &Data<Cpu<T>>,
    spec: &BatchNormSpec,
) -> Result<Moments<Cpu<T>>> {
    let BatchNormSpec { rows, channels, .. } = *spec;
    check::length("the activation", x.len(), check::numel(rows, channels)?)?;
    if channels == 0 {
        return Ok(Moments { mean: cpu.alloc(0)?, variance: cpu.alloc(0)? });
    }
    let rows_of_part = rows_of_part(channels);
    let part = rows_of_part * channels;
    let mut parts = cpu.scratch::<T::Accum>(rows.div_ceil(rows_of_part) * 2 * channels)?;
    cpu.for_each_part(chunks(&mut parts, 2 * channels), |i, out: &mut [T::Accum]| {
        let x = &x.as_slice()[i * part..];
        let (mean, squares) = out.split_at_mut(channels);
        cpu.run(Part { x: &x[..part.min(x.len())], mean, squares });
    });
    combine(cpu, &parts, channels, |i| rows_of_part.min(rows - i * rows_of_part))
}

/// Takes the means and the sums of squared deviations of a part.
struct Part<'a, T: CpuElement> {
    x: &'a [T],
    mean: &'a mut [T::Accum],
    squares: &'a mut [T::Accum],
}

struct Deviations<'a, T: CpuElement> {
    x: &'a [T],
    mean: &'a [T::Accum],
}

impl<T: CpuElement> Terms<T, 1> for Deviations<'_, T> {
    type Common<S: Simd> = V<T, S>;
    #[inline(always)]
    fn common<S: Simd>(&self, simd: S, c: usize, n: usize) -> V<T, S> {
        V::<T, S>::read(simd, &self.mean[c..][..n])
    }
    #[inline(always)]
    fn of<S: Simd>(&mut self, simd: S, mean: &V<T, S>, at: usize, n: usize) -> [V<T, S>; 1] {
        let d = T::read(simd, &self.x[at..][..n]).sub(*mean);
        [d.mul(d)]
    }
}

impl<T: CpuElement> SimdKernel for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { x, mean, squares } = self;
        let channels = mean.len();
        let rows = x.len() / channels;
        add_rows::<T, S, 1>(simd, rows, channels, Itself(x), mean);
        let inverse = T::Accum::from_f64(1.0 / rows as f64);
        mean.iter_mut().for_each(|mean| *mean *= inverse);
        add_rows::<T, S, 1>(simd, rows, channels, Deviations { x, mean }, squares);
    }
}
