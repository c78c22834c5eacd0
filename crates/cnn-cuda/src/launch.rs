//! A kernel and what it is called with.

use std::ffi::c_void;

use cnn_core::{Error, Plain, Result};
use cudarc::driver::result;

use crate::buffer::Buffer;
use crate::driver::Context;
use crate::modules::Kernel;
use crate::stream::Node;

/// Threads of a block, where a kernel has no wish of its own.
pub(crate) const THREADS: usize = 256;

/// The most blocks along the first axis of a grid; the others may have 65,535.
pub(crate) const MOST_BLOCKS: [usize; 3] = [(1 << 31) - 1, 65_535, 65_535];

/// A plain value that a kernel takes as it lies in memory: numbers, and specs of the same layout on both sides.
///
/// # Safety
/// The type has a fixed layout (`repr(C)` or a number) without padding. Addresses in it are of the GPU's memory, and of buffers
/// that live at least until the launch is in the stream.
pub(crate) unsafe trait Argument: Copy + 'static {}

macro_rules! arguments {
    ($($t:ty)*) => { $(
        // SAFETY: a number.
        unsafe impl Argument for $t {}
    )* };
}
arguments!(i32 u32 u64 f32 f64);

/// A call of a kernel that is being put together.
pub(crate) struct Launch<'a> {
    context: &'a Context,
    kernel: Kernel,
    /// Where each argument begins in `words`.
    places: Vec<usize>,
    words: Vec<u64>,
    shared: usize,
}

impl<'a> Launch<'a> {
    pub(crate) fn new(context: &'a Context, kernel: Kernel, shared: usize) -> Self {
        Launch { context, kernel, places: Vec::with_capacity(12), words: Vec::with_capacity(32), shared }
    }

    /// Takes fewer bytes of shared memory in this call.
    pub(crate) fn with_shared(self, shared: usize) -> Self {
        debug_assert!(shared <= self.shared);
        Launch { shared, ..self }
    }

    /// A buffer that the kernel reads, writes or both.
    pub(crate) fn buffer<U: Plain>(self, buffer: &Buffer<U>) -> Self {
        self.value(buffer.at())
    }

    /// A buffer or a null pointer.
    pub(crate) fn optional<U: Plain>(self, buffer: Option<&Buffer<U>>) -> Self {
        self.value(buffer.map_or(0, Buffer::at))
    }

    /// A number or a spec.
    pub(crate) fn value<A: Argument>(mut self, value: A) -> Self {
        let words = size_of::<A>().div_ceil(size_of::<u64>());
        self.places.push(self.words.len());
        self.words.resize(self.words.len() + words, 0);
        let place = self.words.len() - words;
        // SAFETY: there is room for the value in the words that were added just now, and an argument is plain.
        unsafe { std::ptr::from_ref(&value).copy_to_nonoverlapping(self.words[place..].as_mut_ptr().cast(), 1) };
        self
    }

    /// Puts the kernel into the stream, on a grid of blocks of so many threads. An empty grid is nothing to do.
    ///
    /// # Errors
    /// More blocks than a grid can have, or what the driver says.
    ///
    /// # Safety
    /// The arguments are those that the kernel takes, in order; every element that it reads or writes for them lies within
    /// their buffers; and who else has a handle to a buffer that it writes does not expect it unchanged.
    pub(crate) unsafe fn on(mut self, grid: [usize; 3], threads: usize) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let name = self.kernel.name;
        if (0..3).any(|axis| grid[axis] > MOST_BLOCKS[axis]) {
            let rule = format!("must be at most {MOST_BLOCKS:?}: the batch is too large for one kernel");
            return Err(Error::invalid(format!("grid of kernel {name}"), format!("{grid:?}"), rule));
        }
        let base = self.words.as_mut_ptr();
        // SAFETY: every place is within the words.
        let mut pointers: Vec<*mut c_void> =
            self.places.iter().map(|&place| unsafe { base.add(place) }.cast()).collect();
        let [x, y, z] = grid.map(|blocks| blocks as u32);
        let (function, shared) = (self.kernel.function, self.shared as u32);
        // SAFETY: the function and the stream are this context's; the pointers are to the arguments, which the driver copies
        // before it returns; the rest is the caller's promise.
        let launch = |stream| unsafe {
            result::launch_kernel(function, (x, y, z), (threads as u32, 1, 1), shared, stream, &mut pointers)
        };
        self.context.stream()?.enqueue(Node::Kernel(function as usize), launch).map_err(|error| {
            let shared = self.shared;
            let how = format!("grid {grid:?}, {threads} threads, {shared} bytes of shared memory");
            self.context.error(format!("kernel {name} was not launched ({how})"), error)
        })
    }

    /// [`on`](Self::on) a row of blocks with a thread for each of `count` elements, or for several where there are very many:
    /// the kernel's loop takes steps of the grid.
    ///
    /// # Errors
    /// As `on`.
    ///
    /// # Safety
    /// As `on`.
    pub(crate) unsafe fn over(self, count: usize) -> Result<()> {
        let blocks = count.div_ceil(THREADS).min(ROW);
        // SAFETY: the caller's promise.
        unsafe { self.on([blocks, 1, 1], THREADS) }
    }

    /// The same with a thread for each 16 bytes of `count` numbers of this type.
    ///
    /// # Errors
    /// As `on`.
    ///
    /// # Safety
    /// As `on`.
    pub(crate) unsafe fn over_vectors<U: Plain>(self, count: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.over(count.div_ceil(VECTOR / size_of::<U>())) }
    }
}

/// The most bytes that one instruction of a thread moves.
pub(crate) const VECTOR: usize = 16;

/// The most blocks of a kernel whose loop takes steps of the grid: some waves of the largest GPU.
const ROW: usize = 1 << 14;
