//! The device: an instruction set, some threads, a free list of memory, and parallel loops over them.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;

use cnn_core::{Error, Plain, Result};

use crate::buffer::{Buffer, Pool};
use crate::conv_algorithm::ConvAlgorithm;
use crate::conv2d::plans::Plans;
use crate::element::{CpuElement, lanes};
use crate::scratch::{Rooms, Scratch};
use crate::simd::{Isa, SimdKernel};
use crate::threads::{CHUNK, Parts, chunks};
use crate::workers::Workers;

/// A CPU as a device: activations in f32, bf16 or f64, an instruction set, some threads. Clones share threads and memory.
pub struct Cpu<T: CpuElement>(Arc<Inner>, PhantomData<T>);

struct Inner {
    isa: Isa,
    threads: usize,
    /// None for one thread: then everything runs on the caller's.
    workers: Option<Workers>,
    conv: ConvAlgorithm,
    pool: Arc<Pool>,
    plans: Plans,
}

impl<T: CpuElement> Cpu<T> {
    /// All cores that this process may use (the cgroup's quota included), and the best instruction set that the
    /// environment variable `CNN_ISA` allows.
    ///
    /// # Errors
    /// As [`with_threads`](Self::with_threads).
    pub fn new() -> Result<Self> {
        Self::with_threads(available_threads())
    }

    /// This many threads, and the best instruction set that the environment variable `CNN_ISA` allows.
    ///
    /// # Errors
    /// No threads, threads that the system does not give, or a `CNN_ISA` that does not exist.
    pub fn with_threads(threads: usize) -> Result<Self> {
        Self::with_isa(threads, Isa::detect()?)
    }

    /// This many threads and this instruction set.
    ///
    /// # Errors
    /// No threads, or threads that the system does not give.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        Self::with_algorithm(threads, isa, ConvAlgorithm::Auto)
    }

    /// This many threads, this instruction set, and this algorithm for convolutions.
    ///
    /// # Errors
    /// No threads, or threads that the system does not give.
    pub fn with_algorithm(threads: usize, isa: Isa, conv: ConvAlgorithm) -> Result<Self> {
        let isa = if T::PAIRS { isa } else { isa.without_dots() };
        let workers = match threads {
            0 => return Err(Error::invalid("threads", 0, "must be at least 1")),
            1 => None,
            _ => {
                let workers = Workers::new(threads - 1);
                Some(
                    workers
                        .map_err(|e| Error::Device { backend: "cpu", message: format!("{threads} threads: {e}") })?,
                )
            }
        };
        let (pool, plans) = (Arc::default(), Plans::default());
        Ok(Cpu(Arc::new(Inner { isa, threads, workers, conv, pool, plans }), PhantomData))
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// Lanes of a vector of what is computed with.
    pub(crate) fn lanes(&self) -> usize {
        lanes::<T>(self.0.isa)
    }

    /// The algorithm that convolutions were asked to run by.
    pub fn conv_algorithm(&self) -> ConvAlgorithm {
        self.0.conv
    }

    /// How many threads work on an operation.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// A buffer whose contents mean nothing yet.
    pub(crate) fn alloc<U: Plain>(&self, len: usize) -> Result<Buffer<U>> {
        Buffer::new(&self.0.pool, len)
    }

    /// A buffer of `len` times `value`.
    pub(crate) fn filled<U: Plain>(&self, len: usize, value: U) -> Result<Buffer<U>> {
        let mut buffer = self.alloc(len)?;
        self.for_each_part(chunks(buffer.make_mut()?, CHUNK), |_, part: &mut [U]| part.fill(value));
        Ok(buffer)
    }

    /// Working memory of an operation, its contents meaning nothing yet.
    pub(crate) fn scratch<U: Plain>(&self, len: usize) -> Result<Scratch<U>> {
        Scratch::new(&self.0.pool, len)
    }

    /// Working memory for a loop of `tasks` tasks, which take a room each: pieces of these lengths.
    pub(crate) fn rooms<U: Plain, const N: usize>(&self, tasks: usize, lens: [usize; N]) -> Result<Rooms<U, N>> {
        Rooms::new(&self.0.pool, self.0.threads.min(tasks), lens)
    }

    /// Calls `body` with every number below `count`, in parallel.
    pub(crate) fn for_each(&self, count: usize, body: impl Fn(usize) + Sync) {
        match &self.0.workers {
            Some(workers) if count > 1 => workers.for_each(count, &body),
            _ => (0..count).for_each(body),
        }
    }

    /// Calls `body` with the index and the elements of every part, in parallel:
    /// `cpu.for_each_part((chunks(y, n), chunks(sums, 2)), |i, (y, sums)| ...)`.
    pub(crate) fn for_each_part<P: Parts>(&self, parts: P, body: impl Fn(usize, P::Part) + Sync) {
        // SAFETY: every index below the count is visited once.
        self.for_each(parts.count(), |i| body(i, unsafe { parts.part(i) }));
    }

    /// The free list.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// The plans of the convolutions so far.
    pub(crate) fn plans(&self) -> &Plans {
        &self.0.plans
    }

    /// Runs a kernel on this thread with the vectors of this CPU.
    #[inline]
    pub(crate) fn run<K: SimdKernel>(&self, kernel: K) -> K::Output {
        self.0.isa.run(kernel)
    }
}

/// The cores that this process may use, the cgroup's quota included.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl<T: CpuElement> Clone for Cpu<T> {
    fn clone(&self) -> Self {
        Cpu(self.0.clone(), PhantomData)
    }
}

impl<T: CpuElement> Debug for Cpu<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cpu<{}>({}, {} threads)", T::DTYPE, self.0.isa, self.0.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_visited_once_with_its_partners() {
        for threads in [1, 3] {
            let cpu = Cpu::<f32>::with_threads(threads).unwrap();
            let (mut x, mut sums) = (vec![1u32; 103], vec![0u32; 11]);
            cpu.for_each_part((chunks(&mut x, 10), chunks(&mut sums, 1)), |i, (x, sum)| {
                x.iter_mut().for_each(|x| *x += i as u32);
                sum[0] += x.iter().sum::<u32>();
            });
            assert_eq!(x[57], 6);
            assert_eq!((sums[5], sums[10]), (60, 33));
        }
    }
}
