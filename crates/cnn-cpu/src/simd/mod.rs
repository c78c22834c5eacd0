//! Loops written once for every instruction set.
//!
//! A kernel is generic over [`Simd`], a token that can only be had from [`Isa::detect`] on a CPU that has the
//! instruction set; holding one is what makes the vector operations safe. The compiler may use an instruction set only
//! inside functions marked with it, so [`Simd::outline`] is such a function, and everything a kernel calls must be
//! `#[inline(always)]` to end up inside it. Work is parallelised outside: a closure handed to another thread would
//! leave the marked function.
//!
//! The number of lanes is fixed by the instruction set: results may differ between two instruction sets, but not
//! between two runs on one.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod portable;
#[cfg(test)]
mod tests;
pub(crate) mod tiles;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::Isa;
pub(crate) use isa::NAMES;
pub(crate) use vector::{Bf16Vector, Vector};

/// An instruction set that this CPU has.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector of f32.
    type F32: Bf16Vector<Simd = Self>;
    /// A vector of f64.
    type F64: Vector<f64, Simd = Self>;
    /// The most rows of a register block of two vectors a row (pixels of a convolution, channels of a weight gradient):
    /// what the registers hold beside two vectors of weights and one broadcast.
    const PIXELS: usize;

    /// Whether there may be an instruction for [`Bf16Vector::dot`]. Without it pairs of bf16 are not worth their packing.
    const DOTS: bool = false;

    /// Runs a kernel as a function of its own, compiled for this instruction set.
    fn outline<K: SimdKernel>(self, kernel: K) -> K::Output;

    /// Asks for the line at `at`, which need not exist, to be brought into the first-level cache: a hint.
    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        let _ = at;
    }

    /// The same for the second-level cache.
    #[inline(always)]
    fn prefetch_far<T>(self, at: *const T) {
        let _ = at;
    }

    /// Orders what was written by [`Vector::stream`] before all that this thread writes after.
    #[inline(always)]
    fn fence(self) {}

    /// The same as [`outline`](Self::outline), with the instruction for [`Bf16Vector::dot`].
    ///
    /// # Panics
    /// This CPU does not have it.
    fn outline_dots<K: SimdKernel>(self, kernel: K) -> K::Output {
        assert!(!Self::DOTS, "an instruction set that has the instruction brings it in");
        self.outline(kernel)
    }
}

/// A loop written for every instruction set. `run` and all it calls are `#[inline(always)]`.
pub trait SimdKernel {
    /// What the loop returns.
    type Output;
    /// The loop.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
