//! The operations of a vector register.
//!
//! They are methods that return values, so that a kernel reads as arithmetic; all are `#[inline(always)]`.

use half::bf16;

use super::Simd;

/// A register of `LANES` numbers. Making one takes the token of its instruction set.
pub trait Vector<E: Copy + Default>: Copy {
    /// The instruction set.
    type Simd: Simd;
    /// How many numbers there are.
    const LANES: usize;

    /// All lanes `value`.
    fn splat(simd: Self::Simd, value: E) -> Self;
    /// The numbers at `from`, which need not be aligned.
    ///
    /// # Safety
    /// `from` is valid for reads of `LANES` numbers.
    unsafe fn load(simd: Self::Simd, from: *const E) -> Self;
    /// The first `n <= LANES` numbers at `from`, zeros after them. Memory past them is not touched.
    ///
    /// # Safety
    /// `from` is valid for reads of `n` numbers, and `n <= LANES`.
    unsafe fn load_head(simd: Self::Simd, from: *const E, n: usize) -> Self;
    /// Writes all lanes to `to`, which need not be aligned.
    ///
    /// # Safety
    /// `to` is valid for writes of `LANES` numbers.
    unsafe fn store(self, to: *mut E);
    /// Writes all lanes to `to` without first bringing its line into a cache, where the instruction set can: for what is
    /// too large to be still in a cache when it is read. Other threads see it after a [`Simd::fence`].
    ///
    /// # Safety
    /// `to` is valid for writes of `LANES` numbers, and aligned to their size.
    #[inline(always)]
    unsafe fn stream(self, to: *mut E) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }
    /// Writes the first `n <= LANES` lanes. Memory past them is not touched.
    ///
    /// # Safety
    /// `to` is valid for writes of `n` numbers, and `n <= LANES`.
    unsafe fn store_head(self, to: *mut E, n: usize);

    /// self + other.
    fn add(self, other: Self) -> Self;
    /// self - other.
    fn sub(self, other: Self) -> Self;
    /// self * other.
    fn mul(self, other: Self) -> Self;
    /// self / other.
    fn div(self, other: Self) -> Self;
    /// self * factor + term, rounded once where the instruction set can.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// term - self * factor, rounded once where the instruction set can.
    fn neg_mul_add(self, factor: Self, term: Self) -> Self;
    /// `other` where it is greater, else `self`: NaN in `self` stays, NaN in `other` does not enter.
    fn max(self, other: Self) -> Self;
    /// `other` where it is less, else `self`: NaN in `self` stays, NaN in `other` does not enter.
    fn min(self, other: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Without the sign.
    fn abs(self) -> Self;
    /// `yes` where `self > other`, else `no` (also where either is NaN).
    fn select_greater(self, other: Self, yes: Self, no: Self) -> Self;
    /// 2 to the power of lanes that are whole numbers within the exponents of normal numbers.
    fn pow2(self) -> Self;
    /// Lane `l` of the result is lane `l / group * group + i`: number `i` of every `group` numbers, a power of two below the
    /// lanes, in the place of each of them.
    fn spread(self, group: usize, i: usize) -> Self;
    /// The sum of the lanes: halves added until one is left.
    fn reduce_sum(self) -> E;
    /// The greatest lane, NaN if there is one.
    fn reduce_max(self) -> E;

    /// All lanes 0.
    #[inline(always)]
    fn zero(simd: Self::Simd) -> Self {
        Self::splat(simd, E::default())
    }

    /// The first `min(LANES, from.len())` numbers of a slice, zeros after them.
    #[inline(always)]
    fn read(simd: Self::Simd, from: &[E]) -> Self {
        if from.len() >= Self::LANES {
            // SAFETY: the slice has at least LANES numbers.
            unsafe { Self::load(simd, from.as_ptr()) }
        } else {
            // SAFETY: the slice has this many numbers, fewer than LANES.
            unsafe { Self::load_head(simd, from.as_ptr(), from.len()) }
        }
    }

    /// Writes the first `min(LANES, to.len())` lanes to a slice.
    #[inline(always)]
    fn write(self, to: &mut [E]) {
        if to.len() >= Self::LANES {
            // SAFETY: the slice has room for LANES numbers.
            unsafe { self.store(to.as_mut_ptr()) }
        } else {
            // SAFETY: the slice has room for this many numbers, fewer than LANES.
            unsafe { self.store_head(to.as_mut_ptr(), to.len()) }
        }
    }
}

/// A vector of f32 that is kept in memory as bf16: read exactly, written rounded to nearest, ties to even. Every
/// instruction set rounds alike, subnormal numbers too, and a NaN stays one (as a quiet one).
pub trait Bf16Vector: Vector<f32> {
    /// The numbers at `from`, which need not be aligned.
    ///
    /// # Safety
    /// `from` is valid for reads of `LANES` numbers.
    unsafe fn load_half(simd: Self::Simd, from: *const bf16) -> Self;
    /// The first `n <= LANES` numbers at `from`, zeros after them. Memory past them is not touched.
    ///
    /// # Safety
    /// `from` is valid for reads of `n` numbers, and `n <= LANES`.
    unsafe fn load_half_head(simd: Self::Simd, from: *const bf16, n: usize) -> Self;
    /// Writes all lanes to `to`, which need not be aligned.
    ///
    /// # Safety
    /// `to` is valid for writes of `LANES` numbers.
    unsafe fn store_half(self, to: *mut bf16);
    /// Writes the first `n <= LANES` lanes. Memory past them is not touched.
    ///
    /// # Safety
    /// `to` is valid for writes of `n` numbers, and `n <= LANES`.
    unsafe fn store_half_head(self, to: *mut bf16, n: usize);

    /// Words of two bf16 that are neighbours: the lanes of `self` and then those of `next`, rounded, two in a word. A
    /// word is kept as the f32 of the same bits. Subnormal numbers may become zero, as they count for [`dot`](Self::dot).
    ///
    /// # Safety
    /// The kernel runs in [`Simd::outline_dots`], where the instruction set has [`Simd::DOTS`].
    unsafe fn concat(self, next: Self) -> Self;
    /// Words of a lane of `self`, rounded, in the lower half and of `other` in the upper; otherwise as
    /// [`concat`](Self::concat).
    ///
    /// # Safety
    /// As `concat`.
    unsafe fn zip(self, other: Self) -> Self;
    /// Rows and columns exchanged of as many rows as there are lanes.
    #[inline(always)]
    fn transpose<const N: usize>(simd: Self::Simd, rows: [Self; N]) -> [Self; N] {
        assert_eq!(N, Self::LANES);
        let mut numbers = [[0.0; N]; N];
        rows.into_iter().zip(&mut numbers).for_each(|(row, to)| row.write(to));
        std::array::from_fn(|i| Self::read(simd, &std::array::from_fn::<f32, N, _>(|j| numbers[j][i])))
    }
    /// The products of lower halves and of upper halves of words of two bf16, added to `sum`. Subnormal numbers may count
    /// as zero.
    ///
    /// # Safety
    /// The kernel runs in [`Simd::outline_dots`], where the instruction set has [`Simd::DOTS`].
    unsafe fn dot(self, factor: Self, sum: Self) -> Self;
}

/// Combines the lanes of a vector: the second half with the first, until one is left.
#[inline(always)]
pub(super) fn halve<E: Copy, const N: usize>(mut lanes: [E; N], combine: impl Fn(E, E) -> E) -> E {
    let mut n = N;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] = combine(lanes[i], lanes[i + n]);
        }
    }
    lanes[0]
}
