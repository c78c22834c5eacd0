//! From the host to the GPU beside its other work: through pinned memory, in a stream of their own.
//!
//! A copy from memory that the driver does not know waits for all work before it, and the host with it. So numbers are put
//! into pinned memory first, and copied from there while the GPU computes. Two events keep the order: who reads them comes
//! after the copy, and the copy after the last reader of what was in that memory before. That is why uploaded numbers have
//! memory of their own: what a step has read is written again two uploads later, when the next step is already at work.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cnn_core::{Plain, Result};
use cudarc::driver::result;
use cudarc::driver::sys::{CUdeviceptr, CUevent_wait_flags, CUstream};

use crate::buffer::Buffer;
use crate::driver::Context;
use crate::event::Event;
use crate::pinned::{Pinned, PinnedBlock};
use crate::pool::{Block, Home, Pool, capacity_of, out_of_memory};

/// Bytes of the largest upload that takes this way: a whole data set may well be waited for.
const MOST: usize = 32 << 20;
/// Copies that may be under way before the oldest is waited for.
const UNDER_WAY: usize = 64;

/// The uploads of a device.
#[derive(Debug)]
pub(crate) struct Uploads {
    context: Arc<Context>,
    pool: Arc<Pool>,
    pinned: Arc<Pinned>,
    copies: CUstream,
    state: Mutex<State>,
    /// Memory that was let go since the last upload: work that was asked for by then may still read it.
    returned: Mutex<Vec<(CUdeviceptr, usize)>>,
}

#[derive(Debug, Default)]
struct State {
    /// Memory to be written again after an event in the stream of all work, by capacity, the oldest first.
    idle: BTreeMap<usize, VecDeque<(CUdeviceptr, Arc<Event>)>>,
    under_way: VecDeque<(Event, PinnedBlock)>,
}

// SAFETY: the driver's handles may be used from any thread whose current context is theirs; the rest is behind locks.
unsafe impl Send for Uploads {}
// SAFETY: see Send.
unsafe impl Sync for Uploads {}

impl Uploads {
    pub(crate) fn new(context: Arc<Context>, pool: Arc<Pool>, pinned: Arc<Pinned>) -> Result<Self> {
        context.stream()?; // makes the context current
        let copies = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|error| context.error("a stream for uploads could not be created", error))?;
        Ok(Uploads { context, pool, pinned, copies, state: Mutex::default(), returned: Mutex::default() })
    }

    /// A copy of `host`, which may be changed or dropped at once.
    pub(crate) fn upload<T: Plain>(self: &Arc<Self>, host: &[T]) -> Result<Buffer<T>> {
        if host.is_empty() || size_of_val(host) > MOST {
            return self.upload_waiting(host);
        }
        let failed = |error| self.context.error("numbers could not be uploaded", error);
        let (capacity, bytes) = capacity_of::<T>(host.len(), &self.context)?;
        let staged = self.pinned.take(size_of_val(host))?;
        // SAFETY: the block has room for as many, and is not yet known to anybody else.
        let numbers = unsafe { staged.numbers_mut::<T>(host.len()) };
        numbers.copy_from_slice(host);

        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget_what_is_done(&mut state)?;
        let slot = self.slot(&mut state, capacity)?;
        let (at, read) = slot.ok_or_else(|| out_of_memory(&self.context, bytes))?;
        let block = Block { at, capacity, home: self.clone() };
        let copied = Event::new(&self.context)?;
        // SAFETY: stream and events are this context's. The memory has as many bytes, and is written after all that reads what
        // it had before; the staged numbers stay until the event.
        let copy = || unsafe {
            result::stream::wait_event(self.copies, read.raw(), CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)?;
            result::memcpy_htod_async(at, numbers, self.copies)?;
            result::event::record(copied.raw(), self.copies)
        };
        if let Err(error) = copy() {
            staged.abandon(); // it may have begun
            return Err(failed(error));
        }
        let wait = |stream| {
            // SAFETY: as above.
            unsafe { result::stream::wait_event(stream, copied.raw(), CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT) }
        };
        let waits = self.context.stream()?.enqueue_alone(wait);
        state.under_way.push_back((copied, staged));
        waits.map_err(failed)?;
        Ok(Buffer::new(block, host.len()))
    }

    /// The same in the stream of all work: the host waits for what is before it.
    fn upload_waiting<T: Plain>(&self, host: &[T]) -> Result<Buffer<T>> {
        let buffer = Buffer::new(self.pool.take::<T>(host.len())?, host.len());
        if host.is_empty() {
            return Ok(buffer);
        }
        // SAFETY: both have as many bytes, and nobody else has a handle to the buffer; the driver takes a copy of memory that it
        // does not know.
        let copy = |stream| unsafe { result::memcpy_htod_async(buffer.at(), host, stream) };
        let copied = self.context.stream()?.enqueue_alone(copy);
        copied.map_err(|error| self.context.error("numbers could not be uploaded", error))?;
        Ok(buffer)
    }

    /// Memory of this capacity, and the event after which it may be written.
    fn slot(&self, state: &mut State, capacity: usize) -> Result<Option<(CUdeviceptr, Arc<Event>)>> {
        let now = Arc::new(Event::new(&self.context)?);
        // SAFETY: the event and the stream are this context's.
        let recorded = |stream| unsafe { result::event::record(now.raw(), stream) };
        let returned = std::mem::take(&mut *self.returned());
        let behind = self.context.stream()?.enqueue_alone(recorded);
        behind.map_err(|error| self.context.error("an event could not be recorded", error))?;
        for (at, capacity) in returned {
            state.idle.entry(capacity).or_default().push_back((at, now.clone()));
        }
        let idle = state.idle.entry(capacity).or_default();
        // What was read by the last step would have to wait for it.
        let ready = idle.front().is_some_and(|(_, read)| !Arc::ptr_eq(read, &now)) || idle.len() > 1;
        if ready {
            return Ok(idle.pop_front());
        }
        match self.pool.raw(capacity)? {
            Some(at) => Ok(Some((at, now))), // somebody may have let it go only now
            None => Ok(idle.pop_front()),
        }
    }

    fn returned(&self) -> MutexGuard<'_, Vec<(CUdeviceptr, usize)>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of staged numbers whose copies are done, and waits for some where there are too many.
    fn forget_what_is_done(&self, state: &mut State) -> Result<()> {
        while let Some((copied, _)) = state.under_way.front() {
            if state.under_way.len() > UNDER_WAY {
                copied.wait()?;
            } else if !copied.is_over()? {
                break;
            }
            state.under_way.pop_front();
        }
        Ok(())
    }
}

impl Home for Uploads {
    fn take_back(&self, at: CUdeviceptr, capacity: usize) {
        self.returned().push((at, capacity));
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: the stream is this one's alone.
        let waited = self.context.stream().is_ok() && unsafe { result::stream::synchronize(self.copies) }.is_ok();
        if !waited {
            // The device is lost, and its memory with it.
            state.under_way.into_iter().for_each(|(_, staged)| staged.abandon());
            return;
        }
        // SAFETY: as above, and it has no work. What fails here is the end of the device.
        let _ = unsafe { result::stream::destroy(self.copies) };
        // Copies are done, and whoever reads what they wrote is in the stream of all work, as the pool expects.
        for (capacity, idle) in state.idle {
            idle.into_iter().for_each(|(at, _)| self.pool.take_back(at, capacity));
        }
        for (at, capacity) in std::mem::take(&mut *self.returned()) {
            self.pool.take_back(at, capacity);
        }
    }
}
