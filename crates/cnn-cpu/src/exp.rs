//! The exponential function, the sigmoid and the Gaussian tail, a vector at a time.
//!
//! One algorithm serves both precisions: series whose later terms are too small for f32 are cut for it.

use cnn_core::{DType, Element, Real};
use num_traits::Float;

use crate::element::{CpuElement, V};
use crate::simd::{Simd, Vector};

/// 1 / k!
const TAYLOR: [f64; 13] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
];

/// A constant. Not a closure: the compiler may leave a closure out of line, and then without the instruction set.
#[inline(always)]
pub(crate) fn number<T: CpuElement, S: Simd>(simd: S, value: f64) -> V<T, S> {
    V::<T, S>::splat(simd, T::Accum::from_f64(value))
}

/// e^x for x <= 0, 0 where that is below the normal numbers, NaN for NaN.
///
/// With n the whole number nearest to x / ln 2, it is 2^n e^(x - n ln 2), the second factor by its Taylor series:
/// |x - n ln 2| is at most 0.35.
#[inline(always)]
pub(crate) fn exp<T: CpuElement, S: Simd>(simd: S, x: V<T, S>) -> V<T, S> {
    // ln 2 in two pieces, of which the first has so few bits that its product with n is exact.
    const LN_2: [f64; 2] = [0.693_359_375, -2.121_944_400_546_905_8e-4];
    let (terms, lowest) = match T::Accum::DTYPE {
        DType::F64 => (13, -708.39), // ln 2^-1022
        _ => (8, -87.33),            // ln 2^-126
    };
    let lowest = number::<T, S>(simd, lowest);
    let inside = x.max(lowest);
    // A number this large has no room for a fraction.
    let whole = V::<T, S>::splat(simd, T::Accum::from_f64(1.5) / T::Accum::epsilon());
    let n = inside.mul_add(number::<T, S>(simd, std::f64::consts::LOG2_E), whole).sub(whole);
    let r = n.neg_mul_add(number::<T, S>(simd, LN_2[1]), n.neg_mul_add(number::<T, S>(simd, LN_2[0]), inside));
    let mut series = number::<T, S>(simd, TAYLOR[terms - 1]);
    for k in (0..terms - 1).rev() {
        series = series.mul_add(r, number::<T, S>(simd, TAYLOR[k]));
    }
    lowest.select_greater(x, V::<T, S>::zero(simd), series.mul(n.pow2()))
}

/// 1 / (1 + e^-x), by the power that is at most 1.
#[inline(always)]
pub(crate) fn sigmoid<T: CpuElement, S: Simd>(simd: S, x: V<T, S>) -> V<T, S> {
    let (zero, one) = (V::<T, S>::zero(simd), number::<T, S>(simd, 1.0));
    let power = exp::<T, S>(simd, zero.sub(x.abs()));
    let upper = one.div(one.add(power));
    x.select_greater(zero, upper, power.mul(upper))
}

/// Chebyshev coefficients of (1 + 2z) exp(z^2) erfc(z) over t = (z - K) / (z + K), K = 3.75, which maps all z >= 0 to
/// -1..1: Shepherd and Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity",
/// Mathematics of Computation 36, 1981. The first 12 are enough for f32.
const ERFC: [f64; 24] = [
    1.177_578_934_567_401_8,
    -4.590_054_580_646_477e-3,
    -8.424_913_336_651_792e-2,
    5.920_993_999_819_189e-2,
    -2.665_866_843_530_575_2e-2,
    9.074_997_670_705_265e-3,
    -2.413_163_540_417_608e-3,
    4.907_758_365_258_086e-4,
    -6.916_973_302_501_206e-5,
    4.139_027_986_073_01e-6,
    7.740_383_066_198_849e-7,
    -2.188_640_104_923_44e-7,
    1.076_499_946_567_091e-8,
    4.521_959_811_218_287e-9,
    -7.754_400_208_831_135e-10,
    -6.318_034_088_488_67e-11,
    2.868_795_010_930_67e-11,
    1.945_586_854_577_735e-13,
    -9.654_696_748_433_44e-13,
    3.252_548_148_154_799e-14,
    3.347_811_948_286_805e-14,
    -1.864_562_880_419_313e-15,
    -1.250_795_053_068_865e-15,
    7.418_235_256_624_043e-17,
];

/// The Gaussian distribution function at -|x|, and exp(-x^2 / 2).
#[inline(always)]
pub(crate) fn gaussian_tail<T: CpuElement, S: Simd>(simd: S, x: V<T, S>) -> (V<T, S>, V<T, S>) {
    let density = exp::<T, S>(simd, x.mul(x).mul(number::<T, S>(simd, -0.5)));
    // Far out, where the density is 0, any z will do; an infinite one would make NaN.
    let z = x.abs().mul(number::<T, S>(simd, std::f64::consts::FRAC_1_SQRT_2)).min(number::<T, S>(simd, 1e3));
    let t = z.sub(number::<T, S>(simd, 3.75)).div(z.add(number::<T, S>(simd, 3.75)));
    // Clenshaw's recurrence.
    let terms = if T::Accum::DTYPE == DType::F64 { ERFC.len() } else { 12 };
    let twice = t.add(t);
    let (mut last, mut before) = (number::<T, S>(simd, ERFC[terms - 1]), V::<T, S>::zero(simd));
    for k in (1..terms - 1).rev() {
        (last, before) = (twice.mul_add(last, number::<T, S>(simd, ERFC[k])).sub(before), last);
    }
    let series = t.mul_add(last, number::<T, S>(simd, ERFC[0])).sub(before);
    let scaled = series.div(z.mul_add(number::<T, S>(simd, 2.0), number::<T, S>(simd, 1.0)));
    (scaled.mul(density).mul(number::<T, S>(simd, 0.5)), density)
}
