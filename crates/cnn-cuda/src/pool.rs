//! Memory of the GPU, from a free list.
//!
//! A training step allocates the same sizes again and again, and to ask the driver stops the GPU; so memory that is let go
//! waits in the list of its device for the next request of its size class. It may be handed out while the GPU still works
//! on it: whoever gets it puts its own work behind that, into the same stream. In builds with debug assertions memory is
//! filled with ones when it is handed out (NaN as a float), so that tests notice an element that was not written.
//!
//! What is recorded to be launched again has an [`Arena`]: memory that nobody else may be given as long as the recording is
//! there.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use cnn_core::{Error, Plain, Result};
use cudarc::driver::result;
use cudarc::driver::sys::{CUdeviceptr, CUresult};

use crate::driver::Context;
use crate::stream::Node;

/// Small requests share sizes: the driver gives no less.
const ALIGN: usize = 512;
/// From this size blocks are multiples of it, as the driver maps memory by so much.
const PAGE: usize = 2 << 20;

/// The free list of a device.
pub(crate) struct Pool {
    context: Arc<Context>,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    idle: Idle,
    usage: Usage,
    /// Whose requests go to an arena.
    recorder: Option<(ThreadId, Arc<Arena>)>,
}

/// Blocks that nobody uses, by capacity.
#[derive(Debug, Default)]
struct Idle(BTreeMap<usize, Vec<CUdeviceptr>>);

/// What a device's memory was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes handed out.
    pub used: usize,
    /// The most there ever were.
    pub peak: usize,
    /// Bytes that wait to be handed out again.
    pub idle: usize,
    /// How often the driver was asked.
    pub allocations: usize,
    /// How often numbers were copied because they were to change while another handle shared them.
    pub copies: usize,
}

/// Memory of a recording: what is let go waits here for the recording's next request, and goes back to the pool when the
/// recording and all who hold of it are gone.
pub(crate) struct Arena {
    pool: Arc<Pool>,
    memory: Mutex<ArenaMemory>,
}

#[derive(Debug, Default)]
struct ArenaMemory {
    idle: Idle,
    /// All that it has.
    bytes: usize,
}

/// Where a block goes when it is let go.
pub(crate) trait Home: Send + Sync {
    /// Takes back what was handed out.
    fn take_back(&self, at: CUdeviceptr, capacity: usize);
}

/// A block on loan.
pub(crate) struct Block {
    pub(crate) at: CUdeviceptr,
    pub(crate) capacity: usize,
    pub(crate) home: Arc<dyn Home>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.home.take_back(self.at, self.capacity);
    }
}

impl Idle {
    fn take(&mut self, capacity: usize) -> Option<CUdeviceptr> {
        self.0.get_mut(&capacity).and_then(Vec::pop)
    }

    fn put(&mut self, at: CUdeviceptr, capacity: usize) {
        self.0.entry(capacity).or_default().push(at);
    }
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
    pub(crate) fn take<T: Plain>(self: &Arc<Self>, len: usize) -> Result<Block> {
        let (capacity, bytes) = capacity_of::<T>(len, &self.context)?;
        let arena = self.recording();
        let waiting = arena.as_ref().and_then(|arena| arena.memory().idle.take(capacity));
        let block = match (waiting, arena) {
            (Some(at), Some(arena)) => Block { at, capacity, home: arena },
            (_, arena) => {
                let at = self.raw(capacity)?.ok_or_else(|| out_of_memory(&self.context, bytes))?;
                let home: Arc<dyn Home> = match arena {
                    Some(arena) => {
                        arena.memory().bytes += capacity;
                        arena
                    }
                    None => self.clone(),
                };
                Block { at, capacity, home }
            }
        };
        if cfg!(debug_assertions) {
            self.fill_with_ones(&block)?;
        }
        Ok(block)
    }

    fn fill_with_ones(&self, block: &Block) -> Result<()> {
        // SAFETY: the block has as many bytes, and nobody else has it yet.
        let fill = |stream| unsafe { result::memset_d8_async(block.at, 0xFF, block.capacity, stream) };
        let filled = self.context.stream()?.enqueue(Node::Fill, fill);
        filled.map_err(|error| self.context.error("memory could not be filled", error))
    }

    /// `capacity` bytes, waiting ones or the driver's; none where the GPU has none.
    pub(crate) fn raw(&self, capacity: usize) -> Result<Option<CUdeviceptr>> {
        let waiting = self.lock().idle.take(capacity);
        let waited = waiting.is_some();
        let Some(at) = (match waiting {
            Some(at) => Some(at),
            None => self.fresh(capacity)?,
        }) else {
            return Ok(None);
        };
        let usage = &mut self.lock().usage;
        usage.used += capacity;
        if waited {
            usage.idle -= capacity;
        }
        usage.peak = usage.peak.max(usage.used);
        Ok(Some(at))
    }

    /// Memory from the driver; none where the GPU has none, also after what waits was given back.
    fn fresh(&self, capacity: usize) -> Result<Option<CUdeviceptr>> {
        self.context.stream_flushed()?;
        for attempt in 0..2 {
            // SAFETY: nothing is read or written by it; the size is not zero.
            match unsafe { result::malloc_sync(capacity) } {
                Ok(at) => {
                    self.lock().usage.allocations += 1;
                    return Ok(Some(at));
                }
                Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    if attempt == 0 {
                        self.give_back()?;
                    }
                }
                Err(error) => {
                    return Err(self.context.error(format!("{capacity} bytes could not be allocated"), error));
                }
            }
        }
        Ok(None)
    }

    /// Gives all idle blocks back to the driver, after all work on them, that too which is only gathered yet.
    pub(crate) fn give_back(&self) -> Result<()> {
        self.context.stream_flushed()?;
        let idle = {
            let mut free = self.lock();
            free.usage.idle = 0;
            std::mem::take(&mut free.idle.0)
        };
        for at in idle.into_values().flatten() {
            // SAFETY: the driver gave it, and the list was its only owner. The driver waits for work on it. Where it fails
            // the device is lost, with all of its memory.
            let _ = unsafe { result::free_sync(at) };
        }
        Ok(())
    }

    /// Requests of this thread go to an arena of their own from now on.
    pub(crate) fn begin_arena(self: &Arc<Self>) -> Arc<Arena> {
        let arena = Arc::new(Arena { pool: self.clone(), memory: Mutex::default() });
        self.lock().recorder = Some((thread::current().id(), arena.clone()));
        arena
    }

    /// And back to the pool.
    pub(crate) fn end_arena(&self) {
        let recorder = self.lock().recorder.take();
        drop(recorder); // outside the lock: it may be the last handle of the arena, which takes it
    }

    /// Whether this thread records.
    pub(crate) fn is_recording(&self) -> bool {
        self.recording().is_some()
    }

    /// The arena of this thread.
    fn recording(&self) -> Option<Arc<Arena>> {
        let free = self.lock();
        free.recorder
            .as_ref()
            .filter(|(recorder, _)| *recorder == thread::current().id())
            .map(|(_, arena)| arena.clone())
    }
}

impl Home for Pool {
    fn take_back(&self, at: CUdeviceptr, capacity: usize) {
        let mut free = self.lock();
        free.usage.used -= capacity;
        free.usage.idle += capacity;
        free.idle.put(at, capacity);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.give_back(); // where it fails the device is lost, with all of its memory
    }
}

impl Debug for Pool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.lock().usage.fmt(f)
    }
}

impl Arena {
    fn memory(&self) -> MutexGuard<'_, ArenaMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that it keeps from others.
    pub(crate) fn bytes(&self) -> usize {
        self.memory().bytes
    }
}

impl Home for Arena {
    fn take_back(&self, at: CUdeviceptr, capacity: usize) {
        self.memory().idle.put(at, capacity);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.memory.get_mut().unwrap_or_else(PoisonError::into_inner).idle);
        for (capacity, blocks) in idle.0 {
            blocks.into_iter().for_each(|at| self.pool.take_back(at, capacity));
        }
    }
}

impl Debug for Arena {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arena({} bytes)", self.bytes())
    }
}

/// The capacity of a block for `len` numbers, and how many bytes they are.
///
/// # Errors
/// More than can be addressed.
pub(crate) fn capacity_of<T: Plain>(len: usize, context: &Context) -> Result<(usize, u128)> {
    let bytes = len as u128 * size_of::<T>() as u128;
    let capacity = isize::try_from(bytes).ok().and_then(|bytes| capacity(bytes.unsigned_abs()));
    capacity.map(|capacity| (capacity, bytes)).ok_or_else(|| out_of_memory(context, bytes))
}

/// The error of a request that cannot be served.
pub(crate) fn out_of_memory(context: &Context, bytes: u128) -> Error {
    let free = context.free_memory().ok().map(|(free, _)| free as u64);
    Error::OutOfMemory { backend: "cuda", bytes, free }
}

/// The size of the block that serves a request of `bytes` bytes, so that requests of about one size share blocks: at most
/// an eighth more, or what is left of the smallest size or, from the first on, of a page. None where that is no number.
fn capacity(bytes: usize) -> Option<usize> {
    let eighth = bytes.max(1).checked_next_power_of_two()? / 16;
    bytes.max(1).checked_next_multiple_of(eighth.max(if bytes >= PAGE { PAGE } else { ALIGN }))
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
