//! AVX2 with FMA: 16 registers of 32 bytes.

use std::arch::x86_64::*;
use std::hint::black_box;

use half::bf16;

use super::vector::halve;
use super::x86::{owned, x86_memory, x86_vector};
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

    x86_memory!();
}

/// Lanes below n are all ones: what the masked moves read.
static HEAD32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
static HEAD64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

x86_vector! {
    F32x8: [f32; 8] of Avx2;
    load: _mm256_loadu_ps; store: _mm256_storeu_ps; stream: _mm256_stream_ps; splat: _mm256_set1_ps;
    add: _mm256_add_ps; sub: _mm256_sub_ps; mul: _mm256_mul_ps; div: _mm256_div_ps; sqrt: _mm256_sqrt_ps;
    mul_add: _mm256_fmadd_ps; neg_mul_add: _mm256_fnmadd_ps; max: _mm256_max_ps; min: _mm256_min_ps;
    to_bits: _mm256_castps_si256; shift_left: _mm256_slli_epi32::<i32>; from_bits: _mm256_castsi256_ps;
    // n up to the lanes keeps the mask inside its table.
    load_head: |from, n| { _mm256_maskload_ps(from, _mm256_loadu_si256(HEAD32.as_ptr().add(8 - n).cast())) };
    store_head: |to, value, n| {
        _mm256_maskstore_ps(to, _mm256_loadu_si256(HEAD32.as_ptr().add(8 - n).cast()), value)
    };
    abs: |x| { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) };
    select_greater: |a, b, yes, no| { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) };
    spread: |x, group, i| {{
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let first = _mm256_andnot_si256(_mm256_set1_epi32(group as i32 - 1), lanes);
        _mm256_permutevar8x32_ps(x, _mm256_add_epi32(first, _mm256_set1_epi32(i as i32)))
    }};
}

x86_vector! {
    F64x4: [f64; 4] of Avx2;
    load: _mm256_loadu_pd; store: _mm256_storeu_pd; stream: _mm256_stream_pd; splat: _mm256_set1_pd;
    add: _mm256_add_pd; sub: _mm256_sub_pd; mul: _mm256_mul_pd; div: _mm256_div_pd; sqrt: _mm256_sqrt_pd;
    mul_add: _mm256_fmadd_pd; neg_mul_add: _mm256_fnmadd_pd; max: _mm256_max_pd; min: _mm256_min_pd;
    to_bits: _mm256_castpd_si256; shift_left: _mm256_slli_epi64::<i32>; from_bits: _mm256_castsi256_pd;
    // n up to the lanes keeps the mask inside its table.
    load_head: |from, n| { _mm256_maskload_pd(from, _mm256_loadu_si256(HEAD64.as_ptr().add(4 - n).cast())) };
    store_head: |to, value, n| {
        _mm256_maskstore_pd(to, _mm256_loadu_si256(HEAD64.as_ptr().add(4 - n).cast()), value)
    };
    abs: |x| { _mm256_andnot_pd(_mm256_set1_pd(-0.0), x) };
    select_greater: |a, b, yes, no| { _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_GT_OQ>(a, b)) };
    // By halves of numbers: the instruction for whole ones takes a constant only.
    spread: |x, group, i| {{
        let halves = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let first = _mm256_andnot_si256(_mm256_set1_epi32(2 * (group as i32 - 1)), halves);
        let at = _mm256_add_epi32(first, _mm256_set1_epi32(2 * i as i32));
        _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(x), at))
    }};
}

impl F32x8 {
    #[inline(always)]
    fn from_half(halves: __m128i) -> Self {
        F32x8(owned!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))))
    }

    /// The upper halves, rounded to the nearest, ties to even.
    #[inline(always)]
    fn to_half(self) -> __m128i {
        owned!({
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
        })
    }
}

impl Bf16Vector for F32x8 {
    #[inline(always)]
    unsafe fn load_half(_: Avx2, from: *const bf16) -> Self {
        // SAFETY: there is a token; the pointer is the caller's promise.
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
        // SAFETY: there is a token; the pointer is the caller's promise.
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
    unsafe fn concat(self, next: Self) -> Self {
        F32x8(owned!(_mm256_castsi256_ps(_mm256_set_m128i(next.to_half(), self.to_half()))))
    }
    #[inline(always)]
    unsafe fn zip(self, other: Self) -> Self {
        F32x8(owned!({
            let upper = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(other.to_half()));
            _mm256_castsi256_ps(_mm256_or_si256(upper, _mm256_cvtepu16_epi32(self.to_half())))
        }))
    }
    #[inline(always)]
    unsafe fn dot(self, factor: Self, sum: Self) -> Self {
        owned!({
            let [a, b] = [_mm256_castps_si256(self.0), _mm256_castps_si256(factor.0)];
            let lower = |words| F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)));
            let upper = |words| F32x8(_mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(-0x10000))));
            upper(a).mul_add(upper(b), lower(a).mul_add(lower(b), sum))
        })
    }
}
