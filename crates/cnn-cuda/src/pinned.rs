//! Memory of the host that the driver knows (pinned), so that a copy from or to it need not be waited for.
//!
//! It is taken from the driver and given back rarely, as that stops the GPU: blocks wait in a list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::{Plain, Result};
use cudarc::driver::result;

use crate::driver::Context;

/// Bytes of the smallest block.
const SMALLEST: usize = 256;

/// Blocks of pinned memory that nobody uses, by capacity.
#[derive(Debug)]
pub(crate) struct Pinned {
    context: Arc<Context>,
    free: Mutex<BTreeMap<usize, Vec<At>>>,
}

/// Where a block is.
#[derive(Debug)]
struct At(*mut u8);

// SAFETY: a block is memory of the host that its holder alone knows.
unsafe impl Send for At {}

/// A block on loan. It must not be let go before copies from or to it are done.
#[derive(Debug)]
pub(crate) struct PinnedBlock {
    at: *mut u8,
    capacity: usize,
    home: Arc<Pinned>,
}

// SAFETY: memory of the host that this holder alone knows.
unsafe impl Send for PinnedBlock {}
// SAFETY: who shares it can only read it.
unsafe impl Sync for PinnedBlock {}

impl Pinned {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Pinned { context, free: Mutex::default() }
    }

    /// A block of at least `bytes` bytes.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<PinnedBlock> {
        let capacity = bytes.max(SMALLEST).next_power_of_two();
        let waiting = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.get_mut(&capacity).and_then(Vec::pop)
        };
        let at = match waiting {
            Some(At(at)) => at,
            None => {
                self.context.stream_flushed()?;
                // SAFETY: the memory is given back in drop.
                let memory = unsafe { result::malloc_host(capacity, 0) };
                let failed = |error| self.context.error(format!("{capacity} bytes of pinned memory"), error);
                memory.map_err(failed)?.cast()
            }
        };
        Ok(PinnedBlock { at, capacity, home: self.clone() })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.stream_flushed().is_ok() {
            let free = std::mem::take(self.free.get_mut().unwrap_or_else(PoisonError::into_inner));
            for At(at) in free.into_values().flatten() {
                // SAFETY: the driver gave it, and nobody uses it. What fails here fails at the end of everything.
                let _ = unsafe { result::free_host(at.cast()) };
            }
        }
    }
}

impl PinnedBlock {
    /// The first `len` numbers of it, which copies may write meanwhile: for the driver.
    ///
    /// # Safety
    /// There is room for as many, and no other reference to them is alive.
    pub(crate) unsafe fn numbers_mut<'a, T: Plain>(&self, len: usize) -> &'a mut [T] {
        debug_assert!(len * size_of::<T>() <= self.capacity);
        // SAFETY: the caller's promise; the driver aligns memory for any number, and any bits are numbers.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), len) }
    }

    /// The first `len` numbers of it.
    ///
    /// # Safety
    /// There is room for as many, and nobody writes them as long as self lives.
    pub(crate) unsafe fn numbers<T: Plain>(&self, len: usize) -> &[T] {
        debug_assert!(len * size_of::<T>() <= self.capacity);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.at.cast(), len) }
    }

    /// Gives it up for good: a copy may still be under way, on a device that was lost.
    pub(crate) fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for PinnedBlock {
    fn drop(&mut self) {
        let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(self.capacity).or_default().push(At(self.at));
    }
}
