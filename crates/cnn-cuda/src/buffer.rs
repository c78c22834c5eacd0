//! Reference-counted memory of the GPU, from a free list.
//!
//! A training step allocates the same sizes again and again, and to ask the driver stops the GPU; so memory that is let go
//! waits in the list of its device for the next request of its size class. It may be handed out while the GPU still works
//! on it: whoever gets it puts its own work behind that, into the same stream. In builds with debug assertions memory is
//! filled with ones when it is handed out (NaN as a float), so that tests notice an element that was not written.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cnn_core::{Error, Plain, Result};
use cudarc::driver::result;
use cudarc::driver::sys::{CUdeviceptr, CUresult};

use crate::driver::Context;

/// Small requests share sizes: the driver gives no less.
const ALIGN: usize = 512;
/// From this size blocks are multiples of it, as the driver maps memory by so much.
const PAGE: usize = 2 << 20;

/// The free list of a device.
pub(crate) struct Pool {
    context: Arc<Context>,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// Blocks that nobody uses, by capacity.
    blocks: BTreeMap<usize, Vec<CUdeviceptr>>,
    /// Bytes in `blocks`.
    idle: usize,
    usage: Usage,
}

/// What a device's memory was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes handed out.
    pub used: usize,
    /// The most there ever were.
    pub peak: usize,
    /// How often the driver was asked.
    pub allocations: usize,
    /// How often numbers were copied because they were to change while another handle shared them.
    pub copies: usize,
}

impl Pool {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Pool { context, free: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What memory was used for so far.
    pub(crate) fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// Numbers had to be copied before they were changed.
    pub(crate) fn count_copy(&self) {
        self.lock().usage.copies += 1;
    }

    /// A block for `len` numbers of type `T`.
    ///
    /// # Errors
    /// More bytes than can be addressed, or than the GPU has.
    fn take<T: Plain>(self: &Arc<Self>, len: usize) -> Result<Block> {
        let bytes = len as u128 * size_of::<T>() as u128;
        let refused = || {
            let free = self.context.free_memory().ok().map(|(free, _)| free as u64);
            Error::OutOfMemory { backend: "cuda", bytes, free }
        };
        let Some(capacity) = isize::try_from(bytes).ok().and_then(|bytes| capacity(bytes.unsigned_abs())) else {
            return Err(refused());
        };
        let recycled = {
            let mut free = self.lock();
            let recycled = free.blocks.get_mut(&capacity).and_then(Vec::pop);
            if recycled.is_some() {
                free.idle -= capacity;
            }
            recycled
        };
        let at = match recycled {
            Some(at) => at,
            None => self.fresh(capacity)?.ok_or_else(refused)?,
        };
        let mut free = self.lock();
        free.usage.used += capacity;
        free.usage.peak = free.usage.peak.max(free.usage.used);
        drop(free);
        let block = Block { at, capacity, pool: self.clone() };
        if cfg!(debug_assertions) {
            let stream = self.context.stream()?;
            // SAFETY: the block has as many bytes, and nobody else has it yet.
            unsafe { result::memset_d8_async(at, 0xFF, capacity, stream) }
                .map_err(|error| self.context.error("memory could not be filled", error))?;
        }
        Ok(block)
    }

    /// Memory from the driver; none where the GPU has none, also after what waits was given back.
    fn fresh(&self, capacity: usize) -> Result<Option<CUdeviceptr>> {
        self.context.stream()?; // makes the context current
        for attempt in 0..2 {
            // SAFETY: nothing is read or written by it; the size is not zero.
            match unsafe { result::malloc_sync(capacity) } {
                Ok(at) => {
                    self.lock().usage.allocations += 1;
                    return Ok(Some(at));
                }
                Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    if attempt == 0 {
                        self.give_back();
                    }
                }
                Err(error) => {
                    return Err(self.context.error(format!("{capacity} bytes could not be allocated"), error));
                }
            }
        }
        Ok(None)
    }

    /// Gives all idle blocks back to the driver, after all work on them.
    fn give_back(&self) {
        let mut free = self.lock();
        for at in std::mem::take(&mut free.blocks).into_values().flatten() {
            // SAFETY: the driver gave it, and the list was its only owner. The driver waits for work on it. Where it fails
            // the device is lost, with all of its memory.
            let _ = unsafe { result::free_sync(at) };
        }
        free.idle = 0;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.context.stream().is_ok() {
            self.give_back();
        }
    }
}

impl Debug for Pool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.lock().fmt(f)
    }
}

/// The size of the block that serves a request of `bytes` bytes, so that requests of about one size share blocks: at most
/// an eighth more, or what is left of the smallest size or, from the first on, of a page. None where that is no number.
fn capacity(bytes: usize) -> Option<usize> {
    let eighth = bytes.max(1).checked_next_power_of_two()? / 16;
    bytes.max(1).checked_next_multiple_of(eighth.max(if bytes >= PAGE { PAGE } else { ALIGN }))
}

/// A block on loan from the free list.
struct Block {
    at: CUdeviceptr,
    capacity: usize,
    pool: Arc<Pool>,
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut free = self.pool.lock();
        free.usage.used -= self.capacity;
        free.idle += self.capacity;
        free.blocks.entry(self.capacity).or_default().push(self.at);
    }
}

/// A handle to `len` numbers of a GPU's memory.
pub struct Buffer<T: Plain> {
    block: Arc<Block>,
    len: usize,
    of: PhantomData<T>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_its_own_and_not_much_more() {
        let sizes = (0..200).map(|i| i * 37).chain((0..40).flat_map(|i| [(1 << i) - 1, 1 << i, (1 << i) + 1]));
        for bytes in sizes {
            let class = capacity(bytes).unwrap();
            assert!(class >= bytes && capacity(class) == Some(class), "{bytes}: {class}");
            assert!(
                class <= (bytes + bytes / 8).max(1).next_multiple_of(if bytes >= PAGE { PAGE } else { ALIGN }),
                "{bytes}: {class}"
            );
        }
        assert_eq!(capacity(usize::MAX), None);
    }
}
