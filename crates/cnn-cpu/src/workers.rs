//! Where the helpers of a backend's loops come from: a thread pool of rayon's, its own or the program's.
//!
//! The pool gives threads, and the loops stay [`ForkJoin`]'s: a helper is a job of the pool that stays while loops keep
//! coming. So a program has one set of threads, and what else it does in the pool takes turns with the loops.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::fork_join::{ForkJoin, MOST};

/// The most threads of a backend.
pub(crate) const THREADS: usize = MOST + 1;

/// Threads that help with parallel loops.
pub(crate) struct Workers {
    pool: Arc<ThreadPool>,
    loops: Arc<ForkJoin>,
}

impl Workers {
    /// A pool of one thread less than `threads`, as the caller works too: one more would have nothing to do, and take a
    /// core from those that have whenever rayon wakes it.
    ///
    /// # Errors
    /// Threads that the system does not give.
    pub(crate) fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let name = |i| format!("cnn-cpu-{i}");
        let pool = ThreadPoolBuilder::new().num_threads((threads - 1).max(1)).thread_name(name).build()?;
        Ok(Self::with_helpers(Arc::new(pool), threads - 1))
    }

    /// The threads of `pool`, less one for the caller, who may be one of them.
    pub(crate) fn in_pool(pool: Arc<ThreadPool>) -> Self {
        let helpers = pool.current_num_threads().min(THREADS) - 1;
        Self::with_helpers(pool, helpers)
    }

    fn with_helpers(pool: Arc<ThreadPool>, helpers: usize) -> Self {
        Workers { pool, loops: Arc::new(ForkJoin::new(helpers)) }
    }

    /// The pool.
    pub(crate) fn pool(&self) -> &Arc<ThreadPool> {
        &self.pool
    }

    /// The caller's thread and those that help it.
    pub(crate) fn threads(&self) -> usize {
        self.loops.helpers() + 1
    }

    /// Calls `body` with every number below `count`, on this thread and the helpers. A panic of `body` is passed on.
    pub(crate) fn for_each(&self, count: usize, body: &(dyn Fn(usize) + Sync)) {
        let place = self.pool.current_thread_index().map_or(0, |i| i + 1);
        self.loops.for_each(place, count, &body, || {
            let loops = self.loops.clone();
            self.pool.spawn(move || help(loops));
        });
    }
}

/// A job of the pool. The pool's threads have the places from 1 on, and a caller that is none of them 0.
fn help(loops: Arc<ForkJoin>) {
    let place = rayon::current_thread_index().map_or(0, |i| i + 1);
    loops.help(place, || {
        let loops = loops.clone();
        rayon::spawn(move || help(loops)); // in the pool of this thread
    });
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    fn pool(threads: usize) -> Arc<ThreadPool> {
        Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }

    /// How often each task of a loop ran.
    fn counts(workers: &Workers, count: usize) -> Vec<usize> {
        let ran: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        workers.for_each(count, &|i: usize| {
            ran[i].fetch_add(1, Relaxed);
        });
        ran.into_iter().map(AtomicUsize::into_inner).collect()
    }

    /// The threads that ran tasks which wait for each other.
    fn threads_of(workers: &Workers, count: usize) -> HashSet<ThreadId> {
        let (threads, arrived) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
        workers.for_each(count, &|_| {
            threads.lock().unwrap().insert(std::thread::current().id());
            arrived.fetch_add(1, Relaxed);
            while arrived.load(Relaxed) < count {
                std::thread::yield_now();
            }
        });
        threads.into_inner().unwrap()
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 7] {
            let workers = Workers::new(threads).unwrap();
            for round in 0..400 {
                let count = round % 40;
                assert_eq!(counts(&workers, count), vec![1; count]);
                if round % 100 == 0 {
                    std::thread::sleep(Duration::from_millis(1)); // the helpers give their threads back
                }
            }
        }
    }

    #[test]
    fn all_threads_help_and_come_again() {
        for threads in [2, 3, 8] {
            let workers = Workers::new(threads).unwrap();
            for _ in 0..20 {
                let met = threads_of(&workers, threads);
                assert!(met.len() == threads && met.contains(&std::thread::current().id()));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn a_loop_inside_the_pool_uses_the_pool() {
        for threads in [1, 2, 4] {
            let pool = pool(threads);
            let workers = Workers::in_pool(pool.clone());
            assert_eq!(workers.threads(), threads);
            let inside = pool.install(|| threads_of(&workers, threads));
            assert_eq!(inside.len(), threads);
            assert!(!inside.contains(&std::thread::current().id()));
        }
    }

    /// Helpers that are asked for and cannot come: nobody waits for them, and they are not asked for again and again.
    #[test]
    fn a_pool_with_no_free_thread_leaves_the_loop_to_its_caller() {
        let pool = pool(2);
        let workers = Workers::in_pool(pool.clone());
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = Arc::new(Mutex::new(blocked));
        for _ in 0..2 {
            let blocked = blocked.clone();
            pool.spawn(move || assert!(blocked.lock().unwrap().recv().is_err()));
        }
        for _ in 0..100 {
            assert_eq!(counts(&workers, 40), [1; 40]);
        }
        drop(release);
        assert_eq!(threads_of(&workers, 2).len(), 2, "the helper came when it could");
    }

    #[test]
    fn loops_on_every_thread_of_the_pool_at_once_end() {
        let pool = pool(3);
        let workers = Workers::in_pool(pool.clone());
        pool.broadcast(|_| {
            for round in 0..60 {
                assert_eq!(counts(&workers, round % 30), vec![1; round % 30]);
            }
        });
    }

    #[test]
    fn a_pool_that_its_owner_drops_goes_on_for_the_workers() {
        let pool = pool(3);
        let workers = Workers::in_pool(pool.clone());
        drop(pool);
        assert_eq!(threads_of(&workers, 3).len(), 3);
        drop(workers); // helpers are still about, and hold what they look at
    }
}
