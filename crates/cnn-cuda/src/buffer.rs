//! Reference-counted memory of the GPU.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;

use cnn_core::Plain;
use cudarc::driver::sys::CUdeviceptr;

use crate::pool::Block;

/// A handle to `len` numbers of a GPU's memory.
pub struct Buffer<T: Plain> {
    block: Arc<Block>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// The first `len` numbers of a block, which has as many.
    pub(crate) fn new(block: Block, len: usize) -> Self {
        debug_assert!(len * size_of::<T>() <= block.capacity);
        Buffer { block: Arc::new(block), len, of: PhantomData }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Where the numbers are.
    pub(crate) fn at(&self) -> CUdeviceptr {
        self.block.at
    }

    /// Whether no other handle shares the numbers, so that they can be changed.
    pub(crate) fn is_unique(&mut self) -> bool {
        Arc::get_mut(&mut self.block).is_some()
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
