//! Reference-counted memory from the free list of its backend.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;

use cnn_core::{Plain, Result};

use crate::pool::{Block, Pool};

/// A handle to `len` numbers.
pub struct Buffer<T: Plain> {
    block: Arc<Block>,
    len: usize,
    of: PhantomData<T>,
}

impl Buffer<u8> {
    /// The host's bytes where they lie; a copy of them is the list's.
    pub(crate) fn of_host(pool: &Arc<Pool>, host: &Arc<Vec<u8>>) -> Self {
        let block = Block::of_host(pool, host);
        Buffer { block: Arc::new(block), len: host.len(), of: PhantomData }
    }
}

impl<T: Plain> Buffer<T> {
    /// A buffer whose contents mean nothing yet.
    pub(crate) fn new(pool: &Arc<Pool>, len: usize) -> Result<Self> {
        Ok(Buffer { block: Arc::new(pool.take::<T>(len)?), len, of: PhantomData })
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the block has room for len numbers, is aligned for any Plain, and is initialised from its allocation
        // on; Plain types have no invalid values. The host's bytes are as many, and of u8, which any address suits; a vector that is
        // shared does not move.
        unsafe { std::slice::from_raw_parts(self.block.start().as_ptr().cast(), self.len) }
    }

    /// Whether no other handle shares the numbers, so that they can be changed without a copy.
    pub(crate) fn is_unique(&mut self) -> bool {
        Arc::get_mut(&mut self.block).is_some_and(|block| !block.is_of_host())
    }

    /// Where the numbers are, for tasks that change each its own part of a buffer that no other handle shares.
    pub(crate) fn as_mut_ptr(&self) -> *mut T {
        self.block.start().as_ptr().cast()
    }

    /// The numbers, to be changed; copied first if another handle shares them.
    ///
    /// # Errors
    /// No memory for the copy.
    pub fn make_mut(&mut self) -> Result<&mut [T]> {
        if !self.is_unique() {
            let mut copy = Buffer::new(self.block.pool(), self.len)?;
            copy.make_mut()?.copy_from_slice(self.as_slice());
            *self = copy;
        }
        // SAFETY: as in as_slice; this handle is the block's only one, and it is borrowed; the memory is the list's.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.block.start().as_ptr().cast(), self.len) })
    }
}

impl<T: Plain> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer { block: self.block.clone(), ..*self }
    }
}

impl<T: Plain> Debug for Buffer<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer<{}>({})", std::any::type_name::<T>(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_host_are_read_where_they_lie_and_changed_in_a_copy() {
        let (pool, host) = (Arc::new(Pool::default()), Arc::new(vec![1u8, 2, 3]));
        let mut shared = Buffer::of_host(&pool, &host);
        assert_eq!((shared.as_slice(), shared.as_slice().as_ptr()), (&[1, 2, 3][..], host.as_ptr()));
        assert!(!shared.is_unique() && pool.most_held() == 0);
        let again = shared.clone();
        shared.make_mut().unwrap()[0] = 9;
        assert_eq!(
            (shared.as_slice(), again.as_slice(), &host[..]),
            (&[9, 2, 3][..], &[1, 2, 3][..], &[1u8, 2, 3][..])
        );
        assert_eq!(Arc::strong_count(&host), 2);
        drop(again);
        assert_eq!((Arc::strong_count(&host), pool.most_held()), (1, 64));
        assert!(Buffer::of_host(&pool, &Arc::default()).as_slice().is_empty());
    }

    #[test]
    fn a_shared_buffer_is_copied_before_it_is_changed() {
        let pool = Arc::new(Pool::default());
        let mut a = Buffer::<u32>::new(&pool, 3).unwrap();
        a.make_mut().unwrap().copy_from_slice(&[1, 2, 3]);
        let b = a.clone();
        a.make_mut().unwrap()[0] = 9;
        assert_eq!((a.as_slice(), b.as_slice()), (&[9, 2, 3][..], &[1, 2, 3][..]));
        let at = a.as_slice().as_ptr();
        assert_eq!(a.make_mut().unwrap().as_ptr(), at.cast_mut());
    }

    #[test]
    fn nothing_has_an_address_too() {
        let pool = Arc::new(Pool::default());
        assert!(Buffer::<f64>::new(&pool, 0).unwrap().is_empty());
        assert!(Buffer::<f64>::new(&pool, 0).unwrap().make_mut().unwrap().is_empty());
    }
}
