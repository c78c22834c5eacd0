//! AVX-512: 32 registers of 64 bytes, with masks.

use std::arch::x86_64::*;
use std::hint::black_box;
use std::mem::transmute;

use half::bf16;

use super::tiles::Tiles;
use super::vector::halve;
use super::x86::{owned, x86_memory, x86_vector};
use super::{Bf16Vector, Simd, SimdKernel, Vector};

/// Proof that the CPU has AVX-512 F, VL, DQ and BW, and whether it has BF16 too, and beside that AMX.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512 {
    dots: bool,
    tiles: Option<Tiles>,
}

impl Avx512 {
    /// `tiles` is whether AMX is wanted, for which the system is asked.
    pub(super) fn detect(tiles: bool) -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        let dots = is_x86_feature_detected!("avx512bf16");
        all.then(|| Avx512 { dots, tiles: if dots && tiles { Tiles::detect() } else { None } })
    }

    /// Whether the CPU multiplies pairs of bf16.
    pub(super) fn dots(self) -> bool {
        self.dots
    }

    /// What multiplies tiles of such pairs.
    pub(super) fn tiles(self) -> Option<Tiles> {
        self.tiles
    }

    /// The same without either.
    pub(super) fn without_dots(self) -> Self {
        Avx512 { dots: false, tiles: None }
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

    x86_memory!();
}

/// The mask of the lanes below `n`.
macro_rules! head {
    ($mask:ty, $n:expr) => {
        ((1u32 << $n) - 1) as $mask
    };
}

x86_vector! {
    F32x16: [f32; 16] of Avx512;
    load: _mm512_loadu_ps; store: _mm512_storeu_ps; stream: _mm512_stream_ps; splat: _mm512_set1_ps;
    add: _mm512_add_ps; sub: _mm512_sub_ps; mul: _mm512_mul_ps; div: _mm512_div_ps; sqrt: _mm512_sqrt_ps;
    mul_add: _mm512_fmadd_ps; neg_mul_add: _mm512_fnmadd_ps; max: _mm512_max_ps; min: _mm512_min_ps;
    to_bits: _mm512_castps_si512; shift_left: _mm512_slli_epi32::<u32>; from_bits: _mm512_castsi512_ps;
    load_head: |from, n| { _mm512_maskz_loadu_ps(head!(__mmask16, n), from) };
    store_head: |to, value, n| { _mm512_mask_storeu_ps(to, head!(__mmask16, n), value) };
    abs: |x| { _mm512_abs_ps(x) };
    select_greater: |a, b, yes, no| { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes) };
    spread: |x, group, i| {{
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let first = _mm512_andnot_si512(_mm512_set1_epi32(group as i32 - 1), lanes);
        _mm512_permutexvar_ps(_mm512_add_epi32(first, _mm512_set1_epi32(i as i32)), x)
    }};
}

x86_vector! {
    F64x8: [f64; 8] of Avx512;
    load: _mm512_loadu_pd; store: _mm512_storeu_pd; stream: _mm512_stream_pd; splat: _mm512_set1_pd;
    add: _mm512_add_pd; sub: _mm512_sub_pd; mul: _mm512_mul_pd; div: _mm512_div_pd; sqrt: _mm512_sqrt_pd;
    mul_add: _mm512_fmadd_pd; neg_mul_add: _mm512_fnmadd_pd; max: _mm512_max_pd; min: _mm512_min_pd;
    to_bits: _mm512_castpd_si512; shift_left: _mm512_slli_epi64::<u32>; from_bits: _mm512_castsi512_pd;
    load_head: |from, n| { _mm512_maskz_loadu_pd(head!(__mmask8, n), from) };
    store_head: |to, value, n| { _mm512_mask_storeu_pd(to, head!(__mmask8, n), value) };
    abs: |x| { _mm512_abs_pd(x) };
    select_greater: |a, b, yes, no| { _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(a, b), no, yes) };
    spread: |x, group, i| {{
        let lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
        let first = _mm512_andnot_si512(_mm512_set1_epi64(group as i64 - 1), lanes);
        _mm512_permutexvar_pd(_mm512_add_epi64(first, _mm512_set1_epi64(i as i64)), x)
    }};
}

impl F32x16 {
    #[inline(always)]
    fn from_half(halves: __m256i) -> Self {
        F32x16(owned!(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))))
    }

    /// The upper halves, rounded to the nearest, ties to even. Not the instruction of AVX512-BF16, which takes subnormal
    /// numbers for zero.
    #[inline(always)]
    fn to_half(self) -> __m256i {
        owned!({
            let bits = _mm512_castps_si512(self.0);
            let upper = _mm512_srli_epi32::<16>(bits);
            let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
            let quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, _mm512_srli_epi32::<16>(rounded), quiet))
        })
    }
}

impl Bf16Vector for F32x16 {
    #[inline(always)]
    unsafe fn load_half(_: Avx512, from: *const bf16) -> Self {
        // SAFETY: there is a token; the pointer is the caller's promise.
        F32x16::from_half(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn load_half_head(_: Avx512, from: *const bf16, n: usize) -> Self {
        // SAFETY: there is a token; lanes at or past n are not accessed.
        F32x16::from_half(unsafe { _mm256_maskz_loadu_epi16(head!(__mmask16, n), from.cast()) })
    }
    #[inline(always)]
    unsafe fn store_half(self, to: *mut bf16) {
        // SAFETY: there is a token; the pointer is the caller's promise.
        unsafe { _mm256_storeu_si256(to.cast(), self.to_half()) }
    }
    #[inline(always)]
    unsafe fn store_half_head(self, to: *mut bf16, n: usize) {
        // SAFETY: there is a token; lanes at or past n are not accessed.
        unsafe { _mm256_mask_storeu_epi16(to.cast(), head!(__mmask16, n), self.to_half()) }
    }
    #[inline(always)]
    unsafe fn concat(self, next: Self) -> Self {
        // SAFETY: only `outline_dots` of a token that was detected to have AVX512-BF16 leads here, the caller promises;
        // both types are 64 bytes of which all bits count.
        unsafe { F32x16(transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(next.0, self.0))) }
    }
    #[inline(always)]
    unsafe fn zip(self, other: Self) -> Self {
        // SAFETY: as in `concat`; the indices are those of a table of 32 numbers.
        unsafe {
            let halves = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(other.0, self.0));
            let order: [u16; 32] = const {
                let mut order = [0; 32];
                let mut i = 0;
                while i < 32 {
                    order[i] = (i / 2 + i % 2 * 16) as u16;
                    i += 1;
                }
                order
            };
            let order = _mm512_loadu_si512(order.as_ptr().cast());
            F32x16(_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves)))
        }
    }
    #[inline(always)]
    fn transpose<const N: usize>(_: Avx512, rows: [Self; N]) -> [Self; N] {
        assert_eq!(N, 16);
        let mut rows = rows.map(|row| row.0);
        // Pairs of rows, then fours: afterwards quarter q of register 4g + j is column 4q + j of rows 4g to 4g + 3.
        for i in (0..16).step_by(2) {
            let [a, b] = [rows[i], rows[i + 1]];
            (rows[i], rows[i + 1]) = owned!((_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
        }
        for i in (0..16).step_by(4) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|j| owned!(_mm512_castps_pd(rows[i + j])));
            let fours = owned!([
                _mm512_unpacklo_pd(a, c),
                _mm512_unpackhi_pd(a, c),
                _mm512_unpacklo_pd(b, d),
                _mm512_unpackhi_pd(b, d)
            ]);
            for (j, four) in fours.into_iter().enumerate() {
                rows[i + j] = owned!(_mm512_castpd_ps(four));
            }
        }
        for j in 0..4 {
            let [a, b, c, d] = [rows[j], rows[4 + j], rows[8 + j], rows[12 + j]];
            owned!({
                let (even, odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b));
                let (even_below, odd_below) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xDD>(c, d));
                rows[j] = _mm512_shuffle_f32x4::<0x88>(even, even_below);
                rows[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd, odd_below);
                rows[8 + j] = _mm512_shuffle_f32x4::<0xDD>(even, even_below);
                rows[12 + j] = _mm512_shuffle_f32x4::<0xDD>(odd, odd_below);
            });
        }
        rows.map(F32x16)
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
