//! Arrays of 16 bytes that the compiler turns into whatever vectors the target has: SSE2, NEON, SIMD128.

use std::array::from_fn;

use half::bf16;

#[cfg(target_arch = "x86_64")]
use super::x86::x86_memory;

use super::{Bf16Vector, Simd, SimdKernel, Vector};

/// The token of the portable path, which every CPU has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable(());

impl Portable {
    pub(super) fn new() -> Self {
        Portable(())
    }
}

/// 16 bytes of numbers.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub(super) struct Array<E, const N: usize>([E; N]);

/// Registers beside those of 16-register x86: AArch64 has 32.
const WIDE: bool = cfg!(target_arch = "aarch64");

impl Simd for Portable {
    type F32 = Array<f32, 4>;
    type F64 = Array<f64, 2>;
    const PIXELS: usize = if WIDE { 10 } else { 4 };

    #[inline(never)]
    fn outline<K: SimdKernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[cfg(target_arch = "x86_64")]
    x86_memory!();
}

macro_rules! array {
    ($e:ty, $n:literal: $($i:literal)*) => {
        impl Vector<$e> for Array<$e, $n> {
            type Simd = Portable;
            const LANES: usize = $n;

            #[inline(always)]
            fn splat(_: Portable, value: $e) -> Self {
                Array([value; $n])
            }
            #[inline(always)]
            unsafe fn load(_: Portable, from: *const $e) -> Self {
                // SAFETY: the caller's promise; an array has the alignment of its elements.
                Array(unsafe { from.cast::<[$e; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn load_head(_: Portable, from: *const $e, n: usize) -> Self {
                // SAFETY: only lanes below n are read, which the caller promises.
                Array([$(if $i < n { unsafe { *from.add($i) } } else { 0.0 }),*])
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $e) {
                // SAFETY: the caller's promise.
                unsafe { to.cast::<[$e; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn store_head(self, to: *mut $e, n: usize) {
                for i in 0..n.min($n) {
                    // SAFETY: i is below n, which the caller promises.
                    unsafe { *to.add(i) = self.0[i] }
                }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Array([$(self.0[$i] + other.0[$i]),*])
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Array([$(self.0[$i] - other.0[$i]),*])
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Array([$(self.0[$i] * other.0[$i]),*])
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                Array([$(self.0[$i] / other.0[$i]),*])
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, term: Self) -> Self {
                // Without the instruction a fused multiply-add is a function call.
                const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
                Array([$(if FUSED {
                    self.0[$i].mul_add(factor.0[$i], term.0[$i])
                } else {
                    self.0[$i] * factor.0[$i] + term.0[$i]
                }),*])
            }
            #[inline(always)]
            fn neg_mul_add(self, factor: Self, term: Self) -> Self {
                Array([$(-self.0[$i]),*]).mul_add(factor, term)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                Array([$(if other.0[$i] > self.0[$i] { other.0[$i] } else { self.0[$i] }),*])
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                Array([$(if other.0[$i] < self.0[$i] { other.0[$i] } else { self.0[$i] }),*])
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Array([$(self.0[$i].sqrt()),*])
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Array([$(self.0[$i].abs()),*])
            }
            #[inline(always)]
            fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
                Array([$(if self.0[$i] > other.0[$i] { yes.0[$i] } else { no.0[$i] }),*])
            }
            #[inline(always)]
            fn spread(self, group: usize, i: usize) -> Self {
                Array([$(self.0[($i & !(group - 1)) + i]),*])
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // Adding this puts the biased exponent into the low bits of the mantissa.
                const BIAS: $e = 1.5 / <$e>::EPSILON + (<$e>::MAX_EXP - 1) as $e;
                Array([$(<$e>::from_bits((self.0[$i] + BIAS).to_bits() << (<$e>::MANTISSA_DIGITS - 1))),*])
            }
            #[inline(always)]
            fn reduce_sum(self) -> $e {
                super::vector::halve(self.0, |a, b| a + b)
            }
            #[inline(always)]
            fn reduce_max(self) -> $e {
                super::vector::halve(self.0, |a, b| if b > a || b.is_nan() { b } else { a })
            }
        }
    };
}

array!(f32, 4: 0 1 2 3);
array!(f64, 2: 0 1);

impl Bf16Vector for Array<f32, 4> {
    #[inline(always)]
    unsafe fn load_half(_: Portable, from: *const bf16) -> Self {
        // SAFETY: the caller's promise; an array has the alignment of its elements.
        let halves = unsafe { from.cast::<[u16; 4]>().read_unaligned() };
        Array(halves.map(|half| f32::from_bits(u32::from(half) << 16)))
    }
    #[inline(always)]
    unsafe fn load_half_head(_: Portable, from: *const bf16, n: usize) -> Self {
        // SAFETY: only lanes below n are read, which the caller promises.
        Array(from_fn(|i| if i < n { f32::from_bits(u32::from(unsafe { *from.add(i) }.to_bits()) << 16) } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut bf16) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[bf16; 4]>().write_unaligned(self.0.map(bf16::from_f32)) }
    }
    #[inline(always)]
    unsafe fn store_half_head(self, to: *mut bf16, n: usize) {
        for i in 0..n.min(4) {
            // SAFETY: i is below n, which the caller promises.
            unsafe { *to.add(i) = bf16::from_f32(self.0[i]) }
        }
    }
    #[inline(always)]
    unsafe fn concat(self, next: Self) -> Self {
        let half = |i: usize| u32::from(bf16::from_f32(if i < 4 { self.0[i] } else { next.0[i - 4] }).to_bits());
        Array(from_fn(|i| f32::from_bits(half(2 * i + 1) << 16 | half(2 * i))))
    }
    #[inline(always)]
    unsafe fn zip(self, other: Self) -> Self {
        let half = |x: f32| u32::from(bf16::from_f32(x).to_bits());
        Array(from_fn(|i| f32::from_bits(half(other.0[i]) << 16 | half(self.0[i]))))
    }
    #[inline(always)]
    unsafe fn dot(self, factor: Self, sum: Self) -> Self {
        let lower = |words: Self| Array(words.0.map(|word| f32::from_bits(word.to_bits() << 16)));
        let upper = |words: Self| Array(words.0.map(|word| f32::from_bits(word.to_bits() & 0xFFFF_0000)));
        upper(self).mul_add(upper(factor), lower(self).mul_add(lower(factor), sum))
    }
}
