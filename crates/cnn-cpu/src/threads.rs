//! Parallel loops whose parts are cut by the shape of the data.
//!
//! No helper here knows the number of threads: which part an element falls into, and so every rounding, is the same for
//! any number. Sums over parts are written to one place a part and combined in order by the caller.

use std::marker::PhantomData;
use std::ops::Range;

use crate::machine::{F32, L2};

/// Elements of a part when nothing else speaks for a size: what some operands of it take of the second-level cache, and
/// some ten microseconds of a pass over memory.
pub(crate) const CHUNK: usize = L2 / 16 / F32;

/// A slice, or several of them, in parts that can be changed at the same time.
pub(crate) trait Parts: Sync {
    /// One part.
    type Part;
    /// How many parts there are.
    fn count(&self) -> usize;
    /// Part `i`.
    ///
    /// # Safety
    /// `i` is below the count, and no part is alive twice.
    unsafe fn part(&self, i: usize) -> Self::Part;
}

/// Parts of `size` elements, which begin anew with every `whole` elements; the last of each whole may be shorter.
pub(crate) struct Chunks<'a, U> {
    at: *mut U,
    len: usize,
    whole: usize,
    size: usize,
    of: PhantomData<&'a mut [U]>,
}

/// `slice` in parts of `size` elements; the last may be shorter.
pub(crate) fn chunks<U: Send>(slice: &mut [U], size: usize) -> Chunks<'_, U> {
    let whole = slice.len().max(1);
    pieces(slice, whole, size)
}

/// Every `whole` elements of `slice` in parts of `size`, of which the last may be shorter: no part lies in two of them.
pub(crate) fn pieces<U: Send>(slice: &mut [U], whole: usize, size: usize) -> Chunks<'_, U> {
    assert!(size > 0, "parts need elements");
    assert!(whole > 0 && slice.len().is_multiple_of(whole), "what is cut needs to be whole");
    Chunks { at: slice.as_mut_ptr(), len: slice.len(), whole, size, of: PhantomData }
}

impl<U> Chunks<'_, U> {
    /// Where part `i` lies, which is below the count.
    pub(crate) fn range(&self, i: usize) -> Range<usize> {
        let parts = self.whole.div_ceil(self.size);
        let (before, inside) = (i / parts * self.whole, i % parts * self.size);
        before + inside..before + (inside + self.size).min(self.whole)
    }
}

// SAFETY: sharing the parts hands each element to one thread at a time (the promise of `part`), so Send is enough.
unsafe impl<U: Send> Sync for Chunks<'_, U> {}

impl<'a, U: Send> Parts for Chunks<'a, U> {
    type Part = &'a mut [U];
    fn count(&self) -> usize {
        self.len / self.whole * self.whole.div_ceil(self.size)
    }
    unsafe fn part(&self, i: usize) -> &'a mut [U] {
        let range = self.range(i);
        // SAFETY: i is below the count, so the range is inside the slice, and the caller keeps parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(range.start), range.len()) }
    }
}

macro_rules! tuple {
    ($first:ident $($p:ident)*) => {
        impl<$first: Parts, $($p: Parts),*> Parts for ($first, $($p),*) {
            type Part = ($first::Part, $($p::Part),*);
            #[allow(non_snake_case)]
            fn count(&self) -> usize {
                let ($first, $($p),*) = self;
                $(assert_eq!($first.count(), $p.count(), "slices in unlike numbers of parts");)*
                $first.count()
            }
            #[allow(non_snake_case)]
            unsafe fn part(&self, i: usize) -> Self::Part {
                let ($first, $($p),*) = self;
                // SAFETY: the caller's promise.
                unsafe { ($first.part(i), $($p.part(i)),*) }
            }
        }
    };
}

tuple!(A B);
tuple!(A B C);
tuple!(A B C D);

/// A place that several tasks write to, each its own elements.
pub(crate) struct Shared<U>(*mut U);

impl<U: Send> Shared<U> {
    /// The place of a slice, for as long as it is borrowed by the caller.
    pub(crate) fn new(slice: &mut [U]) -> Self {
        Shared(slice.as_mut_ptr())
    }

    /// The first element.
    #[inline(always)]
    pub(crate) fn get(self) -> *mut U {
        self.0
    }
}

impl<U> Clone for Shared<U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<U> Copy for Shared<U> {}

// SAFETY: a pointer does nothing by itself; whoever writes through it must show that no other task uses the element.
unsafe impl<U: Send> Send for Shared<U> {}
// SAFETY: see Send.
unsafe impl<U: Send> Sync for Shared<U> {}
