//! How much memory pictures may take while they are decoded, all threads together.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that decoding may take at a time, handed out to whoever decodes.
#[derive(Debug)]
pub(crate) struct Memory {
    most: u64,
    taken: Mutex<u64>,
    returned: Condvar,
}

/// Bytes that are returned when this is dropped.
pub(crate) struct Taken<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    pub(crate) fn new(most: u64) -> Self {
        Memory { most, taken: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits until `bytes` more are free; a picture that needs more than there are waits until it is alone.
    pub(crate) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.most);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let room = |taken: &mut u64| *taken + bytes > self.most;
        let mut taken = self.returned.wait_while(taken, room).unwrap_or_else(PoisonError::into_inner);
        *taken += bytes;
        Taken { memory: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.memory.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.memory.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn no_more_is_out_than_there_is_and_nobody_waits_for_ever() {
        let (memory, out, most) = (Memory::new(100), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for bytes in [60, 50, 40, 100, 1000, 10, 30, 70] {
                let (memory, out, most) = (&memory, &out, &most);
                scope.spawn(move || {
                    let taken = memory.take(bytes);
                    most.fetch_max(out.fetch_add(taken.bytes, Ordering::SeqCst) + taken.bytes, Ordering::SeqCst);
                    thread::yield_now();
                    out.fetch_sub(taken.bytes, Ordering::SeqCst);
                });
            }
        });
        assert_eq!((most.into_inner(), *memory.taken.lock().unwrap()), (100, 0));
    }
}
