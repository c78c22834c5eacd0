//! What this CPU can do at most: the yardstick that benchmarks hold a kernel against.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use cnn_core::Real;

use crate::Cpu;
use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};

/// GFLOP/s of nothing but independent multiply-adds in the registers of `cpu`'s instruction set, on all its threads, for
/// about `seconds`: of pairs of bf16 where its convolutions multiply those. A multiply-add counts as two.
pub fn fma_peak<T: CpuElement>(cpu: &Cpu<T>, seconds: f64) -> f64 {
    /// Rounds between two looks at the clock: some fifty microseconds.
    const ROUNDS: usize = 10_000;
    let (start, rounds, pairs) = (Instant::now(), AtomicUsize::new(0), cpu.isa().dots());
    // One task a thread, each as long as the whole measurement, so that the threads' waking up does not count.
    cpu.for_each(cpu.threads(), |_| {
        while {
            cpu.run(Rounds::<T> { rounds: ROUNDS, pairs, one: T::Accum::from_f64(1.0) });
            rounds.fetch_add(ROUNDS, Relaxed);
            start.elapsed().as_secs_f64() < seconds
        } {}
    });
    let per_round = 2 * CHAINS * cpu.isa().lanes::<T>() * (1 + usize::from(pairs));
    (rounds.into_inner() * per_round) as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// Sums side by side: enough to fill two pipelines of five cycles, few enough for 16 registers.
const CHAINS: usize = 12;

/// This many rounds of one multiply-add in each chain.
struct Rounds<T: CpuElement> {
    rounds: usize,
    pairs: bool,
    one: T::Accum,
}

impl<T: CpuElement> Kernel for Rounds<T> {
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

impl<T: CpuElement, const PAIRS: bool> Kernel for MulAdds<T, PAIRS> {
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
