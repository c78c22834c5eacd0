//! Parallel loops whose parts are cut by the shape of the data.
//!
//! No helper here knows the number of threads: which part an element falls into, and so every rounding, is the same for
//! any number. Sums over parts are written to one place a part and combined in order by the caller.

use std::marker::PhantomData;

use crate::Cpu;
use crate::element::CpuElement;

/// Elements of a part when nothing else speaks for a size: some ten microseconds of a pass over memory.
pub(crate) const CHUNK: usize = 16 << 10;

impl<T: CpuElement> Cpu<T> {
    /// Calls `body` with every number below `count`, in parallel.
    pub(crate) fn for_each(&self, count: usize, body: impl Fn(usize) + Sync) {
        match &self.0.workers {
            Some(workers) if count > 1 => workers.for_each(count, &body),
            _ => (0..count).for_each(body),
        }
    }

    /// Calls `body` with the index and the elements of every part, in parallel:
    /// `cpu.for_each_part((chunks(y, n), chunks(sums, 2)), |i, (y, sums)| ...)`.
    pub(crate) fn for_each_part<P: Parts>(&self, parts: P, body: impl Fn(usize, P::Part) + Sync) {
        // SAFETY: every index below the count is visited once.
        self.for_each(parts.count(), |i| body(i, unsafe { parts.part(i) }));
    }
}

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

/// Parts of `size` elements; the last may be shorter.
pub(crate) struct Chunks<'a, U> {
    at: *mut U,
    len: usize,
    size: usize,
    of: PhantomData<&'a mut [U]>,
}

/// `slice` in parts of `size` elements; the last may be shorter.
pub(crate) fn chunks<U: Send>(slice: &mut [U], size: usize) -> Chunks<'_, U> {
    assert!(size > 0, "parts need elements");
    Chunks { at: slice.as_mut_ptr(), len: slice.len(), size, of: PhantomData }
}

// SAFETY: sharing the parts hands each element to one thread at a time (the promise of `part`), so Send is enough.
unsafe impl<U: Send> Sync for Chunks<'_, U> {}

impl<'a, U: Send> Parts for Chunks<'a, U> {
    type Part = &'a mut [U];
    fn count(&self) -> usize {
        self.len.div_ceil(self.size)
    }
    unsafe fn part(&self, i: usize) -> &'a mut [U] {
        let start = i * self.size;
        // SAFETY: i is below the count, so start is inside the slice, and the caller keeps parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), self.size.min(self.len - start)) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_visited_once_with_its_partners() {
        for threads in [1, 3] {
            let cpu = Cpu::<f32>::with_threads(threads).unwrap();
            let (mut x, mut sums) = (vec![1u32; 103], vec![0u32; 11]);
            cpu.for_each_part((chunks(&mut x, 10), chunks(&mut sums, 1)), |i, (x, sum)| {
                x.iter_mut().for_each(|x| *x += i as u32);
                sum[0] += x.iter().sum::<u32>();
            });
            assert_eq!(x[57], 6);
            assert_eq!((sums[5], sums[10]), (60, 33));
        }
    }
}
