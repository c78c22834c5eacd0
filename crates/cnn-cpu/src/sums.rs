//! Sums over the rows of a \[rows, channels\] matrix.
//!
//! Some vectors of channels at a time, so that memory is read in stretches and the sums stay in registers; a few rows are
//! added before they join the running sums, which are shorter and rounded less for it.

use cnn_core::backend::{Data, Wide};
use cnn_core::{Real, Result};

use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::scratch::Scratch;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, chunks};
use cnn_core::backend::check;

/// Rows of a part: a part is read twice by some passes, and stays in the second-level cache. Where there are few
/// channels it is smaller, to keep its sums short.
pub(crate) fn rows_of_part(channels: usize) -> usize {
    (CHUNK / channels.max(1)).clamp(4, 1024)
}

/// What is summed, `N` numbers for each element of the matrix. All is `#[inline(always)]`, like everything a kernel calls.
pub(crate) trait Terms<T: CpuElement, const N: usize> {
    /// What the terms of some channels have in common.
    type Common<S: Simd>: Copy;
    /// The same, for the `n` channels from `c` on.
    fn common<S: Simd>(&self, simd: S, c: usize, n: usize) -> Self::Common<S>;
    /// The terms of the `n` elements from `at` on.
    fn of<S: Simd>(&mut self, simd: S, common: &Self::Common<S>, at: usize, n: usize) -> [V<T, S>; N];
}

/// The elements themselves.
pub(crate) struct Itself<'a, T>(pub(crate) &'a [T]);

impl<T: CpuElement> Terms<T, 1> for Itself<'_, T> {
    type Common<S: Simd> = ();
    #[inline(always)]
    fn common<S: Simd>(&self, _: S, _: usize, _: usize) {}
    #[inline(always)]
    fn of<S: Simd>(&mut self, simd: S, (): &(), at: usize, n: usize) -> [V<T, S>; 1] {
        [T::read(simd, &self.0[at..][..n])]
    }
}

/// Sums terms over `rows` rows into `sums` \[N, channels\].
#[inline(always)]
pub(crate) fn add_rows<T: CpuElement, S: Simd, const N: usize>(
    simd: S,
    rows: usize,
    channels: usize,
    mut terms: impl Terms<T, N>,
    sums: &mut [T::Accum],
) {
    const WIDE: usize = 4; // vectors
    let lanes = V::<T, S>::LANES;
    let mut c = 0;
    while c + WIDE * lanes <= channels {
        add_columns::<T, S, N, WIDE>(simd, rows, channels, [c, lanes], &mut terms, sums);
        c += WIDE * lanes;
    }
    while c < channels {
        let n = lanes.min(channels - c);
        add_columns::<T, S, N, 1>(simd, rows, channels, [c, n], &mut terms, sums);
        c += n;
    }
}

/// Sums terms over all rows of `W` vectors of `n` channels, the first of them `c`.
#[inline(always)]
fn add_columns<T: CpuElement, S: Simd, const N: usize, const W: usize>(
    simd: S,
    rows: usize,
    channels: usize,
    [c, n]: [usize; 2],
    terms: &mut impl Terms<T, N>,
    sums: &mut [T::Accum],
) {
    const FEW: usize = 16; // rows
    let zero = V::<T, S>::zero(simd);
    let mut common = [terms.common::<S>(simd, c, n); W];
    for w in 1..W {
        common[w] = terms.common::<S>(simd, c + w * n, n);
    }
    let mut totals = [[zero; N]; W];
    for first in (0..rows).step_by(FEW) {
        let mut few = [[zero; N]; W];
        for row in first..rows.min(first + FEW) {
            for w in 0..W {
                let of = terms.of::<S>(simd, &common[w], row * channels + c + w * n, n);
                for i in 0..N {
                    few[w][i] = few[w][i].add(of[i]);
                }
            }
        }
        for w in 0..W {
            for i in 0..N {
                totals[w][i] = totals[w][i].add(few[w][i]);
            }
        }
    }
    for w in 0..W {
        for i in 0..N {
            totals[w][i].write(&mut sums[i * channels + c + w * n..][..n]);
        }
    }
}

/// Adds up the sums of all parts, `[parts][width]`, in their order.
pub(crate) fn combine<T: CpuElement>(cpu: &Cpu<T>, parts: &[T::Accum], width: usize) -> Result<Scratch<f64>> {
    struct Combine<'a, R>(&'a [R], &'a mut [f64]);
    impl<R: CpuReal> SimdKernel for Combine<'_, R> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            self.1.fill(0.0);
            for part in self.0.chunks_exact(self.1.len().max(1)) {
                self.1.iter_mut().zip(part).for_each(|(total, sum)| *total += sum.as_f64());
            }
        }
    }
    let mut totals = cpu.scratch(width)?;
    cpu.run(Combine(parts, &mut totals));
    Ok(totals)
}

pub(crate) fn sum_rows<T: CpuElement>(cpu: &Cpu<T>, x: &Data<Cpu<T>>, channels: usize) -> Result<Wide<Cpu<T>>> {
    struct Sum<'a, T: CpuElement> {
        x: &'a [T],
        channels: usize,
        sums: &'a mut [T::Accum],
    }
    impl<T: CpuElement> SimdKernel for Sum<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            add_rows::<T, S, 1>(simd, self.x.len() / self.channels, self.channels, Itself(self.x), self.sums);
        }
    }

    check::whole_rows("the summed rows", x.len(), channels)?;
    let (mut sums, width) = (cpu.alloc(channels)?, channels.max(1));
    let part = rows_of_part(channels) * width;
    let mut parts = cpu.scratch::<T::Accum>(x.len().div_ceil(part) * channels)?;
    cpu.for_each_part(chunks(&mut parts, width), |i, sums: &mut [T::Accum]| {
        let x = &x.as_slice()[i * part..];
        cpu.run(Sum { x: &x[..part.min(x.len())], channels, sums });
    });
    let totals = combine(cpu, &parts, channels)?;
    sums.make_mut()?.iter_mut().zip(totals.iter()).for_each(|(sum, &total)| *sum = T::Accum::from_f64(total));
    Ok(sums)
}
