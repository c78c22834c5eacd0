//! What the protocol is built of: the standard library's parts, or for the tests of `cnn-cpu/loom` those of the model checker.

#[cfg(not(all(test, loom)))]
mod parts {
    use std::time::{Duration, Instant};

    pub(in super::super) use std::sync::atomic::{AtomicUsize, Ordering};
    pub(in super::super) use std::sync::{Condvar, Mutex, MutexGuard};

    /// How long a helper looks for work before it gives its thread back: longer than what lies between two operations of
    /// a pass, shorter than anybody would notice.
    const HELPER: Duration = Duration::from_micros(100);
    /// How long an owner looks whether the last helpers have left before it sleeps: longer than most tasks of one image,
    /// and little beside those of a batch.
    const OWNER: Duration = Duration::from_micros(50);

    /// How long a helper has its thread while loops keep coming: somebody else may wait for what the thread was doing
    /// when it took the helper up, and to ask for it again takes some microseconds.
    const STAY: Duration = Duration::from_millis(50);

    /// A helper's time with its thread.
    pub(in super::super) struct Stay(Instant);

    impl Stay {
        pub(in super::super) fn begin() -> Self {
            Stay(Instant::now())
        }

        /// Whether to give the thread back.
        pub(in super::super) fn is_over(&mut self) -> bool {
            self.0.elapsed() > STAY
        }
    }

    /// Waiting that comes to an end.
    pub(in super::super) struct Patience {
        looked: u32,
        since: Option<Instant>,
        most: Duration,
        gives_way: bool,
    }

    impl Patience {
        /// A helper's, who gives way in case there are more threads than cores.
        pub(in super::super) fn helper() -> Self {
            Patience { looked: 0, since: None, most: HELPER, gives_way: true }
        }

        /// An owner's.
        pub(in super::super) fn owner() -> Self {
            Patience { looked: 0, since: None, most: OWNER, gives_way: false }
        }

        /// Whether to look once more, after a moment.
        pub(in super::super) fn is_left(&mut self) -> bool {
            self.looked += 1;
            if !self.looked.is_multiple_of(64) {
                std::hint::spin_loop();
                return true;
            }
            // Most waits are over before the clock is asked for the first time.
            if self.since.get_or_insert_with(Instant::now).elapsed() > self.most {
                return false;
            }
            if self.gives_way {
                std::thread::yield_now();
            }
            true
        }
    }

    /// The standard library's, in loom's words.
    pub(in super::super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(in super::super) fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        pub(in super::super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        pub(in super::super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

#[cfg(all(test, loom))]
mod parts {
    use std::cell::Cell;

    use Ordering::Relaxed;
    pub(in super::super) use loom::cell::UnsafeCell;
    pub(in super::super) use loom::sync::atomic::Ordering;
    use loom::sync::{LockResult, atomic};
    pub(in super::super) use loom::sync::{Mutex, MutexGuard};

    /// A mistake in the protocol that the models have to find.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Fault {
        /// A job is opened without showing what was written before.
        OpenedUnseen,
        /// A helper enters without looking at what was written before.
        EnteredBlind,
        /// A helper leaves without showing what its tasks have written.
        LeftUnseen,
        /// The owner does not look at what the tasks have written.
        OwnerBlind,
        /// The owner thinks that everybody has left as soon as it looks.
        OwnerHasty,
        /// Nobody wakes the owner.
        OwnerNotWoken,
    }

    thread_local! {
        /// The fault that is planted: loom runs all threads of a model on the thread that started it.
        pub(in super::super) static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    fn unless(fault: Fault, order: Ordering) -> Ordering {
        if planted(fault) { Relaxed } else { order }
    }

    /// Loom's, with faults.
    pub(in super::super) struct AtomicUsize(atomic::AtomicUsize);

    impl AtomicUsize {
        pub(in super::super) fn new(value: usize) -> Self {
            AtomicUsize(atomic::AtomicUsize::new(value))
        }

        pub(in super::super) fn load(&self, order: Ordering) -> usize {
            match self.0.load(unless(Fault::OwnerBlind, order)) {
                word if planted(Fault::OwnerHasty) && order != Relaxed => word & !0xff,
                word => word,
            }
        }

        pub(in super::super) fn store(&self, value: usize, order: Ordering) {
            self.0.store(value, order);
        }

        pub(in super::super) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_add(value, unless(Fault::OpenedUnseen, order))
        }

        pub(in super::super) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_sub(value, unless(Fault::LeftUnseen, order))
        }

        pub(in super::super) fn fetch_or(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_or(value, unless(Fault::OwnerBlind, order))
        }

        pub(in super::super) fn fetch_and(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_and(value, order)
        }

        pub(in super::super) fn fetch_update(
            &self,
            set: Ordering,
            fetch: Ordering,
            update: impl FnMut(usize) -> Option<usize>,
        ) -> Result<usize, usize> {
            self.0.fetch_update(set, fetch, update)
        }

        pub(in super::super) fn compare_exchange_weak(
            &self,
            current: usize,
            new: usize,
            success: Ordering,
            failure: Ordering,
        ) -> Result<usize, usize> {
            self.0.compare_exchange_weak(current, new, unless(Fault::EnteredBlind, success), failure)
        }
    }

    /// Loom's, with faults.
    pub(in super::super) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(in super::super) fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        pub(in super::super) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            self.0.wait(guard)
        }

        pub(in super::super) fn notify_one(&self) {
            if !planted(Fault::OwnerNotWoken) {
                self.0.notify_one();
            }
        }
    }

    /// A stay that ends after two looks for a loop.
    pub(in super::super) struct Stay(usize);

    impl Stay {
        pub(in super::super) fn begin() -> Self {
            Stay(0)
        }

        pub(in super::super) fn is_over(&mut self) -> bool {
            self.0 += 1;
            self.0 > 2
        }
    }

    /// Waiting that ends after a number of looks.
    pub(in super::super) struct Patience {
        looks: usize,
    }

    impl Patience {
        pub(in super::super) fn helper() -> Self {
            Patience { looks: 1 }
        }

        pub(in super::super) fn owner() -> Self {
            Patience { looks: 0 }
        }

        pub(in super::super) fn is_left(&mut self) -> bool {
            let left = self.looks > 0;
            if left {
                loom::thread::yield_now();
                self.looks -= 1;
            }
            left
        }
    }
}

pub(super) use parts::*;
