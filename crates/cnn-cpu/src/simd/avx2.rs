//! AVX2 with FMA: 16 registers of 32 bytes.

use std::arch::x86_64::*;
use std::hint::black_box;

use half::bf16;

use super::vector::halve;
use super::{Bf16Vector, Simd, SimdKernel, Vector};

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

/// Eight f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct F32x8(__m256);
/// Four f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x4(__m256d);

#[target_feature(enable = "avx2,fma")]
fn run<K: SimdKernel>(simd: Avx2, kernel: K) -> K::Output {
    kernel.run(simd)
}

impl Simd for Avx2 {
    type F32 = F32x8;
    type F64 = F64x4;
    const PIXELS: usize = 6;

    #[inline(always)]
    fn outline<K: SimdKernel>(self, kernel: K) -> K::Output {
        // The compiler drops `inline(never)` from functions with target features, and a pointer that it cannot see
        // through is what keeps a register block from being merged into a function too large to optimise.
        let run: unsafe fn(Avx2, K) -> K::Output = black_box(run::<K>);
        // SAFETY: the token was made by a detection of these features.
        unsafe { run(self, kernel) }
    }
}

/// Lanes below n are all ones: what the masked moves read.
static HEAD32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static HEAD64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

macro_rules! vector {
    ($v:ident, $e:ty, $n:literal, $head:ident, $load:ident, $store:ident, $stream:ident, $maskload:ident, $maskstore:ident, $splat:ident,
     $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $fnmadd:ident, $max:ident, $min:ident, $sqrt:ident,
     $andnot:ident, $cmp:ident, $blendv:ident, $bits:ident, $shift:ident, $number:ident) => {
        // SAFETY of the blocks below that say "token": a vector or a token exists only after a detection of AVX2 and
        // FMA, so the instructions exist.
        impl Vector<$e> for $v {
            type Simd = Avx2;
            const LANES: usize = $n;

            #[inline(always)]
            fn splat(_: Avx2, value: $e) -> Self {
                // SAFETY: token.
                $v(unsafe { $splat(value) })
            }
            #[inline(always)]
            unsafe fn load(_: Avx2, from: *const $e) -> Self {
                // SAFETY: token; the pointer is the caller's promise.
                $v(unsafe { $load(from) })
            }
            #[inline(always)]
            unsafe fn load_head(_: Avx2, from: *const $e, n: usize) -> Self {
                // SAFETY: token; n <= LANES keeps the mask inside its table, and lanes at or past n are not accessed.
                $v(unsafe { $maskload(from, _mm256_loadu_si256($head.as_ptr().add($n - n).cast())) })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $e) {
                // SAFETY: token; the pointer is the caller's promise.
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut $e) {
                // SAFETY: token; the pointer and its alignment are the caller's promise.
                unsafe { $stream(to, self.0) }
            }
            #[inline(always)]
            unsafe fn store_head(self, to: *mut $e, n: usize) {
                // SAFETY: token; n <= LANES keeps the mask inside its table, and lanes at or past n are not accessed.
                unsafe { $maskstore(to, _mm256_loadu_si256($head.as_ptr().add($n - n).cast()), self.0) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $sub(self.0, other.0) })
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $mul(self.0, other.0) })
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $div(self.0, other.0) })
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, term: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $fmadd(self.0, factor.0, term.0) })
            }
            #[inline(always)]
            fn neg_mul_add(self, factor: Self, term: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $fnmadd(self.0, factor.0, term.0) })
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                // SAFETY: token. The instruction returns its second operand unless the first is greater.
                $v(unsafe { $max(other.0, self.0) })
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                // SAFETY: token. The instruction returns its second operand unless the first is less.
                $v(unsafe { $min(other.0, self.0) })
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                // SAFETY: token.
                $v(unsafe { $sqrt(self.0) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                // SAFETY: token.
                $v(unsafe { $andnot($splat(-0.0), self.0) })
            }
            #[inline(always)]
            fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $blendv(no.0, yes.0, $cmp::<_CMP_GT_OQ>(self.0, other.0)) })
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // Adding this puts the biased exponent into the low bits of the mantissa.
                const BIAS: $e = 1.5 / <$e>::EPSILON + (<$e>::MAX_EXP - 1) as $e;
                // SAFETY: token.
                $v(unsafe {
                    $number($shift::<{ <$e>::MANTISSA_DIGITS as i32 - 1 }>($bits($add(self.0, $splat(BIAS)))))
                })
            }
            #[inline(always)]
            fn reduce_sum(self) -> $e {
                let mut lanes = [0.0; $n];
                // SAFETY: token; the array has this many lanes.
                unsafe { $store(lanes.as_mut_ptr(), self.0) };
                halve(lanes, |a, b| a + b)
            }
            #[inline(always)]
            fn reduce_max(self) -> $e {
                let mut lanes = [0.0; $n];
                // SAFETY: token; the array has this many lanes.
                unsafe { $store(lanes.as_mut_ptr(), self.0) };
                halve(lanes, |a, b| if b > a || b.is_nan() { b } else { a })
            }
        }
    };
}

vector!(
    F32x8,
    f32,
    8,
    HEAD32,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_stream_ps,
    _mm256_maskload_ps,
    _mm256_maskstore_ps,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_fnmadd_ps,
    _mm256_max_ps,
    _mm256_min_ps,
    _mm256_sqrt_ps,
    _mm256_andnot_ps,
    _mm256_cmp_ps,
    _mm256_blendv_ps,
    _mm256_castps_si256,
    _mm256_slli_epi32,
    _mm256_castsi256_ps
);
vector!(
    F64x4,
    f64,
    4,
    HEAD64,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_stream_pd,
    _mm256_maskload_pd,
    _mm256_maskstore_pd,
    _mm256_set1_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_div_pd,
    _mm256_fmadd_pd,
    _mm256_fnmadd_pd,
    _mm256_max_pd,
    _mm256_min_pd,
    _mm256_sqrt_pd,
    _mm256_andnot_pd,
    _mm256_cmp_pd,
    _mm256_blendv_pd,
    _mm256_castpd_si256,
    _mm256_slli_epi64,
    _mm256_castsi256_pd
);

impl F32x8 {
    #[inline(always)]
    fn from_half(halves: __m128i) -> Self {
        // SAFETY: the halves were loaded with a token.
        F32x8(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))) })
    }

    /// The upper halves, rounded to the nearest, ties to even.
    #[inline(always)]
    fn to_half(self) -> __m128i {
        // SAFETY: a vector exists only after a detection of AVX2.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let upper = _mm256_srli_epi32::<16>(bits);
            let odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
            let quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            let halves = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(rounded), quiet, nan);
            // Packed within each half of the register, and the two halves brought together.
            let packed = _mm256_permute4x64_epi64::<0b10_00_10_00>(_mm256_packus_epi32(halves, halves));
            _mm256_castsi256_si128(packed)
        }
    }
}

impl Bf16Vector for F32x8 {
    #[inline(always)]
    unsafe fn load_half(_: Avx2, from: *const bf16) -> Self {
        // SAFETY: token; the pointer is the caller's promise.
        F32x8::from_half(unsafe { _mm_loadu_si128(from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_half_head(simd: Avx2, from: *const bf16, n: usize) -> Self {
        if n == 8 {
            // SAFETY: the caller's promise.
            return unsafe { Self::load_half(simd, from) };
        }
        let mut lanes = [bf16::ZERO; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: i is below n, which the caller promises.
            *lane = unsafe { *from.add(i) };
        }
        // SAFETY: the array has eight numbers.
        unsafe { Self::load_half(simd, lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut bf16) {
        // SAFETY: token; the pointer is the caller's promise.
        unsafe { _mm_storeu_si128(to.cast(), self.to_half()) }
    }
    #[inline(always)]
    unsafe fn store_half_head(self, to: *mut bf16, n: usize) {
        if n == 8 {
            // SAFETY: the caller's promise.
            return unsafe { self.store_half(to) };
        }
        let mut lanes = [bf16::ZERO; 8];
        // SAFETY: the array has room for eight numbers.
        unsafe { self.store_half(lanes.as_mut_ptr()) };
        for (i, lane) in lanes.into_iter().enumerate().take(n) {
            // SAFETY: i is below n, which the caller promises.
            unsafe { *to.add(i) = lane };
        }
    }
    #[inline(always)]
    fn concat(self, next: Self) -> Self {
        // SAFETY: token.
        F32x8(unsafe { _mm256_castsi256_ps(_mm256_set_m128i(next.to_half(), self.to_half())) })
    }
    #[inline(always)]
    fn zip(self, other: Self) -> Self {
        // SAFETY: token.
        F32x8(unsafe {
            let upper = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(other.to_half()));
            _mm256_castsi256_ps(_mm256_or_si256(upper, _mm256_cvtepu16_epi32(self.to_half())))
        })
    }
    #[inline(always)]
    unsafe fn dot(self, factor: Self, sum: Self) -> Self {
        // SAFETY: token.
        unsafe {
            let [a, b] = [_mm256_castps_si256(self.0), _mm256_castps_si256(factor.0)];
            let lower = |words| F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)));
            let upper = |words| F32x8(_mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(-0x10000))));
            upper(a).mul_add(upper(b), lower(a).mul_add(lower(b), sum))
        }
    }
}
