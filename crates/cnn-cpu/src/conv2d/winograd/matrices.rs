//! The one-dimensional transforms of F(4, 3), each on vectors of channels.
//!
//! Toom-Cook interpolation (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks") at the points 0,
//! +-a, +-b and infinity with a = 5/8, b = 3/2. With `N_p` the product of `p - q` over the other finite points `q`:
//!
//! ```text
//! column p of At = (1, p, p^2, p^3)                              infinity: (0, 0, 0, 1)
//! row    p of G  = (1, p, p^2) / N_p                             infinity: (0, 0, 1)
//! row    p of Bt = coefficients of the product of x - q, q != p  infinity: of all x - q
//!
//!      | m   0   -s    0   1  0 |      s = a^2 + b^2, m = a^2 b^2
//!      | 0 -ab^2 -b^2  a   1  0 |      N_0   = m
//! Bt = | 0  ab^2 -b^2 -a   1  0 |      N_+-a = 2 a^2 (a^2 - b^2)
//!      | 0 -a^2b -a^2  b   1  0 |      N_+-b = 2 b^2 (b^2 - a^2)
//!      | 0  a^2b -a^2 -b   1  0 |
//!      | 0   m    0   -s   0  1 |
//! ```
//!
//! The usual points +-1, +-2 need fewer multiplications and lose two to three times more digits; these are dyadic, so
//! that `A` and `B` are exact in f32.

use cnn_core::Real;

use crate::element::CpuElement;
use crate::simd::{Simd, V, Vector};

/// Points of the transformed domain on one axis.
pub(super) const POINTS: usize = 6;
/// Outputs of a tile on one axis.
pub(super) const SIDE: usize = 4;
/// Taps of the kernel on one axis.
pub(super) const TAPS: usize = 3;

const A: f64 = 0.625;
const B: f64 = 1.5;
const A2: f64 = A * A;
const B2: f64 = B * B;
const S: f64 = A2 + B2;
const M: f64 = A2 * B2;
/// Reciprocals of N_0, N_a, N_b.
const N0: f64 = 1.0 / M;
const NA: f64 = 1.0 / (2.0 * A2 * (A2 - B2));
const NB: f64 = 1.0 / (2.0 * B2 * (B2 - A2));

/// A constant in all lanes.
#[inline(always)]
fn k<T: CpuElement, I: Simd>(simd: I, value: f64) -> V<T, I> {
    V::<T, I>::splat(simd, T::Accum::from_f64(value))
}

/// Bt d: six inputs to six points.
#[inline(always)]
pub(super) fn input<T: CpuElement, I: Simd>(simd: I, d: [V<T, I>; 6]) -> [V<T, I>; 6] {
    let (a, b, a2, b2) = (k::<T, I>(simd, A), k::<T, I>(simd, B), k::<T, I>(simd, A2), k::<T, I>(simd, B2));
    let (s, m) = (k::<T, I>(simd, -S), k::<T, I>(simd, M));
    let (even_a, odd_a) = (d[2].neg_mul_add(b2, d[4]), d[1].neg_mul_add(b2, d[3]));
    let (even_b, odd_b) = (d[2].neg_mul_add(a2, d[4]), d[1].neg_mul_add(a2, d[3]));
    [
        d[0].mul_add(m, d[2].mul_add(s, d[4])),
        odd_a.mul_add(a, even_a),
        odd_a.neg_mul_add(a, even_a),
        odd_b.mul_add(b, even_b),
        odd_b.neg_mul_add(b, even_b),
        d[1].mul_add(m, d[3].mul_add(s, d[5])),
    ]
}

/// At m: six points to four outputs.
#[inline(always)]
pub(super) fn output<T: CpuElement, I: Simd>(simd: I, m: [V<T, I>; 6]) -> [V<T, I>; 4] {
    let (a2, b2) = (k::<T, I>(simd, A2), k::<T, I>(simd, B2));
    let (sum_a, sum_b) = (m[1].add(m[2]), m[3].add(m[4]));
    let odd_a = m[1].sub(m[2]).mul(k::<T, I>(simd, A));
    let odd_b = m[3].sub(m[4]).mul(k::<T, I>(simd, B));
    [
        m[0].add(sum_a.add(sum_b)),
        odd_a.add(odd_b),
        sum_a.mul_add(a2, sum_b.mul(b2)),
        odd_a.mul_add(a2, odd_b.mul_add(b2, m[5])),
    ]
}

/// A dy, the transpose of [`output`]: the gradients of four outputs to those of six points.
#[inline(always)]
pub(super) fn gradient<T: CpuElement, I: Simd>(simd: I, y: [V<T, I>; 4]) -> [V<T, I>; 6] {
    let (a, b, a2, b2) = (k::<T, I>(simd, A), k::<T, I>(simd, B), k::<T, I>(simd, A2), k::<T, I>(simd, B2));
    let (even_a, odd_a) = (y[2].mul_add(a2, y[0]), y[3].mul_add(a2, y[1]));
    let (even_b, odd_b) = (y[2].mul_add(b2, y[0]), y[3].mul_add(b2, y[1]));
    [
        y[0],
        odd_a.mul_add(a, even_a),
        odd_a.neg_mul_add(a, even_a),
        odd_b.mul_add(b, even_b),
        odd_b.neg_mul_add(b, even_b),
        y[3],
    ]
}

/// G w: three taps to six points.
#[inline(always)]
pub(super) fn weight<T: CpuElement, I: Simd>(simd: I, w: [V<T, I>; 3]) -> [V<T, I>; 6] {
    let even_a = w[2].mul_add(k::<T, I>(simd, A2), w[0]).mul(k::<T, I>(simd, NA));
    let even_b = w[2].mul_add(k::<T, I>(simd, B2), w[0]).mul(k::<T, I>(simd, NB));
    let (odd_a, odd_b) = (w[1].mul(k::<T, I>(simd, A * NA)), w[1].mul(k::<T, I>(simd, B * NB)));
    [w[0].mul(k::<T, I>(simd, N0)), even_a.add(odd_a), even_a.sub(odd_a), even_b.add(odd_b), even_b.sub(odd_b), w[2]]
}

/// Gt du, the transpose of [`weight`]: the gradients of six points to those of three taps.
#[inline(always)]
pub(super) fn weight_gradient<T: CpuElement, I: Simd>(simd: I, u: [V<T, I>; 6]) -> [V<T, I>; 3] {
    let even_a = u[1].add(u[2]).mul(k::<T, I>(simd, NA));
    let even_b = u[3].add(u[4]).mul(k::<T, I>(simd, NB));
    let (odd_a, odd_b) = (u[1].sub(u[2]), u[3].sub(u[4]));
    [
        u[0].mul_add(k::<T, I>(simd, N0), even_a.add(even_b)),
        odd_a.mul_add(k::<T, I>(simd, A * NA), odd_b.mul(k::<T, I>(simd, B * NB))),
        even_a.mul_add(k::<T, I>(simd, A2), even_b.mul_add(k::<T, I>(simd, B2), u[5])),
    ]
}
