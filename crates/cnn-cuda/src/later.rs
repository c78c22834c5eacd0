//! Numbers on their way to the host while the GPU goes on: a copy to pinned memory, and an event behind it in the stream.

use std::sync::Arc;

use cnn_core::backend::Later;
use cnn_core::{Plain, Result};
use cudarc::driver::result;

use crate::buffer::Buffer;
use crate::driver::Context;
use crate::event::Event;
use crate::pinned::{Pinned, PinnedBlock};

/// Bytes of the largest copy: what a step comes to is a few numbers, and a batch of logits some thousands.
const MOST: usize = 1 << 20;

/// A copy of a buffer of few numbers; none where there are none, or too many to hold as much memory of the host for them.
pub(crate) fn download_later<T: Plain>(
    context: &Arc<Context>,
    pinned: &Arc<Pinned>,
    buffer: &Buffer<T>,
) -> Result<Option<Later<T>>> {
    if buffer.bytes() > MOST || buffer.is_empty() {
        return Ok(None);
    }
    let copy = Copy { block: Some(pinned.take(buffer.bytes())?), event: Event::new(context)? };
    // SAFETY: the block has room for as many, and nobody reads or reuses it before the event.
    let host = unsafe { copy.block().numbers_mut::<T>(buffer.len()) };
    let sent = context.stream()?.enqueue_alone(|stream| {
        // SAFETY: the buffer has as many numbers, and the stream writes the block before the event; both are this context's.
        unsafe {
            result::memcpy_dtoh_async(host, buffer.at(), stream)?;
            result::event::record(copy.event.raw(), stream)
        }
    });
    sent.map_err(|error| context.error("numbers could not be sent to the host", error))?;
    let len = buffer.len();
    Ok(Some(Later::new(move || {
        copy.event.wait()?;
        // SAFETY: the copy is over, so that the block has these numbers, and nobody writes it while `copy` lives.
        Ok(unsafe { copy.block().numbers::<T>(len) }.to_vec())
    })))
}

/// A copy that was asked for.
struct Copy {
    /// None only at the end.
    block: Option<PinnedBlock>,
    event: Event,
}

impl Copy {
    fn block(&self) -> &PinnedBlock {
        self.block.as_ref().expect("a copy has its block to its end")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if self.event.wait().is_err() {
            self.block.take().into_iter().for_each(PinnedBlock::abandon);
        }
    }
}
