//! What the kernels compute with, and how activations are stored.
//!
//! Two private traits carry everything that differs by element, so that no kernel is written twice: a [`CpuReal`] is what
//! registers, scratch memory, weights and statistics hold; a [`CpuElement`] is what an activation is in memory. For f32
//! and f64 they are one; bf16 is computed with as f32, and converted where it is read and written.

use std::marker::PhantomData;

use cnn_core::{Element, Real};
use half::bf16;

use crate::simd::{Bf16Vector, Isa, Simd, SimdKernel, Vector};

/// The vector of the numbers that `T` is computed with, in the instruction set `S`.
pub(crate) type V<T, S> = <<T as CpuElement>::Number as CpuReal>::V<S>;

/// Lanes of the vector that serves `T` in this instruction set.
pub(crate) fn lanes<T: CpuElement>(isa: Isa) -> usize {
    struct Lanes<T>(PhantomData<T>);
    impl<T: CpuElement> SimdKernel for Lanes<T> {
        type Output = usize;
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            V::<T, S>::LANES
        }
    }
    isa.run(Lanes::<T>(PhantomData))
}

/// An element of the CPU backend: f32, bf16, or with the feature `f64` also f64.
pub trait CpuElement: Element<Accum = <Self as CpuElement>::Number> + sealed::Sealed {
    /// [`Accum`](Element::Accum), of which there are vectors.
    #[doc(hidden)]
    type Number: CpuReal;

    /// The elements at `from`, which need not be aligned.
    ///
    /// # Safety
    /// `from` is valid for reads of a vector's lanes.
    #[doc(hidden)]
    unsafe fn load<S: Simd>(simd: S, from: *const Self) -> V<Self, S>;
    /// The first `n` elements at `from`, zeros after them. Memory past them is not touched.
    ///
    /// # Safety
    /// `from` is valid for reads of `n` elements, and `n` is at most the lanes.
    #[doc(hidden)]
    unsafe fn load_head<S: Simd>(simd: S, from: *const Self, n: usize) -> V<Self, S>;
    /// Writes the nearest elements to `to`, which need not be aligned.
    ///
    /// # Safety
    /// `to` is valid for writes of a vector's lanes.
    #[doc(hidden)]
    unsafe fn store<S: Simd>(value: V<Self, S>, to: *mut Self);
    /// The same past the caches, as [`Vector::stream`], where elements are numbers.
    ///
    /// # Safety
    /// As [`store`](Self::store), and `to` is aligned to the size of that many elements.
    #[doc(hidden)]
    unsafe fn stream<S: Simd>(value: V<Self, S>, to: *mut Self);
    /// Writes the elements nearest to the first `n` lanes. Memory past them is not touched.
    ///
    /// # Safety
    /// `to` is valid for writes of `n` elements, and `n` is at most the lanes.
    #[doc(hidden)]
    unsafe fn store_head<S: Simd>(value: V<Self, S>, to: *mut Self, n: usize);

    /// Elements as the numbers that they are computed with, where that is how they are stored.
    #[doc(hidden)]
    fn as_wide(slice: &[Self]) -> Option<&[Self::Accum]>;
    /// The same of elements that may be written.
    #[doc(hidden)]
    fn as_wide_mut(slice: &mut [Self]) -> Option<&mut [Self::Accum]>;

    /// Whether the packed operands of a convolution may hold two elements in a word, for [`dot`](Self::dot).
    #[doc(hidden)]
    const PAIRS: bool = false;
    /// Words of neighbours, see [`Bf16Vector::concat`]. Without pairs a word is one number, here as below.
    ///
    /// # Safety
    /// With pairs, as [`Bf16Vector::concat`].
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn concat<S: Simd>(first: V<Self, S>, _: V<Self, S>) -> V<Self, S> {
        first
    }
    /// Words of a number of each, see [`Bf16Vector::zip`].
    ///
    /// # Safety
    /// With pairs, as [`Bf16Vector::zip`].
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn zip<S: Simd>(first: V<Self, S>, _: V<Self, S>) -> V<Self, S> {
        first
    }
    /// Rows and columns of words exchanged, see [`Bf16Vector::transpose`].
    #[doc(hidden)]
    #[inline(always)]
    fn transpose<S: Simd, const N: usize>(_: S, _: [V<Self, S>; N]) -> [V<Self, S>; N] {
        unreachable!("rows of words of elements that are no pairs")
    }
    /// The products of words, added to `sum`.
    ///
    /// # Safety
    /// With pairs, as [`Bf16Vector::dot`].
    #[doc(hidden)]
    #[inline(always)]
    unsafe fn dot<S: Simd>(a: V<Self, S>, b: V<Self, S>, sum: V<Self, S>) -> V<Self, S> {
        a.mul_add(b, sum)
    }

    /// The first elements of a slice, as many as there are lanes; zeros after its end.
    #[doc(hidden)]
    #[inline(always)]
    fn read<S: Simd>(simd: S, from: &[Self]) -> V<Self, S> {
        if from.len() >= V::<Self, S>::LANES {
            // SAFETY: the slice has at least that many elements.
            unsafe { Self::load(simd, from.as_ptr()) }
        } else {
            // SAFETY: the slice has this many elements, fewer than the lanes.
            unsafe { Self::load_head(simd, from.as_ptr(), from.len()) }
        }
    }

    /// Writes the nearest elements to a slice, as many as there are lanes or as it has room for.
    #[doc(hidden)]
    #[inline(always)]
    fn write<S: Simd>(value: V<Self, S>, to: &mut [Self]) {
        if to.len() >= V::<Self, S>::LANES {
            // SAFETY: the slice has room for that many elements.
            unsafe { Self::store::<S>(value, to.as_mut_ptr()) }
        } else {
            // SAFETY: the slice has room for this many elements, fewer than the lanes.
            unsafe { Self::store_head::<S>(value, to.as_mut_ptr(), to.len()) }
        }
    }
}

/// A number that the kernels compute with: f32 or f64.
pub trait CpuReal: Real + CpuElement<Number = Self> {
    /// Its vector in an instruction set.
    #[doc(hidden)]
    type V<S: Simd>: Vector<Self, Simd = S>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    #[cfg(feature = "f64")]
    impl Sealed for f64 {}
    impl Sealed for half::bf16 {}
}

/// An element: how a vector of its numbers is loaded and stored, and which slices are its numbers already.
macro_rules! element {
    ($t:ty, $number:ty, $load:ident, $load_head:ident, $store:ident, $stream:ident, $store_head:ident, $as_wide:expr, { $($more:item)* }) => {
        impl CpuElement for $t {
            type Number = $number;

            #[inline(always)]
            unsafe fn load<S: Simd>(simd: S, from: *const Self) -> V<Self, S> {
                // SAFETY: the caller's promise.
                unsafe { V::<Self, S>::$load(simd, from) }
            }
            #[inline(always)]
            unsafe fn load_head<S: Simd>(simd: S, from: *const Self, n: usize) -> V<Self, S> {
                // SAFETY: the caller's promise.
                unsafe { V::<Self, S>::$load_head(simd, from, n) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(value: V<Self, S>, to: *mut Self) {
                // SAFETY: the caller's promise.
                unsafe { value.$store(to) }
            }
            #[inline(always)]
            unsafe fn stream<S: Simd>(value: V<Self, S>, to: *mut Self) {
                // SAFETY: the caller's promise.
                unsafe { value.$stream(to) }
            }
            #[inline(always)]
            unsafe fn store_head<S: Simd>(value: V<Self, S>, to: *mut Self, n: usize) {
                // SAFETY: the caller's promise.
                unsafe { value.$store_head(to, n) }
            }

            fn as_wide(slice: &[Self]) -> Option<&[$number]> {
                $as_wide(slice)
            }

            fn as_wide_mut(slice: &mut [Self]) -> Option<&mut [$number]> {
                $as_wide(slice)
            }

            $($more)*
        }
    };
}

element!(f32, f32, load, load_head, store, stream, store_head, Some, {});
#[cfg(feature = "f64")]
element!(f64, f64, load, load_head, store, stream, store_head, Some, {});
element!(bf16, f32, load_half, load_half_head, store_half, store_half, store_half_head, |_| None, {
    const PAIRS: bool = true;

    #[inline(always)]
    unsafe fn concat<S: Simd>(first: V<Self, S>, next: V<Self, S>) -> V<Self, S> {
        // SAFETY: the caller's promise.
        unsafe { first.concat(next) }
    }
    #[inline(always)]
    unsafe fn zip<S: Simd>(first: V<Self, S>, other: V<Self, S>) -> V<Self, S> {
        // SAFETY: the caller's promise.
        unsafe { first.zip(other) }
    }
    #[inline(always)]
    fn transpose<S: Simd, const N: usize>(simd: S, rows: [V<Self, S>; N]) -> [V<Self, S>; N] {
        V::<Self, S>::transpose(simd, rows)
    }
    #[inline(always)]
    unsafe fn dot<S: Simd>(a: V<Self, S>, b: V<Self, S>, sum: V<Self, S>) -> V<Self, S> {
        // SAFETY: the caller's promise.
        unsafe { a.dot(b, sum) }
    }
});

impl CpuReal for f32 {
    type V<S: Simd> = S::F32;
}

#[cfg(feature = "f64")]
impl CpuReal for f64 {
    type V<S: Simd> = S::F64;
}
