//! Reference-counted memory of the GPU.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::Plain;
use cudarc::driver::sys::CUdeviceptr;
use half::bf16;

use crate::pool::Block;

/// A handle to `len` numbers of a GPU's memory.
pub struct Buffer<T: Plain> {
    memory: Arc<Memory>,
    len: usize,
    of: PhantomData<T>,
}

/// A block, and what was made of the numbers in it: gone as soon as these may change.
struct Memory {
    block: Block,
    rounded: Mutex<Option<Rounded>>,
}

/// Numbers that were rounded to activations, or will be by the work so far: see [`rounded`](crate::rounded).
#[derive(Clone)]
pub(crate) struct Rounded {
    pub(crate) numbers: Buffer<bf16>,
    /// How often work had been lost when this was asked for: if more has, it may have been this.
    pub(crate) lost: u64,
}

impl<T: Plain> Buffer<T> {
    /// The first `len` numbers of a block, which has as many.
    pub(crate) fn new(block: Block, len: usize) -> Self {
        debug_assert!(len * size_of::<T>() <= block.capacity);
        Buffer { memory: Arc::new(Memory { block, rounded: Mutex::default() }), len, of: PhantomData }
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
        self.memory.block.at
    }

    /// Whether no other handle shares the numbers, so that they can be changed: then what was made of them is forgotten. Whoever
    /// changes numbers asks this first.
    pub(crate) fn can_change(&mut self) -> bool {
        self.take_rounded();
        Arc::get_mut(&mut self.memory).is_some()
    }

    /// The numbers as they were rounded for products.
    pub(crate) fn rounded(&self) -> Option<Rounded> {
        self.memory.rounded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what the numbers are rounded.
    pub(crate) fn keep_rounded(&self, rounded: Rounded) {
        *self.memory.rounded.lock().unwrap_or_else(PoisonError::into_inner) = Some(rounded);
    }

    /// Takes that away, where no other handle shares the numbers.
    pub(crate) fn take_rounded(&mut self) -> Option<Rounded> {
        Arc::get_mut(&mut self.memory)?.rounded.get_mut().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T: Plain> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer { memory: self.memory.clone(), ..*self }
    }
}

impl<T: Plain> Debug for Buffer<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer<{}>({})", std::any::type_name::<T>(), self.len)
    }
}
