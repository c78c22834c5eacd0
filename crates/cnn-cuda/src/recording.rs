//! A pass that is recorded as a graph and played: one launch, whatever it consists of.
//!
//! A recording reads its input and writes its output where they were when it was made, so both are copied, and it
//! works in memory that nobody else is given. That is worth it where the pass is short; one that takes much memory keeps the
//! GPU busy for longer than the host takes to ask for it.

use std::sync::{Arc, PoisonError};

use cnn_core::Result;
use cnn_core::backend::{Data, Recorded, check};
use cudarc::driver::result;

use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::driver::Context;
use crate::element::CudaElement;
use crate::pool::{Arena, Pool};
use crate::stream::Exec;

/// The most bytes that a recording may keep to itself.
const MOST: usize = 64 << 20;

/// A recording. What it was made of outlives its last launch.
struct Recording<T: CudaElement> {
    exec: Exec,
    input: Buffer<T>,
    output: Buffer<T>,
    memory: Arc<Arena>,
    context: Arc<Context>,
}

/// What a pass made of its input, and its recording.
type Made<T> = (Data<Cuda<T>>, Option<Recorded<Cuda<T>>>);

pub(crate) fn record<T: CudaElement>(
    cuda: &Cuda<T>,
    input: Data<Cuda<T>>,
    pass: &dyn Fn(Data<Cuda<T>>) -> Result<Data<Cuda<T>>>,
) -> Result<Made<T>> {
    if !cuda.graphs() {
        return Ok((pass(input)?, None));
    }
    let _one_at_a_time = cuda.recording().lock().unwrap_or_else(PoisonError::into_inner);
    let own = cuda.alloc(input.len())?;
    cuda.copy(&input, &own)?;
    let mut memory = None;
    let (output, exec) = cuda.context().record(|| {
        let requests = Requests::of(cuda.pool());
        memory = Some(requests.arena.clone());
        pass(own.clone())
    })?;
    let (Some(exec), Some(memory)) = (exec, memory) else { return Ok((output, None)) };
    let recording = Recording { exec, input: own, output, memory, context: cuda.context().clone() };
    let first = cuda.alloc(recording.output.len())?;
    cuda.copy(&recording.output, &first)?;
    if recording.memory.bytes() > MOST {
        return Ok((first, None));
    }
    let cuda = cuda.clone();
    Ok((first, Some(Recorded::new(move |input| recording.play(&cuda, input)))))
}

impl<T: CudaElement> Recording<T> {
    fn play(&self, cuda: &Cuda<T>, input: &Buffer<T>) -> Result<Buffer<T>> {
        check::length("the input of a recording", input.len(), self.input.len())?;
        let output = cuda.alloc(self.output.len())?;
        let copy = |from: &Buffer<T>, to: &Buffer<T>, stream| match from.bytes() {
            0 => Ok(()),
            // SAFETY: both have as many numbers; who reads or writes the recording's own is in this stream, in this order.
            bytes => unsafe { result::memcpy_dtod_async(to.at(), from.at(), bytes, stream) },
        };
        let (before, after) = (|stream| copy(input, &self.input, stream), |stream| copy(&self.output, &output, stream));
        let played = self.context.stream()?.replay(&self.exec, before, after);
        played.map_err(|error| self.context.error("a recorded pass could not be launched", error))?;
        Ok(output)
    }
}

impl<T: CudaElement> Drop for Recording<T> {
    fn drop(&mut self) {
        let _ = self.context.synchronise(); // where it fails the device is lost, and the graph with it
    }
}

/// While it lives, this thread's requests for memory go to an arena.
struct Requests<'a> {
    pool: &'a Pool,
    arena: Arc<Arena>,
}

impl<'a> Requests<'a> {
    fn of(pool: &'a Arc<Pool>) -> Self {
        Requests { pool, arena: pool.begin_arena() }
    }
}

impl Drop for Requests<'_> {
    fn drop(&mut self) {
        self.pool.end_arena();
    }
}
