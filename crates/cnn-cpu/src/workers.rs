//! The threads of a backend.
//!
//! Inference at batch 1 is some twenty parallel loops of a tenth of a millisecond, and the small networks' are of some
//! microseconds: what counts is how soon the other threads join in. So the caller works too, an idle thread looks for
//! the next loop for a while before it sleeps, and tasks are handed out by one counter:
//!
//! ```text
//! caller: write the job; state += 1 (odd: open); wake who sleeps; take tasks until none is left;
//!         state += 1 (even: closed); wait until nobody is inside
//! worker: wait until the state is odd and new; inside += 1; if it is still odd: take tasks; inside -= 1
//! ```
//!
//! A worker that is late finds the state closed and has nothing to do with the job any more, so a loop never waits for
//! a thread to wake up. Who cannot have the workers, because another thread's loop or an outer loop has them, does the
//! tasks alone: which thread does a task never shows in the result.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{JoinHandle, yield_now};
use std::time::{Duration, Instant};

/// How long an idle worker looks for work before it sleeps: longer than what lies between two operations of a pass,
/// shorter than anybody would notice.
const PATIENCE: Duration = Duration::from_micros(100);

/// Threads that wait for parallel loops.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Odd while a job is open; changed by the owner of `turn` alone.
    state: AtomicUsize,
    /// Workers that look at the job.
    inside: AtomicUsize,
    /// The next task.
    next: AtomicUsize,
    job: UnsafeCell<Job>,
    /// Owned by the thread whose job it is.
    turn: Mutex<()>,
    /// Workers that sleep, and how they are woken.
    sleepers: AtomicUsize,
    /// Whether the workers shall end.
    quit: Mutex<bool>,
    wake: Condvar,
    /// The first panic of a task.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A loop: `run(body, i)` for every `i` below `count`.
#[derive(Clone, Copy)]
struct Job {
    body: *const (),
    run: unsafe fn(*const (), usize),
    count: usize,
}

// SAFETY: the job is written by the owner of `turn` while the state is even and nobody is inside, and read by workers
// that have announced themselves in `inside` and then found the state odd. `body` is a `Sync` closure that the owner
// keeps alive until nobody is inside.
unsafe impl Sync for Shared {}
// SAFETY: see Sync.
unsafe impl Send for Shared {}

impl Workers {
    /// `count` threads beside the caller's.
    ///
    /// # Errors
    /// Threads that the system does not give.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        unsafe fn nothing(_: *const (), _: usize) {}
        let shared = Arc::new(Shared {
            state: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job { body: std::ptr::null(), run: nothing, count: 0 }),
            turn: Mutex::default(),
            sleepers: AtomicUsize::new(0),
            quit: Mutex::new(false),
            wake: Condvar::new(),
            panic: Mutex::default(),
        });
        let mut workers = Workers { shared, threads: Vec::with_capacity(count) };
        for i in 0..count {
            let shared = workers.shared.clone();
            let thread = std::thread::Builder::new().name(format!("cnn-cpu-{i}")).spawn(move || shared.work())?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Calls `body` with every number below `count`, on this thread and the workers. A panic of `body` is passed on.
    pub(crate) fn for_each<F: Fn(usize) + Sync>(&self, count: usize, body: &F) {
        /// # Safety
        /// `body` is an `F`.
        unsafe fn run<F: Fn(usize)>(body: *const (), i: usize) {
            // SAFETY: the caller's promise.
            unsafe { (*body.cast::<F>())(i) }
        }
        let Ok(turn) = self.shared.turn.try_lock() else { return (0..count).for_each(body) };
        let shared = &*self.shared;
        // SAFETY: this thread owns `turn`; the state is even, and the last owner has waited until nobody was inside.
        // A worker that enters now finds the state even and leaves without reading the job.
        unsafe { *shared.job.get() = Job { body: std::ptr::from_ref(body).cast(), run: run::<F>, count } };
        shared.next.store(0, Relaxed);
        shared.state.fetch_add(1, SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            drop(lock(&shared.quit)); // who is about to sleep either saw the new state or is waiting by now
            shared.wake.notify_all();
        }
        shared.take_tasks();
        shared.state.fetch_add(1, SeqCst);
        let mut patience = 0u32;
        while shared.inside.load(SeqCst) > 0 {
            patience += 1;
            if patience.is_multiple_of(256) { yield_now() } else { std::hint::spin_loop() }
        }
        let panic = lock(&shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// What a worker does all its life.
    fn work(&self) {
        let mut last = 0; // the state in which it last looked at a job
        while self.wait(last) {
            self.inside.fetch_add(1, SeqCst);
            let state = self.state.load(SeqCst);
            if state % 2 == 1 {
                self.take_tasks();
                last = state;
            }
            self.inside.fetch_sub(1, SeqCst);
        }
    }

    /// Waits for another open job; false when there will be none.
    fn wait(&self, last: usize) -> bool {
        let is_new = || {
            let state = self.state.load(SeqCst);
            state % 2 == 1 && state != last
        };
        let since = Instant::now();
        loop {
            for _ in 0..64 {
                if is_new() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if since.elapsed() > PATIENCE {
                break;
            }
            yield_now(); // in case there are more threads than cores
        }
        let mut quit = lock(&self.quit);
        self.sleepers.fetch_add(1, SeqCst);
        while !*quit && !is_new() {
            quit = self.wake.wait(quit).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        self.sleepers.fetch_sub(1, SeqCst);
        !*quit
    }

    /// Does tasks until none is left. To be called by the owner of the job, and inside.
    fn take_tasks(&self) {
        // SAFETY: the job stays as it is until its owner, having waited for those inside, gives up `turn`.
        let job = unsafe { *self.job.get() };
        let tasks = || {
            loop {
                let i = self.next.fetch_add(1, Acquire);
                if i >= job.count {
                    break;
                }
                // SAFETY: `run` was written together with the closure that it takes, which is alive as the job is.
                unsafe { (job.run)(job.body, i) };
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(tasks)) {
            self.next.store(job.count, Relaxed); // nobody needs the rest
            lock(&self.panic).get_or_insert(panic);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for Workers {
    fn drop(&mut self) {
        *lock(&self.shared.quit) = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A worker does not panic: it catches those of tasks.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each task of a loop ran.
    fn counts(workers: &Workers, count: usize) -> Vec<usize> {
        let ran: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        workers.for_each(count, &|i: usize| {
            ran[i].fetch_add(1, Relaxed);
        });
        ran.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 2, 6] {
            let workers = Workers::new(threads).unwrap();
            for round in 0..2000 {
                let count = round % 40;
                assert_eq!(counts(&workers, count), vec![1; count]);
                if round % 500 == 0 {
                    std::thread::sleep(3 * PATIENCE); // the workers sleep
                }
            }
        }
    }

    #[test]
    fn loops_meet_and_nest() {
        let workers = Workers::new(2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = AtomicUsize::new(0);
                        workers.for_each(5, &|i: usize| {
                            workers.for_each(i, &|_: usize| {
                                sum.fetch_add(1, Relaxed);
                            });
                        });
                        assert_eq!(sum.into_inner(), 10);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_is_passed_on_and_the_workers_go_on() {
        let workers = Workers::new(3).unwrap();
        for bad in [0, 7, 99] {
            let attempt = || workers.for_each(100, &|i: usize| assert_ne!(i, bad, "task {i}"));
            let panic = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
            assert!(panic.downcast_ref::<String>().unwrap().contains(&format!("task {bad}")));
            assert_eq!(counts(&workers, 50), [1; 50]);
        }
    }
}
