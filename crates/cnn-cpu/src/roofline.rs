//! What this CPU can do at most: the yardstick that benchmarks hold a kernel against.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use num_traits::One;

use crate::Cpu;
use crate::element::{CpuElement, CpuReal};
use crate::simd::{Kernel, Simd, V, Vector};

/// GFLOP/s of nothing but independent multiply-adds in the registers of `cpu`'s instruction set, on all its threads, for
/// about `seconds`. A multiply-add counts as two.
pub fn fma_peak<T: CpuElement>(cpu: &Cpu<T>, seconds: f64) -> f64 {
    /// Rounds between two looks at the clock: some fifty microseconds.
    const ROUNDS: usize = 10_000;
    let (start, rounds) = (Instant::now(), AtomicUsize::new(0));
    // One task a thread, each as long as the whole measurement, so that the threads' waking up does not count.
    cpu.for_each(cpu.threads(), |_| {
        while {
            cpu.run(MulAdds(ROUNDS, T::Accum::one()));
            rounds.fetch_add(ROUNDS, Relaxed);
            start.elapsed().as_secs_f64() < seconds
        } {}
    });
    let per_round = 2 * MulAdds::<T::Accum>::CHAINS * cpu.isa().lanes::<T>();
    (rounds.into_inner() * per_round) as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// This many rounds of one multiply-add in each chain.
struct MulAdds<R>(usize, R);

impl<R> MulAdds<R> {
    /// Enough to fill two pipelines of five cycles, few enough for 16 registers.
    const CHAINS: usize = 12;
}

impl<R: CpuReal> Kernel for MulAdds<R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let number = |x: f64| V::<R, S>::splat(simd, black_box(R::from_f64(x)));
        let mut chains = [V::<R, S>::splat(simd, self.1); 12];
        let (factor, term) = (number(0.999), number(0.001));
        for _ in 0..self.0 {
            for chain in &mut chains {
                *chain = chain.mul_add(factor, term);
            }
        }
        black_box(chains.map(|chain| chain.reduce_sum()));
    }
}
