//! What this CPU can do at most: the yardstick that benchmarks hold a kernel against.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use cnn_core::{Real, Result};

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::tiles::{Product, ROW, ROWS, Tiles};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::chunks;

/// GFLOP/s of nothing but independent multiply-adds in the registers of `cpu`'s instruction set, on all its threads, for
/// about `seconds`: of pairs of bf16 where its convolutions multiply those, and of tiles that the first-level cache holds
/// where they multiply these. A multiply-add counts as two.
pub fn fma_peak<T: CpuElement>(cpu: &Cpu<T>, seconds: f64) -> f64 {
    /// Rounds between two looks at the clock: some fifty microseconds, of products of tiles a hundredth as many.
    const ROUNDS: usize = 10_000;
    let (start, rounds, pairs) = (Instant::now(), AtomicUsize::new(0), cpu.isa().dots());
    if let Some(tiles) = cpu.isa().tiles() {
        cpu.for_each(cpu.threads(), |_| {
            while {
                multiply_tiles(tiles, ROUNDS / 100);
                rounds.fetch_add(ROUNDS / 100, Relaxed);
                start.elapsed().as_secs_f64() < seconds
            } {}
        });
        // Four products of two tiles, of pairs in each of their words.
        let per_round = STEPS * 4 * 2 * 2 * ROWS * ROWS * ROWS;
        return (rounds.into_inner() * per_round) as f64 / start.elapsed().as_secs_f64() * 1e-9;
    }
    // One task a thread, each as long as the whole measurement, so that the threads' waking up does not count.
    cpu.for_each(cpu.threads(), |_| {
        while {
            cpu.run(Rounds::<T> { rounds: ROUNDS, pairs, one: T::Accum::from_f64(1.0) });
            rounds.fetch_add(ROUNDS, Relaxed);
            start.elapsed().as_secs_f64() < seconds
        } {}
    });
    let per_round = 2 * CHAINS * cpu.lanes() * (1 + usize::from(pairs));
    (rounds.into_inner() * per_round) as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// Steps of a product of tiles: as many as hide that its sums are stored.
const STEPS: usize = 144;

/// So many products of two tiles of rows and two of columns, always the same ones.
fn multiply_tiles(tiles: Tiles, rounds: usize) {
    #[repr(align(64))]
    struct Words([f32; 4 * ROWS * ROWS]);
    let (operands, mut sums) = (Words([0.0; 4 * ROWS * ROWS]), Words([0.0; 4 * ROWS * ROWS]));
    let mut loaded = tiles.begin();
    loaded.shape([ROWS; 2], 2);
    for _ in 0..rounds {
        let start = black_box(operands.0.as_ptr()).cast::<u8>();
        let product = Product {
            a: start,
            a_row: ROW,
            a_second: ROWS * ROW,
            b: start.wrapping_add(2 * ROWS * ROW),
            b_row: 2 * ROW,
            steps: &[[0; 2]; STEPS],
            sums: sums.0.as_mut_ptr(),
            add: false,
        };
        // SAFETY: the operands are two tiles of a and two of b, and there are four of sums.
        unsafe { loaded.run(product) };
    }
    black_box(&sums.0);
}

/// Sums side by side: enough to fill two pipelines of five cycles, few enough for 16 registers.
const CHAINS: usize = 12;

/// This many rounds of one multiply-add in each chain.
struct Rounds<T: CpuElement> {
    rounds: usize,
    pairs: bool,
    one: T::Accum,
}

impl<T: CpuElement> SimdKernel for Rounds<T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if const { T::PAIRS && S::DOTS } && self.pairs {
            simd.outline_dots(MulAdds::<T, true>(self));
        } else {
            MulAdds::<T, false>(self).run(simd);
        }
    }
}

struct MulAdds<T: CpuElement, const PAIRS: bool>(Rounds<T>);

impl<T: CpuElement, const PAIRS: bool> SimdKernel for MulAdds<T, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let number = |x: f64| V::<T, S>::splat(simd, black_box(T::Accum::from_f64(x)));
        let mut chains = [V::<T, S>::splat(simd, self.0.one); CHAINS];
        let (factor, term) = (number(0.999), number(0.001));
        for _ in 0..self.0.rounds {
            for chain in &mut chains {
                *chain = if PAIRS {
                    // SAFETY: with pairs only `outline_dots` runs this.
                    unsafe { T::dot::<S>(factor, term, *chain) }
                } else {
                    chain.mul_add(factor, term)
                };
            }
        }
        black_box(chains.map(|chain| chain.reduce_sum()));
    }
}

/// GB/s of the triad `a = b + 3 c` (J. McCalpin's STREAM) over arrays of f32 that no cache holds, on all threads of
/// `cpu`: the best pass of about `seconds` of them. What the program reads and writes counts, and not what a store reads
/// first.
///
/// # Errors
/// No memory for the arrays.
pub fn memory_bandwidth<T: CpuElement>(cpu: &Cpu<T>, seconds: f64) -> Result<f64> {
    /// 64 MiB an array, and 1 MiB of it a task.
    const LEN: usize = 16 << 20;
    const PART: usize = 256 << 10;
    let (mut a, b, c) = (cpu.filled(LEN, 0.0f32)?, cpu.filled(LEN, 1.0f32)?, cpu.filled(LEN, 2.0f32)?);
    let (start, mut best) = (Instant::now(), 0f64);
    while {
        let pass = Instant::now();
        cpu.for_each_part(chunks(a.make_mut()?, PART), |i, a: &mut [f32]| {
            let part = i * PART..i * PART + a.len();
            cpu.run(Triad { a, b: &b.as_slice()[part.clone()], c: &c.as_slice()[part] });
        });
        best = best.max((3 * LEN * size_of::<f32>()) as f64 / pass.elapsed().as_secs_f64());
        start.elapsed().as_secs_f64() < seconds
    } {}
    Ok(best * 1e-9)
}

/// `a = b + 3 c`.
struct Triad<'a> {
    a: &'a mut [f32],
    b: &'a [f32],
    c: &'a [f32],
}

impl SimdKernel for Triad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Triad { a, b, c } = self;
        let (lanes, factor) = (V::<f32, S>::LANES, V::<f32, S>::splat(simd, 3.0));
        for ((a, b), c) in a.chunks_mut(lanes).zip(b.chunks(lanes)).zip(c.chunks(lanes)) {
            let (b, c) = (V::<f32, S>::read(simd, b), V::<f32, S>::read(simd, c));
            c.mul_add(factor, b).write(a);
        }
    }
}
