//! AVX-512: 32 registers of 64 bytes, with masks.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::mem::transmute;

use half::bf16;

use super::vector::halve;
use super::{Bf16Vector, Simd, SimdKernel, Vector};

/// Proof that the CPU has AVX-512 F, VL, DQ and BW, and whether it has BF16 too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512 {
    dots: bool,
}

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        all.then(|| Avx512 { dots: is_x86_feature_detected!("avx512bf16") })
    }

    /// Whether the CPU multiplies pairs of bf16.
    pub(super) fn dots(self) -> bool {
        self.dots
    }

    /// The same without that.
    pub(super) fn without_dots(self) -> Self {
        Avx512 { dots: false }
    }
}

/// Sixteen f32.
#[derive(Clone, Copy, Debug)]
pub(super) struct F32x16(__m512);
/// Eight f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct F64x8(__m512d);

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn run<K: SimdKernel>(simd: Avx512, kernel: K) -> K::Output {
    kernel.run(simd)
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")]
fn run_dots<K: SimdKernel>(simd: Avx512, kernel: K) -> K::Output {
    kernel.run(simd)
}

impl Simd for Avx512 {
    type F32 = F32x16;
    type F64 = F64x8;
    const PIXELS: usize = 14;
    const DOTS: bool = true;

    #[inline(always)]
    fn outline<K: SimdKernel>(self, kernel: K) -> K::Output {
        // The compiler drops `inline(never)` from functions with target features, and a pointer that it cannot see
        // through is what keeps a register block from being merged into a function too large to optimise.
        let run: unsafe fn(Avx512, K) -> K::Output = black_box(run::<K>);
        // SAFETY: the token was made by a detection of these features.
        unsafe { run(self, kernel) }
    }

    #[inline(always)]
    fn outline_dots<K: SimdKernel>(self, kernel: K) -> K::Output {
        assert!(self.dots, "this CPU does not multiply pairs of bf16");
        let run: unsafe fn(Avx512, K) -> K::Output = black_box(run_dots::<K>); // as above
        // SAFETY: the token was made by a detection of these features, AVX512-BF16 too.
        unsafe { run(self, kernel) }
    }
}

/// The mask of the lanes below `n`.
macro_rules! head {
    ($mask:ty, $n:expr) => {
        ((1u32 << $n) - 1) as $mask
    };
}

macro_rules! vector {
    ($v:ident, $e:ty, $n:literal, $mask:ty, $load:ident, $store:ident, $stream:ident, $maskload:ident, $maskstore:ident, $splat:ident,
     $add:ident, $sub:ident, $mul:ident, $div:ident, $fmadd:ident, $fnmadd:ident, $max:ident, $min:ident, $sqrt:ident,
     $abs:ident, $cmp:ident, $blend:ident, $bits:ident, $shift:ident, $number:ident) => {
        // SAFETY of the blocks below that say "token": a vector or a token exists only after a detection of AVX-512, so the instructions exist.
        impl Vector<$e> for $v {
            type Simd = Avx512;
            const LANES: usize = $n;

            #[inline(always)]
            fn splat(_: Avx512, value: $e) -> Self {
                // SAFETY: token.
                $v(unsafe { $splat(value) })
            }
            #[inline(always)]
            unsafe fn load(_: Avx512, from: *const $e) -> Self {
                // SAFETY: token; the pointer is the caller's promise.
                $v(unsafe { $load(from) })
            }
            #[inline(always)]
            unsafe fn load_head(_: Avx512, from: *const $e, n: usize) -> Self {
                // SAFETY: token; lanes at or past n are not accessed.
                $v(unsafe { $maskload(head!($mask, n), from) })
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
                // SAFETY: token; lanes at or past n are not accessed.
                unsafe { $maskstore(to, head!($mask, n), self.0) }
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
                $v(unsafe { $abs(self.0) })
            }
            #[inline(always)]
            fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
                // SAFETY: token.
                $v(unsafe { $blend($cmp::<_CMP_GT_OQ>(self.0, other.0), no.0, yes.0) })
            }
            #[inline(always)]
            fn pow2(self) -> Self {
                // Adding this puts the biased exponent into the low bits of the mantissa.
                const BIAS: $e = 1.5 / <$e>::EPSILON + (<$e>::MAX_EXP - 1) as $e;
                // SAFETY: token.
                $v(unsafe {
                    $number($shift::<{ <$e>::MANTISSA_DIGITS as u32 - 1 }>($bits($add(self.0, $splat(BIAS)))))
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
    F32x16,
    f32,
    16,
    __mmask16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_stream_ps,
    _mm512_maskz_loadu_ps,
    _mm512_mask_storeu_ps,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_fnmadd_ps,
    _mm512_max_ps,
    _mm512_min_ps,
    _mm512_sqrt_ps,
    _mm512_abs_ps,
    _mm512_cmp_ps_mask,
    _mm512_mask_blend_ps,
    _mm512_castps_si512,
    _mm512_slli_epi32,
    _mm512_castsi512_ps
);
vector!(
    F64x8,
    f64,
    8,
    __mmask8,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_stream_pd,
    _mm512_maskz_loadu_pd,
    _mm512_mask_storeu_pd,
    _mm512_set1_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_div_pd,
    _mm512_fmadd_pd,
    _mm512_fnmadd_pd,
    _mm512_max_pd,
    _mm512_min_pd,
    _mm512_sqrt_pd,
    _mm512_abs_pd,
    _mm512_cmp_pd_mask,
    _mm512_mask_blend_pd,
    _mm512_castpd_si512,
    _mm512_slli_epi64,
    _mm512_castsi512_pd
);

impl F32x16 {
    #[inline(always)]
    fn from_half(halves: __m256i) -> Self {
        // SAFETY: the halves were loaded with a token.
        F32x16(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) })
    }

    /// The upper halves, rounded to the nearest, ties to even. Not the instruction of AVX512-BF16, which takes subnormal
    /// numbers for zero.
    #[inline(always)]
    fn to_half(self) -> __m256i {
        // SAFETY: a vector exists only after a detection of AVX-512.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let upper = _mm512_srli_epi32::<16>(bits);
            let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
            let quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, _mm512_srli_epi32::<16>(rounded), quiet))
        }
    }
}

impl Bf16Vector for F32x16 {
    #[inline(always)]
    unsafe fn load_half(_: Avx512, from: *const bf16) -> Self {
        // SAFETY: token; the pointer is the caller's promise.
        F32x16::from_half(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_half_head(_: Avx512, from: *const bf16, n: usize) -> Self {
        // SAFETY: token; lanes at or past n are not accessed.
        F32x16::from_half(unsafe { _mm256_maskz_loadu_epi16(head!(__mmask16, n), from.cast()) })
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut bf16) {
        // SAFETY: token; the pointer is the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), self.to_half()) }
    }
    #[inline(always)]
    unsafe fn store_half_head(self, to: *mut bf16, n: usize) {
        // SAFETY: token; lanes at or past n are not accessed.
        unsafe { _mm256_mask_storeu_epi16(to.cast(), head!(__mmask16, n), self.to_half()) }
    }
    #[inline(always)]
    fn concat(self, next: Self) -> Self {
        // SAFETY: token.
        F32x16(unsafe {
            _mm512_castsi512_ps(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(self.to_half()), next.to_half()))
        })
    }
    #[inline(always)]
    fn zip(self, other: Self) -> Self {
        // SAFETY: token.
        F32x16(unsafe {
            let upper = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(other.to_half()));
            _mm512_castsi512_ps(_mm512_or_si512(upper, _mm512_cvtepu16_epi32(self.to_half())))
        })
    }
    #[inline(always)]
    unsafe fn dot(self, factor: Self, sum: Self) -> Self {
        // SAFETY: only `outline_dots` of a token that was detected to have AVX512-BF16 leads here, the caller promises;
        // both types are 64 bytes of which all bits count.
        unsafe {
            let [a, b] = [self, factor].map(|words| transmute::<__m512, __m512bh>(words.0));
            F32x16(_mm512_dpbf16_ps(sum.0, a, b))
        }
    }
}
