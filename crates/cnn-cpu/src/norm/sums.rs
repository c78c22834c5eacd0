//! Sums over the rows of a \[rows, channels\] matrix.
//!
//! Four rows are added in registers before the running sums are touched: a quarter of the traffic, and shorter sums.

use cnn_core::backend::{Data, Wide};
use cnn_core::{Real, Result};
use num_traits::Zero;

use super::rows_of_part;
use crate::Cpu;
use crate::buffer::Scratch;
use crate::element::{CpuElement, CpuReal};
use crate::simd::{Kernel, Simd, V, Vector};
use crate::threads::chunks;

/// What is summed, `N` numbers for each element of the matrix.
pub(super) trait Terms<T: CpuElement, const N: usize> {
    /// The terms of the `n` elements from `at` on, which are in the channels from `c` on. `#[inline(always)]`, like
    /// everything a kernel calls.
    fn of<S: Simd>(&mut self, simd: S, at: usize, c: usize, n: usize) -> [V<T, S>; N];
}

/// Sums terms over `rows` rows into `sums` \[N, channels\].
#[inline(always)]
pub(super) fn add_rows<T: CpuElement, S: Simd, const N: usize>(
    simd: S,
    rows: usize,
    channels: usize,
    mut terms: impl Terms<T, N>,
    sums: &mut [T::Accum],
) {
    sums.fill(T::Accum::zero());
    let lanes = V::<T, S>::LANES;
    let full = channels / lanes * lanes;
    for first in (0..rows).step_by(4) {
        let group = (rows - first).min(4);
        for c in (0..full).step_by(lanes) {
            add_group::<T, S, N>(simd, [first, group], channels, [c, lanes], &mut terms, sums);
        }
        if full < channels {
            add_group::<T, S, N>(simd, [first, group], channels, [full, channels - full], &mut terms, sums);
        }
    }
}

/// Sums terms over up to four rows and one vector of channels.
#[inline(always)]
fn add_group<T: CpuElement, S: Simd, const N: usize>(
    simd: S,
    [first, group]: [usize; 2],
    channels: usize,
    [c, n]: [usize; 2],
    terms: &mut impl Terms<T, N>,
    sums: &mut [T::Accum],
) {
    let at = first * channels + c;
    // No closures here: the compiler may leave one out of line, and then without the instruction set.
    let mut total = terms.of::<S>(simd, at, c, n);
    if group == 4 {
        let second = terms.of::<S>(simd, at + channels, c, n);
        let third = terms.of::<S>(simd, at + 2 * channels, c, n);
        let fourth = terms.of::<S>(simd, at + 3 * channels, c, n);
        for i in 0..N {
            total[i] = total[i].add(second[i]).add(third[i].add(fourth[i]));
        }
    } else {
        for row in 1..group {
            let other = terms.of::<S>(simd, at + row * channels, c, n);
            for i in 0..N {
                total[i] = total[i].add(other[i]);
            }
        }
    }
    for i in 0..N {
        let sum = &mut sums[i * channels + c..][..n];
        V::<T, S>::read(simd, sum).add(total[i]).write(sum);
    }
}

/// Adds up the sums of all parts, `[parts][width]`, in their order.
pub(super) fn combine<T: CpuElement>(cpu: &Cpu<T>, parts: &[T::Accum], width: usize) -> Scratch<f64> {
    struct Combine<'a, R>(&'a [R], &'a mut [f64]);
    impl<R: CpuReal> Kernel for Combine<'_, R> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            self.1.fill(0.0);
            for part in self.0.chunks_exact(self.1.len().max(1)) {
                self.1.iter_mut().zip(part).for_each(|(total, sum)| *total += sum.as_f64());
            }
        }
    }
    let mut totals = cpu.scratch(width);
    cpu.run(Combine(parts, &mut totals));
    totals
}

pub(crate) fn sum_rows<T: CpuElement>(cpu: &Cpu<T>, x: &Data<Cpu<T>>, channels: usize) -> Result<Wide<Cpu<T>>> {
    struct Sum<'a, T: CpuElement> {
        x: &'a [T],
        channels: usize,
        sums: &'a mut [T::Accum],
    }
    struct Itself<'a, T>(&'a [T]);
    impl<T: CpuElement> Terms<T, 1> for Itself<'_, T> {
        #[inline(always)]
        fn of<S: Simd>(&mut self, simd: S, at: usize, _: usize, n: usize) -> [V<T, S>; 1] {
            [T::read(simd, &self.0[at..][..n])]
        }
    }
    impl<T: CpuElement> Kernel for Sum<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            add_rows::<T, S, 1>(simd, self.x.len() / self.channels, self.channels, Itself(self.x), self.sums);
        }
    }

    let (mut sums, width) = (cpu.alloc(channels), channels.max(1));
    let part = rows_of_part(channels) * width;
    let mut parts = cpu.scratch::<T::Accum>(x.len().div_ceil(part) * channels);
    cpu.for_each_part(chunks(&mut parts, width), |i, sums: &mut [T::Accum]| {
        let x = &x.as_slice()[i * part..];
        cpu.run(Sum { x: &x[..part.min(x.len())], channels, sums });
    });
    let totals = combine(cpu, &parts, channels);
    sums.make_mut().iter_mut().zip(totals.iter()).for_each(|(sum, &total)| *sum = T::Accum::from_f64(total));
    Ok(sums)
}
