//! The one-dimensional transforms, each on vectors of channels.
//!
//! Toom-Cook interpolation (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks") at points that are
//! dyadic, so that `A` and `B` are exact in f32: +-a, +-b, infinity, and for three taps also 0. With `N_p` the product of
//! `p - q` over the other finite points `q`:
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
//! F(4, 3), a stride of one: a = 5/8, b = 3/2. The usual points +-1, +-2 need fewer multiplications and lose two to three
//! times more digits.
//!
//! A stride of two separates even from odd inputs: `y_i = (w_0 x_2i + w_2 x_2i+2) + w_1 x_2i+1`. What is in brackets is
//! F(4, 2) over the even inputs, with the points +-a, +-b and infinity, a = 1/2, b = 5/4 (without 0: `Bt` is the matrix
//! above without its first row and column, `N_+-a = +-2 a (a^2 - b^2)`). The rest are four values that share a weight.
//! So there are again six points, the last of which has four values: 9 multiplications instead of 12, 81 instead of 144
//! in two dimensions.
//!
//! The gradient of its input interleaves two such convolutions (a stride of half): `w_1 d_i` and `w_2 d_i + w_0 d_i+1`.

use std::mem::MaybeUninit;

use cnn_core::Real;

use crate::element::{CpuElement, V};
use crate::simd::{Simd, Vector};

/// Points of the transformed domain on one axis: as many as transformed weights.
pub(super) const POINTS: usize = 6;
/// Outputs of a tile on one axis, where the stride is not half.
pub(super) const SIDE: usize = 4;
/// Taps of the kernel on one axis.
pub(super) const TAPS: usize = 3;

/// The points +-a, +-b.
#[derive(Clone, Copy)]
struct Finite {
    a: f64,
    b: f64,
}

const UNIT: Finite = Finite { a: 0.625, b: 1.5 };
const STRIDED: Finite = Finite { a: 0.5, b: 1.25 };

impl Finite {
    const fn a2(self) -> f64 {
        self.a * self.a
    }

    const fn b2(self) -> f64 {
        self.b * self.b
    }

    /// a^2 + b^2.
    const fn s(self) -> f64 {
        self.a2() + self.b2()
    }

    /// a^2 b^2.
    const fn m(self) -> f64 {
        self.a2() * self.b2()
    }

    /// Reciprocals of 2 a (a^2 - b^2) and of 2 b (b^2 - a^2).
    const fn reciprocals(self) -> [f64; 2] {
        let difference = self.a2() - self.b2();
        [1.0 / (2.0 * self.a * difference), -1.0 / (2.0 * self.b * difference)]
    }

    /// Five inputs to +-a, +-b and infinity.
    #[inline(always)]
    fn inputs<T: CpuElement, I: Simd>(self, simd: I, d: [V<T, I>; 5]) -> [V<T, I>; 5] {
        let (a, b) = (k::<T, I>(simd, self.a), k::<T, I>(simd, self.b));
        let (a2, b2) = (k::<T, I>(simd, self.a2()), k::<T, I>(simd, self.b2()));
        let (even_a, odd_a) = (d[1].neg_mul_add(b2, d[3]), d[0].neg_mul_add(b2, d[2]));
        let (even_b, odd_b) = (d[1].neg_mul_add(a2, d[3]), d[0].neg_mul_add(a2, d[2]));
        [
            odd_a.mul_add(a, even_a),
            odd_a.neg_mul_add(a, even_a),
            odd_b.mul_add(b, even_b),
            odd_b.neg_mul_add(b, even_b),
            d[0].mul_add(k::<T, I>(simd, self.m()), d[2].mul_add(k::<T, I>(simd, -self.s()), d[4])),
        ]
    }

    /// +-a, +-b and infinity to four outputs.
    #[inline(always)]
    fn outputs<T: CpuElement, I: Simd>(self, simd: I, m: [V<T, I>; 5]) -> [V<T, I>; SIDE] {
        let (a2, b2) = (k::<T, I>(simd, self.a2()), k::<T, I>(simd, self.b2()));
        let (sum_a, sum_b) = (m[0].add(m[1]), m[2].add(m[3]));
        let odd_a = m[0].sub(m[1]).mul(k::<T, I>(simd, self.a));
        let odd_b = m[2].sub(m[3]).mul(k::<T, I>(simd, self.b));
        [
            sum_a.add(sum_b),
            odd_a.add(odd_b),
            sum_a.mul_add(a2, sum_b.mul(b2)),
            odd_a.mul_add(a2, odd_b.mul_add(b2, m[4])),
        ]
    }

    /// The transpose of [`outputs`](Self::outputs): four gradients to +-a, +-b and infinity.
    #[inline(always)]
    fn gradients<T: CpuElement, I: Simd>(self, simd: I, y: [V<T, I>; SIDE]) -> [V<T, I>; 5] {
        let (a, b) = (k::<T, I>(simd, self.a), k::<T, I>(simd, self.b));
        let (a2, b2) = (k::<T, I>(simd, self.a2()), k::<T, I>(simd, self.b2()));
        let (even_a, odd_a) = (y[2].mul_add(a2, y[0]), y[3].mul_add(a2, y[1]));
        let (even_b, odd_b) = (y[2].mul_add(b2, y[0]), y[3].mul_add(b2, y[1]));
        [
            odd_a.mul_add(a, even_a),
            odd_a.neg_mul_add(a, even_a),
            odd_b.mul_add(b, even_b),
            odd_b.neg_mul_add(b, even_b),
            y[3],
        ]
    }
}

/// A constant in all lanes.
#[inline(always)]
fn k<T: CpuElement, I: Simd>(simd: I, value: f64) -> V<T, I> {
    V::<T, I>::splat(simd, T::Accum::from_f64(value))
}

/// A line of N inputs or gradients to the values of its six points, the last of which has four if `P` is 9. The lengths
/// name the transform: Bt d for a stride of one (6 to 6), two (9 to 9) or half (5 to 9), A dy for one (4 to 6) or two
/// (4 to 9).
#[inline(always)]
pub(super) fn points<T: CpuElement, I: Simd, const N: usize, const P: usize>(simd: I, d: [V<T, I>; N]) -> [V<T, I>; P] {
    let mut to = [V::<T, I>::zero(simd); P];
    let (finite, first) = match (N, P) {
        (6, 6) => {
            let (s, m) = (k::<T, I>(simd, -UNIT.s()), k::<T, I>(simd, UNIT.m()));
            to[0] = d[0].mul_add(m, d[2].mul_add(s, d[4]));
            (UNIT.inputs::<T, I>(simd, [d[1], d[2], d[3], d[4], d[5]]), 1)
        }
        (4, 6) => {
            to[0] = d[0];
            (UNIT.gradients::<T, I>(simd, [d[0], d[1], d[2], d[3]]), 1)
        }
        (9, 9) => {
            (to[5], to[6], to[7], to[8]) = (d[1], d[3], d[5], d[7]);
            (STRIDED.inputs::<T, I>(simd, [d[0], d[2], d[4], d[6], d[8]]), 0)
        }
        (5, 9) => {
            (to[5], to[6], to[7], to[8]) = (d[0], d[1], d[2], d[3]);
            (STRIDED.inputs::<T, I>(simd, [d[0], d[1], d[2], d[3], d[4]]), 0)
        }
        (4, 9) => {
            (to[5], to[6], to[7], to[8]) = (d[0], d[1], d[2], d[3]);
            (STRIDED.gradients::<T, I>(simd, [d[0], d[1], d[2], d[3]]), 0)
        }
        _ => unreachable!("a line of {N} to {P} values"),
    };
    to[first..first + 5].copy_from_slice(&finite);
    to
}

/// At m: the values of six points to a line of O outputs, for a stride of one (6 to 4), two (9 to 4) or half (9 to 8).
#[inline(always)]
pub(super) fn outputs<T: CpuElement, I: Simd, const P: usize, const O: usize>(
    simd: I,
    m: [V<T, I>; P],
) -> [V<T, I>; O] {
    let mut to = [V::<T, I>::zero(simd); O];
    match (P, O) {
        (6, 4) => {
            let line = UNIT.outputs::<T, I>(simd, [m[1], m[2], m[3], m[4], m[5]]);
            (to[0], to[1], to[2], to[3]) = (line[0].add(m[0]), line[1], line[2], line[3]);
        }
        (9, 4) => {
            let line = STRIDED.outputs::<T, I>(simd, [m[0], m[1], m[2], m[3], m[4]]);
            for i in 0..SIDE {
                to[i] = line[i].add(m[5 + i]);
            }
        }
        (9, 8) => {
            let line = STRIDED.outputs::<T, I>(simd, [m[0], m[1], m[2], m[3], m[4]]);
            for i in 0..SIDE {
                (to[2 * i], to[2 * i + 1]) = (m[5 + i], line[i]);
            }
        }
        _ => unreachable!("{P} values to a line of {O} outputs"),
    }
    to
}

/// A square of which the columns are transformed, and then each row of the results: `N` columns of `P` values each.
pub(super) struct ColumnsDone<Reg, const N: usize, const P: usize>([[MaybeUninit<Reg>; N]; P]);

impl<Reg: Copy, const N: usize, const P: usize> ColumnsDone<Reg, N, P> {
    /// Nothing yet: filling so many registers' worth with zeros would take as long as a transform.
    #[inline(always)]
    pub(super) fn new() -> Self {
        ColumnsDone([[MaybeUninit::uninit(); N]; P])
    }

    /// Sets column `j`.
    #[inline(always)]
    pub(super) fn set(&mut self, j: usize, column: [Reg; P]) {
        for i in 0..P {
            self.0[i][j] = MaybeUninit::new(column[i]);
        }
    }

    /// Row `i`.
    ///
    /// # Safety
    /// All columns are set.
    #[inline(always)]
    pub(super) unsafe fn row(&self, i: usize) -> [Reg; N] {
        // SAFETY: every element is in a column, and the caller promises all of these.
        unsafe { *self.0[i].as_ptr().cast::<[Reg; N]>() }
    }
}

/// G w: three taps to six points.
#[inline(always)]
pub(super) fn weight<T: CpuElement, I: Simd, const TWO: bool>(simd: I, w: [V<T, I>; TAPS]) -> [V<T, I>; POINTS] {
    let finite = if TWO { STRIDED } else { UNIT };
    let ([na, nb], Finite { a, b }) = (finite.reciprocals(), finite);
    let (even, odd) = if TWO {
        let even = [w[2].mul(k::<T, I>(simd, a * na)), w[2].mul(k::<T, I>(simd, b * nb))];
        (even, [w[0].mul(k::<T, I>(simd, na)), w[0].mul(k::<T, I>(simd, nb))])
    } else {
        let even_a = w[2].mul_add(k::<T, I>(simd, a * a), w[0]).mul(k::<T, I>(simd, na / a));
        let even_b = w[2].mul_add(k::<T, I>(simd, b * b), w[0]).mul(k::<T, I>(simd, nb / b));
        ([even_a, even_b], [w[1].mul(k::<T, I>(simd, na)), w[1].mul(k::<T, I>(simd, nb))])
    };
    let [pa, ma] = [even[0].add(odd[0]), even[0].sub(odd[0])];
    let [pb, mb] = [even[1].add(odd[1]), even[1].sub(odd[1])];
    if TWO { [pa, ma, pb, mb, w[2], w[1]] } else { [w[0].mul(k::<T, I>(simd, 1.0 / UNIT.m())), pa, ma, pb, mb, w[2]] }
}

/// Gt du, the transpose of [`weight`]: the gradients of six points to those of three taps.
#[inline(always)]
pub(super) fn weight_gradient<T: CpuElement, I: Simd, const TWO: bool>(
    simd: I,
    u: [V<T, I>; POINTS],
) -> [V<T, I>; TAPS] {
    let (finite, first) = if TWO { (STRIDED, 0) } else { (UNIT, 1) };
    let ([na, nb], Finite { a, b }) = (finite.reciprocals(), finite);
    let [pa, ma, pb, mb] = [u[first], u[first + 1], u[first + 2], u[first + 3]];
    let (sum_a, odd_a, sum_b, odd_b) = (pa.add(ma), pa.sub(ma), pb.add(mb), pb.sub(mb));
    let odd = odd_a.mul_add(k::<T, I>(simd, na), odd_b.mul(k::<T, I>(simd, nb)));
    if TWO {
        let even = sum_a.mul_add(k::<T, I>(simd, a * na), sum_b.mul_add(k::<T, I>(simd, b * nb), u[4]));
        [odd, u[5], even]
    } else {
        let (even_a, even_b) = (sum_a.mul(k::<T, I>(simd, na / a)), sum_b.mul(k::<T, I>(simd, nb / b)));
        [
            u[0].mul_add(k::<T, I>(simd, 1.0 / UNIT.m()), even_a.add(even_b)),
            odd,
            even_a.mul_add(k::<T, I>(simd, a * a), even_b.mul_add(k::<T, I>(simd, b * b), u[5])),
        ]
    }
}
