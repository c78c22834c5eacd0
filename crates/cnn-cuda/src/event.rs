//! A place in a stream that others wait for.

use std::sync::Arc;

use cnn_core::Result;
use cudarc::driver::result;
use cudarc::driver::sys::{CUevent, CUevent_flags, CUresult};

use crate::driver::Context;

/// An event of the driver, which times nothing.
#[derive(Debug)]
pub(crate) struct Event {
    raw: CUevent,
    context: Arc<Context>,
}

// SAFETY: the driver's handles may be used from any thread whose current context is theirs.
unsafe impl Send for Event {}
// SAFETY: see Send.
unsafe impl Sync for Event {}

impl Event {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self> {
        context.stream()?; // makes the context current
        let created = result::event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let raw = created.map_err(|error| context.error("an event could not be created", error))?;
        Ok(Event { raw, context: context.clone() })
    }

    /// The driver's handle, which lives as long as self.
    pub(crate) fn raw(&self) -> CUevent {
        self.raw
    }

    /// Waits until all work before its place is done.
    ///
    /// # Errors
    /// What that work has failed with.
    pub(crate) fn wait(&self) -> Result<()> {
        self.context.stream()?; // makes the context current
        // SAFETY: the event is this one's own.
        unsafe { result::event::synchronize(self.raw) }.map_err(|error| self.context.error("work failed", error))
    }

    /// Whether all work before its place is done.
    ///
    /// # Errors
    /// What that work has failed with.
    pub(crate) fn is_over(&self) -> Result<bool> {
        self.context.stream()?; // makes the context current
        // SAFETY: the event is this one's own.
        match unsafe { result::event::query(self.raw) } {
            Ok(()) => Ok(true),
            Err(error) if error.0 == CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            Err(error) => Err(self.context.error("work failed", error)),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.stream().is_ok() {
            // SAFETY: it was created for this one alone. What fails here is the end of the device.
            let _ = unsafe { result::event::destroy(self.raw) };
        }
    }
}
