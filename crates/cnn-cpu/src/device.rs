//! The device: an instruction set, some threads, a free list of memory, and parallel loops over them.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;

use cnn_core::{Error, Plain, Result};
use rayon::ThreadPool;

use crate::buffer::Buffer;
use crate::conv_algorithm::ConvAlgorithm;
use crate::conv2d::plans::Plans;
use crate::element::{CpuElement, lanes};
use crate::optimised;
use crate::pool::Pool;
use crate::scratch::{Rooms, Scratch};
use crate::simd::{Isa, SimdKernel};
use crate::threads::{CHUNK, Parts, chunks};
use crate::workers::{THREADS, Workers};

/// A CPU as a device: activations in f32, bf16 or f64, an instruction set, some threads. Clones share threads and memory.
pub struct Cpu<T: CpuElement>(Arc<Inner>, PhantomData<T>);

struct Inner {
    isa: Isa,
    /// None for one thread: then everything runs on the caller's.
    workers: Option<Workers>,
    conv: ConvAlgorithm,
    pool: Arc<Pool>,
    plans: Plans,
    /// Threads that it says it has, where loops are left out.
    idle: Option<usize>,
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
    /// Not 1 to 1,024 threads, threads that the system does not give, or a `CNN_ISA` that does not exist.
    pub fn with_threads(threads: usize) -> Result<Self> {
        Self::with_isa(threads, Isa::detect()?)
    }

    /// This many threads and this instruction set.
    ///
    /// # Errors
    /// Not 1 to 1,024 threads, or threads that the system does not give.
    pub fn with_isa(threads: usize, isa: Isa) -> Result<Self> {
        Self::with_algorithm(threads, isa, ConvAlgorithm::Auto)
    }

    /// This many threads, this instruction set, and this algorithm for convolutions.
    ///
    /// # Errors
    /// Not 1 to 1,024 threads, or threads that the system does not give.
    pub fn with_algorithm(threads: usize, isa: Isa, conv: ConvAlgorithm) -> Result<Self> {
        let not_given = |e| Error::Device { backend: "cpu", message: format!("{threads} threads: {e}") };
        let workers = match threads {
            1 => None,
            2..=THREADS => Some(Workers::new(threads).map_err(not_given)?),
            _ => return Err(refused(threads)),
        };
        Ok(Self::on(workers, isa, conv))
    }

    /// The threads of a pool that the program has: as many as it has, the caller of an operation counted, who may be one
    /// of the pool's or any other. An operation asks for its helpers by `spawn` and never waits for one that has not come,
    /// so the pool may be busy with other work; a helper gives its thread back when no operation has come for 100
    /// microseconds, and after 50 milliseconds of operations, so that whoever waits for its thread gets it. The instruction set as in [`with_threads`](Self::with_threads).
    ///
    /// # Errors
    /// A `CNN_ISA` that does not exist.
    pub fn in_pool(pool: Arc<ThreadPool>) -> Result<Self> {
        Ok(Self::on(Some(Workers::in_pool(pool)), Isa::detect()?, ConvAlgorithm::Auto))
    }

    /// A backend that takes the memory that [`with_threads`](Self::with_threads) would take and computes nothing, so that no page of
    /// that is ever there: [`most_held`](Self::most_held) then says at once what a model needs for a batch, however large. All numbers
    /// are zero, or whatever was there before.
    ///
    /// # Errors
    /// As `with_threads`.
    pub fn idle(threads: usize) -> Result<Self> {
        if !(1..=THREADS).contains(&threads) {
            return Err(refused(threads));
        }
        let inner = Self::inner(None, Isa::detect()?, ConvAlgorithm::Auto);
        let pool = Arc::new(Pool::untouched());
        Ok(Cpu(Arc::new(Inner { pool, idle: Some(threads), ..inner }), PhantomData))
    }

    fn on(workers: Option<Workers>, isa: Isa, conv: ConvAlgorithm) -> Self {
        optimised::note_once();
        Cpu(Arc::new(Self::inner(workers, isa, conv)), PhantomData)
    }

    fn inner(workers: Option<Workers>, isa: Isa, conv: ConvAlgorithm) -> Inner {
        let isa = if T::PAIRS { isa } else { isa.without_dots() };
        let (pool, plans) = (Arc::default(), Plans::default());
        Inner { isa, workers, conv, pool, plans, idle: None }
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

    /// Whether it computes nothing: what its memory holds means nothing then.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.idle.is_some()
    }

    /// How many threads work on an operation, the caller's among them.
    pub fn threads(&self) -> usize {
        self.0.idle.unwrap_or_else(|| self.0.workers.as_ref().map_or(1, Workers::threads))
    }

    /// The pool that operations take their helpers from, for whatever else the program does beside them, such as decoding
    /// images; none for one thread, whose work is done by whoever asks for it. A backend's own pool has one thread less
    /// than the backend, since the caller works too, and so should whoever puts other work into it: its threads turn to
    /// that when the operations pause for 100 microseconds.
    pub fn thread_pool(&self) -> Option<&Arc<ThreadPool>> {
        self.0.workers.as_ref().map(Workers::pool)
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
        Rooms::new(&self.0.pool, self.threads().min(tasks), lens)
    }

    /// Calls `body` with every number below `count`, in parallel.
    pub(crate) fn for_each(&self, count: usize, body: impl Fn(usize) + Sync) {
        self.for_each_of(count, &body);
    }

    /// The same of any body: a loop's own code is compiled once, and not for each of some hundred bodies.
    fn for_each_of(&self, count: usize, body: &(dyn Fn(usize) + Sync)) {
        if self.is_idle() {
            return;
        }
        match &self.0.workers {
            Some(workers) if count > 1 => workers.for_each(count, body),
            _ => (0..count).for_each(body),
        }
    }

    /// Calls `body` with the index and the elements of every part, in parallel:
    /// `cpu.for_each_part((chunks(y, n), chunks(sums, 2)), |i, (y, sums)| ...)`.
    pub(crate) fn for_each_part<P: Parts>(&self, parts: P, body: impl Fn(usize, P::Part) + Sync) {
        // SAFETY: every index below the count is visited once.
        self.for_each(parts.count(), |i| body(i, unsafe { parts.part(i) }));
    }

    /// The most bytes that this backend and its clones have held at once, those that wait to be used again among them. They are
    /// given back to the system when the last buffer and the last clone are gone.
    pub fn most_held(&self) -> u64 {
        self.0.pool.most_held() as u64
    }

    /// The free list.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
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

fn refused(threads: usize) -> Error {
    Error::invalid("threads", threads, "must be from 1 to 1,024")
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
        write!(f, "Cpu<{}>({}, {} threads)", T::DTYPE, self.0.isa, self.threads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_that_cannot_be_meant_is_an_error() {
        for threads in [0, 1025, 32_000, usize::MAX] {
            let error = Cpu::<f32>::with_threads(threads).unwrap_err().to_string();
            assert_eq!(error, format!("threads {threads}: must be from 1 to 1,024"));
        }
    }

    #[test]
    fn a_backend_in_a_pool_counts_and_shows_its_threads() {
        for threads in [1, 3] {
            let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
            let cpu = Cpu::<f32>::in_pool(pool.clone()).unwrap();
            assert_eq!(cpu.threads(), threads);
            assert!(Arc::ptr_eq(cpu.thread_pool().unwrap(), &pool));
            assert_eq!(pool.install(|| cpu.filled(100_000, 1.5f32)).unwrap().as_slice(), vec![1.5; 100_000]);
        }
        assert!(Cpu::<f32>::with_threads(1).unwrap().thread_pool().is_none());
        let own = Cpu::<f32>::with_threads(3).unwrap();
        assert_eq!((own.threads(), own.thread_pool().unwrap().current_num_threads()), (3, 2));
    }

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
