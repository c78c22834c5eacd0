//! Numbers on their way to the host while the GPU goes on.
//!
//! The copy goes to memory that the driver knows (pinned), as it would otherwise be waited for, and an event behind it in the
//! stream says when it is there. Pinned memory is taken and given back rarely, as that stops the GPU: small blocks wait in a list.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::backend::Later;
use cnn_core::{Plain, Result};
use cudarc::driver::result;
use cudarc::driver::sys::{CUevent, CUevent_flags};

use crate::buffer::Buffer;
use crate::driver::Context;

/// Bytes of a block: what a step comes to is a few numbers.
const BLOCK: usize = 256;

/// Blocks of pinned memory that nobody uses.
#[derive(Debug)]
pub(crate) struct Pinned {
    context: Arc<Context>,
    free: Mutex<Vec<Block>>,
}

#[derive(Debug)]
struct Block(*mut u8);

// SAFETY: a block is memory of the host that its holder alone knows.
unsafe impl Send for Block {}

impl Pinned {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Pinned { context, free: Mutex::default() }
    }

    fn take(&self) -> Result<Block> {
        let waiting = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(block) = waiting {
            return Ok(block);
        }
        self.context.stream()?; // makes the context current
        // SAFETY: the memory is given back in drop.
        let memory = unsafe { result::malloc_host(BLOCK, 0) };
        memory.map(|at| Block(at.cast())).map_err(|error| self.context.error("pinned memory could not be had", error))
    }

    /// A copy of a buffer of few numbers; none where they do not fit a block.
    pub(crate) fn download_later<T: Plain>(self: &Arc<Self>, buffer: &Buffer<T>) -> Result<Option<Later<T>>> {
        if buffer.bytes() > BLOCK || buffer.is_empty() {
            return Ok(None);
        }
        let failed = |error| self.context.error("numbers could not be sent to the host", error);
        let (block, stream) = (self.take()?, self.context.stream()?);
        let event = match result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING) {
            Ok(event) => event,
            Err(error) => {
                self.free.lock().unwrap_or_else(PoisonError::into_inner).push(block);
                return Err(failed(error));
            }
        };
        let copy = Copy { pinned: self.clone(), block: Some(block), event };
        // SAFETY: a block is aligned for any number and has room for as many; nobody reads or reuses it before the event.
        let host = unsafe { std::slice::from_raw_parts_mut(copy.at().cast::<T>(), buffer.len()) };
        // SAFETY: the buffer has as many numbers, and the stream writes the block before the event.
        unsafe { result::memcpy_dtoh_async(host, buffer.at(), stream) }.map_err(failed)?;
        // SAFETY: the event and the stream are this context's.
        unsafe { result::event::record(event, stream) }.map_err(failed)?;
        let len = buffer.len();
        Ok(Some(Later::new(move || {
            copy.wait()?;
            // SAFETY: the copy is over, so that the block has these numbers, and nobody writes it while `copy` lives.
            Ok(unsafe { std::slice::from_raw_parts(copy.at().cast::<T>(), len) }.to_vec())
        })))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.stream().is_ok() {
            for block in self.free.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
                // SAFETY: the driver gave it, and nobody uses it. What fails here fails at the end of everything.
                let _ = unsafe { result::free_host(block.0.cast()) };
            }
        }
    }
}

/// A copy that was asked for.
struct Copy {
    pinned: Arc<Pinned>,
    block: Option<Block>,
    event: CUevent,
}

// SAFETY: the driver's handles may be used from any thread whose current context is theirs.
unsafe impl Send for Copy {}
// SAFETY: see Send; the block is only read, after the event.
unsafe impl Sync for Copy {}

impl Copy {
    fn at(&self) -> *mut u8 {
        self.block.as_ref().map_or(std::ptr::null_mut(), |block| block.0)
    }

    fn wait(&self) -> Result<()> {
        let context = &self.pinned.context;
        context.stream()?; // makes the context current
        // SAFETY: the event is this copy's own.
        unsafe { result::event::synchronize(self.event) }.map_err(|error| context.error("work failed", error))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let over = self.wait().is_ok();
        // SAFETY: it was created for this copy alone.
        let _ = unsafe { result::event::destroy(self.event) };
        // A block whose copy may still be under way, on a device that was lost, is not used again.
        if let (true, Some(block)) = (over, self.block.take()) {
            self.pinned.free.lock().unwrap_or_else(PoisonError::into_inner).push(block);
        }
    }
}
