//! The threads that decode and draw.
//!
//! A picture takes from a fraction of a millisecond to a second, so threads take them one by one instead of in equal
//! shares. Whatever is done has its place in the result, so no result depends on the threads.

use crate::{Error, Result};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Most threads that a pool may be asked for.
pub const MAX_THREADS: usize = 1024;

/// Threads that decode and draw pictures; a clone is the same threads.
///
/// They are started when they are first needed. Where the system gives fewer than were asked for, there are as many as
/// it gives, and where it gives none, whoever asks does the work.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Lazy>);

#[derive(Debug)]
struct Lazy {
    threads: usize,
    pool: OnceLock<Option<Arc<ThreadPool>>>,
}

impl Default for Pool {
    /// A thread for each core that this process may use.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
        Pool(Arc::new(Lazy { threads: threads.min(MAX_THREADS), pool: OnceLock::new() }))
    }
}

impl From<Arc<ThreadPool>> for Pool {
    /// The threads of a program that has some already.
    fn from(pool: Arc<ThreadPool>) -> Self {
        Pool(Arc::new(Lazy { threads: pool.current_num_threads(), pool: OnceLock::from(Some(pool)) }))
    }
}

impl Pool {
    /// So many threads; 0 for one for each core that this process may use.
    ///
    /// # Errors
    /// More than [`MAX_THREADS`].
    pub fn new(threads: usize) -> Result<Self> {
        match threads {
            0 => Ok(Pool::default()),
            1..=MAX_THREADS => Ok(Pool(Arc::new(Lazy { threads, pool: OnceLock::new() }))),
            _ => Err(Error::invalid("threads", threads, format!("must be at most {MAX_THREADS}"))),
        }
    }

    /// How many threads were asked for.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// The threads, if there are any.
    fn started(&self) -> Option<&Arc<ThreadPool>> {
        let start = || {
            let fewer = |&threads: &usize| (threads > 1).then_some(threads / 2);
            std::iter::successors(Some(self.0.threads), fewer).find_map(|threads| {
                let named = |i| format!("decode-{i}");
                ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build().ok().map(Arc::new)
            })
        };
        self.0.pool.get_or_init(start).as_ref()
    }

    /// Calls `work` with each number below `count`; its results are in the order of the numbers.
    pub fn map<R: Send>(&self, count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
        // One is done as soon by whoever asks.
        match self.started().filter(|_| count > 1) {
            Some(pool) => pool.install(|| (0..count).into_par_iter().with_max_len(1).map(work).collect()),
            None => (0..count).map(work).collect(),
        }
    }

    /// Calls `work` with the number and the bytes of each image of `size` bytes; its results are in their order.
    pub(crate) fn fill<R: Send>(
        &self,
        images: &mut [u8],
        size: usize,
        work: impl Fn(usize, &mut [u8]) -> R + Sync + Send,
    ) -> Vec<R> {
        let each = |(i, image): (usize, &mut [u8])| work(i, image);
        match self.started() {
            Some(pool) => {
                pool.install(|| images.par_chunks_exact_mut(size).enumerate().with_max_len(1).map(each).collect())
            }
            None => images.chunks_exact_mut(size).enumerate().map(each).collect(),
        }
    }

    /// Lets `helpers` threads at most run `work` some time later, or none if there are none.
    pub(crate) fn spawn(&self, helpers: usize, work: impl Fn() + Clone + Send + 'static) {
        if let Some(pool) = self.started() {
            for _ in 0..helpers.min(pool.current_num_threads()) {
                pool.spawn_fifo(work.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_their_places_with_any_threads_or_none() {
        let none = Pool(Arc::new(Lazy { threads: 4, pool: OnceLock::from(None) }));
        let own = Pool::from(Arc::new(ThreadPoolBuilder::new().num_threads(2).build().unwrap()));
        assert_eq!(own.threads(), 2);
        for pool in [none, own, Pool::default(), Pool::new(3).unwrap()] {
            assert_eq!(pool.map(100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
            let mut bytes = [0; 21];
            let numbers = pool.fill(&mut bytes, 3, |i, image| {
                image.fill(i as u8);
                i
            });
            assert_eq!((numbers, &bytes[3..9]), ((0..7).collect(), &[1, 1, 1, 2, 2, 2][..]));
        }
        let error = Pool::new(MAX_THREADS + 1).unwrap_err().to_string();
        assert_eq!(error, "threads: 1025: must be at most 1024");
    }
}
