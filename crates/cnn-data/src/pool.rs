//! The threads that decode and draw.
//!
//! A picture takes from a fraction of a millisecond to a second, so threads take them one by one instead of in equal
//! shares. Whatever is done has its place in the result, so no result depends on the threads.

use crate::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// Most threads that a pool may be asked for.
pub const MAX_THREADS: usize = 1024;

/// Threads that decode and draw pictures; a clone is the same threads.
///
/// Whoever asks for pictures works too. The others are started when they are first needed. Where the system gives fewer
/// than were asked for, there are as many as it gives, and where it gives none, whoever asks does all of the work.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Lazy>);

#[derive(Debug)]
struct Lazy {
    threads: usize,
    pool: OnceLock<Option<Arc<ThreadPool>>>,
}

impl Default for Pool {
    /// A thread for each core that this process may use, the caller's among them.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
        Pool(Arc::new(Lazy { threads: threads.min(MAX_THREADS), pool: OnceLock::new() }))
    }
}

impl From<Arc<ThreadPool>> for Pool {
    /// The threads of a program that has some already.
    fn from(pool: Arc<ThreadPool>) -> Self {
        Pool(Arc::new(Lazy { threads: pool.current_num_threads() + 1, pool: OnceLock::from(Some(pool)) }))
    }
}

impl Pool {
    /// So many threads, that of whoever asks for pictures among them; 0 for one for each core that this process may use.
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

    /// How many threads were asked for, the caller's among them.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// The threads, if there are any.
    fn started(&self) -> Option<&Arc<ThreadPool>> {
        let start = || {
            let fewer = |&threads: &usize| (threads > 1).then_some(threads / 2);
            let helpers = Some(self.0.threads - 1).filter(|&helpers| helpers > 0);
            std::iter::successors(helpers, fewer).find_map(|threads| {
                let named = |i| format!("decode-{i}");
                ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build().ok().map(Arc::new)
            })
        };
        self.0.pool.get_or_init(start).as_ref()
    }

    /// Calls `work` with each number below `count`, on these threads and the caller's; its results are in the order of the
    /// numbers.
    pub fn map<R: Send>(&self, count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
        // One is done as soon by whoever asks.
        let Some(pool) = self.started().filter(|_| count > 1) else { return (0..count).map(work).collect() };
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
        let take = || {
            let mut own = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= count {
                    break;
                }
                own.push((i, work(i)));
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
        };
        pool.in_place_scope(|scope| {
            for _ in 0..pool.current_num_threads().min(count - 1) {
                scope.spawn(|_| take());
            }
            take();
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_unstable_by_key(|(i, _)| *i);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Calls `work` with the number and the bytes of each image of `size` bytes; its results are in their order.
    pub(crate) fn fill<R: Send>(
        &self,
        images: &mut [u8],
        size: usize,
        work: impl Fn(usize, &mut [u8]) -> R + Sync + Send,
    ) -> Vec<R> {
        // Each is taken once, so nobody ever waits.
        let images: Vec<Mutex<&mut [u8]>> = images.chunks_exact_mut(size).map(Mutex::new).collect();
        self.map(images.len(), |i| work(i, &mut images[i].lock().unwrap_or_else(PoisonError::into_inner)))
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
        assert_eq!(own.threads(), 3);
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
