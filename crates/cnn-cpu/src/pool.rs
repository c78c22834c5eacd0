//! Memory from a free list.
//!
//! A training step allocates the same sizes again and again, and fresh memory costs page faults; so memory that is let
//! go waits in the list of its backend for the next request of about its size. Fresh memory is zero and a
//! recycled block keeps what was in it, so that reading is always defined; in builds with debug assertions both are
//! filled with ones instead (NaN as a float), so that tests notice an element that was not written.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

use cnn_core::{Error, Plain, Result};

use crate::pages::{self, HUGE};

/// Every block starts on a cache line.
const ALIGN: usize = 64;

/// How many times as large as a request the block may be that serves it. With 4, a batch that is the last of its epoch finds the
/// blocks of those before it; with more, a small request can keep a large one from the only block of its size, and ResNet and the
/// `fast` networks take no less memory, or more.
const MOST_TOO_LARGE: usize = 4;

/// The free list of a backend.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<Free>,
    /// Whether nobody writes to its memory, so that no page of it has to be there.
    untouched: bool,
}

#[derive(Default)]
struct Free {
    /// Blocks that nobody uses, by capacity.
    blocks: BTreeMap<usize, Vec<NonNull<u8>>>,
    /// Bytes in `blocks`.
    idle: usize,
    /// Bytes handed out, and the most there ever were.
    used: usize,
    peak: usize,
    /// The most bytes there ever were in all, those in `blocks` among them.
    most: usize,
    /// How many more requests succeed, in tests of what happens then.
    fails_in: Option<usize>,
}

// SAFETY: the pointers are owned by the list, nobody else knows them.
unsafe impl Send for Free {}

impl Pool {
    /// A list for a backend that computes nothing.
    pub(crate) fn untouched() -> Self {
        Pool { untouched: true, ..Pool::default() }
    }

    /// The most bytes that were held at once.
    pub(crate) fn most_held(&self) -> usize {
        self.lock().most
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A block for `len` numbers of type `T`.
    ///
    /// # Errors
    /// More bytes than can be addressed, or than the system has.
    pub(crate) fn take<T: Plain>(self: &Arc<Self>, len: usize) -> Result<Block> {
        let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
        let block = bytes.map(capacity).filter(|&bytes| isize::try_from(bytes).is_ok());
        let block = block.and_then(|capacity| self.take_capacity(capacity));
        let bytes = len as u128 * size_of::<T>() as u128;
        block.ok_or(Error::OutOfMemory { backend: "cpu", bytes, free: None })
    }

    fn take_capacity(self: &Arc<Self>, wanted: usize) -> Option<Block> {
        let recycled = {
            let mut free = self.lock();
            free.fail_when_due()?;
            let recycled = free.recycle(wanted);
            match recycled {
                Some((_, capacity)) => {
                    free.idle -= capacity;
                    free.hand_out(capacity);
                }
                None => free.make_room(wanted),
            }
            recycled
        };
        let (at, capacity) = match recycled {
            Some(recycled) => recycled,
            None => {
                // What waits for requests of other sizes may be what this one needs.
                let at = fresh(wanted, self.untouched).or_else(|| {
                    self.lock().clear();
                    fresh(wanted, self.untouched)
                })?;
                self.lock().hand_out(wanted);
                (at, wanted)
            }
        };
        let mut block = Block { at, capacity, pool: self.clone(), host: None };
        block.poison_in_tests();
        Some(block)
    }

    /// Makes request `n` from now on fail, counted from 0, and all after it; none for none.
    pub(crate) fn fail_from(&self, n: Option<usize>) {
        self.lock().fails_in = n;
    }
}

impl Free {
    /// The smallest block that waits and serves a request of this capacity, and its own.
    fn recycle(&mut self, wanted: usize) -> Option<(NonNull<u8>, usize)> {
        take_one(self.blocks.range_mut(wanted..=wanted.saturating_mul(MOST_TOO_LARGE)))
    }

    /// Gives back what waits and will not be asked for, before there is more memory for this request.
    ///
    /// Where there would be more bytes in all than ever before, sizes have grown: large blocks that it is too large for go, the largest
    /// first. What repeats finds all of its blocks from its third or fourth time on: where a block went that is asked for again,
    /// the most that there were grows. Small blocks go when they are more than was ever used.
    fn make_room(&mut self, wanted: usize) {
        while wanted >= HUGE && self.used + self.idle + wanted > self.most {
            let Some((at, capacity)) = take_one(self.blocks.range_mut(HUGE..wanted).rev()) else { break };
            self.let_go(at, capacity);
        }
        if wanted >= HUGE {
            return;
        }
        let mut small: usize = self.blocks.range(..HUGE).map(|(capacity, blocks)| capacity * blocks.len()).sum();
        while small > self.peak {
            let Some((at, capacity)) = take_one(self.blocks.range_mut(..HUGE)) else { break };
            small -= capacity;
            self.let_go(at, capacity);
        }
    }

    /// Gives a block that was in the list back to the system.
    fn let_go(&mut self, at: NonNull<u8>, capacity: usize) {
        self.idle -= capacity;
        // SAFETY: `fresh` gave a block of this capacity, and the list was its only owner.
        unsafe { give_back(at, capacity) }
    }

    /// Counts bytes that are handed out.
    fn hand_out(&mut self, bytes: usize) {
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        self.most = self.most.max(self.used + self.idle);
    }

    fn fail_when_due(&mut self) -> Option<()> {
        match &mut self.fails_in {
            Some(0) => None,
            Some(n) => {
                *n -= 1;
                Some(())
            }
            None => Some(()),
        }
    }

    /// Gives all idle blocks back to the system.
    fn clear(&mut self) {
        while let Some((at, capacity)) = take_one(self.blocks.iter_mut()) {
            self.let_go(at, capacity);
        }
    }
}

/// A block of the first of these sizes that has one.
fn take_one<'a>(
    mut sizes: impl Iterator<Item = (&'a usize, &'a mut Vec<NonNull<u8>>)>,
) -> Option<(NonNull<u8>, usize)> {
    sizes.find_map(|(capacity, blocks)| Some((blocks.pop()?, *capacity)))
}

impl Drop for Free {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Debug for Pool {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let free = self.lock();
        f.debug_struct("Pool").field("used", &free.used).field("idle", &free.idle).field("most", &free.most).finish()
    }
}

/// The size of the block that serves a request of `bytes` bytes, so that requests of about one size share blocks: at most
/// an eighth more, or what is left of a line or, from the first on, of a huge page.
fn capacity(bytes: usize) -> usize {
    let eighth = bytes.max(1).next_power_of_two() / 16;
    bytes.max(1).next_multiple_of(eighth.max(if bytes >= HUGE { HUGE } else { ALIGN }))
}

/// Memory that is zero, of a capacity; none where the system has none. What is `untouched` has no page yet if it is large.
fn fresh(capacity: usize, untouched: bool) -> Option<NonNull<u8>> {
    if capacity >= HUGE {
        return pages::map(capacity, untouched);
    }
    // SAFETY: the layout's size, a capacity, is not zero.
    NonNull::new(unsafe { alloc_zeroed(small_layout(capacity)) })
}

/// Gives a block of this capacity back to the system.
///
/// # Safety
/// `fresh` gave it, and nobody uses it.
unsafe fn give_back(at: NonNull<u8>, capacity: usize) {
    // SAFETY: the caller's promise; as in `fresh`.
    unsafe {
        match capacity >= HUGE {
            true => pages::unmap(at, capacity),
            false => dealloc(at.as_ptr(), small_layout(capacity)),
        }
    }
}

/// The layout of a block below [`HUGE`].
fn small_layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGN).expect("a capacity that is small can be addressed")
}

/// A block on loan from the free list, or bytes of the host's.
pub(crate) struct Block {
    at: NonNull<u8>,
    capacity: usize,
    pool: Arc<Pool>,
    /// Whose the memory is, if it is not the list's: nobody changes it.
    host: Option<Arc<Vec<u8>>>,
}

impl Block {
    /// The host's bytes where they lie; nothing of them is the list's.
    pub(crate) fn of_host(pool: &Arc<Pool>, host: &Arc<Vec<u8>>) -> Self {
        let at = NonNull::from(host.as_slice()).cast();
        Block { at, capacity: host.len(), pool: pool.clone(), host: Some(host.clone()) }
    }

    /// Whether it is bytes of the host's, which nobody may change.
    pub(crate) fn is_of_host(&self) -> bool {
        self.host.is_some()
    }

    /// The list that it goes back to.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The first byte: aligned to a line, and initialised up to the capacity.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.at
    }

    /// In builds with debug assertions, fills it with ones, NaN as floats, so that tests notice an element that was not written.
    pub(crate) fn poison_in_tests(&mut self) {
        if !cfg!(debug_assertions) || self.pool.untouched {
            return;
        }
        // SAFETY: the block has as many bytes, and is borrowed alone.
        unsafe { self.at.write_bytes(0xFF, self.capacity) }
    }
}

// SAFETY: a block owns its memory, or keeps the host's alive, which is never written; its own is written only through `&mut`.
unsafe impl Send for Block {}
// SAFETY: see Send.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        if self.host.is_some() {
            return;
        }
        let mut free = self.pool.lock();
        free.used -= self.capacity;
        free.idle += self.capacity;
        free.blocks.entry(self.capacity).or_default().push(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    #[test]
    fn memory_comes_back_and_is_not_clean() {
        let pool = Arc::new(Pool::default());
        let mut a = Buffer::<f32>::new(&pool, 1000).unwrap();
        a.make_mut().unwrap().fill(1.0);
        let at = a.as_slice().as_ptr();
        drop(a);
        let b = Buffer::<f32>::new(&pool, 970).unwrap();
        assert_eq!(b.as_slice().as_ptr(), at);
        let poisoned = b.as_slice().iter().all(|x| x.is_nan());
        assert_eq!(poisoned, cfg!(debug_assertions), "recycled memory is poisoned in test builds");
    }

    #[test]
    fn a_request_takes_the_smallest_block_that_serves_it_and_is_not_much_too_large() {
        let pool = Arc::new(Pool::default());
        let sizes = [3, 4, 8].map(|pages| pages * HUGE);
        let starts = sizes.map(|size| Buffer::<u8>::new(&pool, size).unwrap()).map(|buffer| buffer.as_slice().as_ptr());
        let take = |pages: usize| Buffer::<u8>::new(&pool, pages * HUGE).unwrap();
        let (of_4, of_8) = (take(4), take(4));
        assert_eq!([of_4.as_slice().as_ptr(), of_8.as_slice().as_ptr()], starts[1..]);
        let held = pool.most_held();
        assert_eq!(take(3).as_slice().as_ptr(), starts[0]);
        assert_eq!(pool.most_held(), held);
        drop((of_4, of_8));
        // The block of 3 pages is in use: 1 page is a quarter of 4, and 1 is no quarter of 8.
        let (of_3, of_4) = (take(3), take(1));
        assert_eq!([of_3.as_slice().as_ptr(), of_4.as_slice().as_ptr()], starts[..2]);
        take(1);
        assert_eq!(pool.most_held(), held + HUGE);
    }

    #[test]
    fn blocks_that_are_too_small_go_before_there_are_more() {
        let pool = Arc::new(Pool::default());
        let batch = |pages: usize| drop([1, 2, 4].map(|part| Buffer::<u8>::new(&pool, part * pages * HUGE).unwrap()));
        batch(8);
        assert_eq!(pool.most_held(), 7 * 8 * HUGE);
        // The blocks of 16 and of 32 pages serve the first two, that of 8 pages goes for the third.
        batch(12);
        assert!(pool.most_held() <= (16 + 32 + 48) * HUGE, "{pool:?}");
        batch(80);
        assert_eq!(pool.most_held(), 7 * 80 * HUGE);
        // What is smaller again finds room, and what repeats asks for nothing new.
        for pages in [8, 12, 80, 8, 12, 80] {
            batch(pages);
        }
        assert!(pool.most_held() <= 7 * 80 * HUGE + 8 * 7 * HUGE, "{pool:?}");
    }

    #[test]
    fn small_blocks_of_many_sizes_go_when_they_are_more_than_was_ever_used() {
        let pool = Arc::new(Pool::default());
        for size in (1..200).map(|i| i * 10_000) {
            drop(Buffer::<u8>::new(&pool, size).unwrap());
            assert!(pool.most_held() <= 2 * capacity(size) + capacity(size), "{size}: {pool:?}");
        }
    }

    /// The advice counts only for pages that were not touched before.
    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn large_blocks_lie_on_huge_pages() {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let on = read("/sys/kernel/mm/transparent_hugepage/enabled");
        if !on.contains("[always]") && !on.contains("[madvise]") {
            eprintln!("SKIPPED: this system has no transparent huge pages ({on:?})");
            return;
        }
        let block = Buffer::<f32>::new(&Arc::default(), 8 * HUGE).unwrap();
        let at = block.as_slice().as_ptr() as usize;
        let smaps = read("/proc/self/smaps");
        let (mut inside, mut huge) = (false, 0);
        for line in smaps.lines() {
            let field = line.split(' ').next().unwrap_or_default();
            if let Some((from, to)) = field.split_once('-') {
                let bound = |text| usize::from_str_radix(text, 16).unwrap();
                inside = (bound(from)..bound(to)).contains(&at);
            } else if inside && field == "AnonHugePages:" {
                huge = line.split_whitespace().nth(1).unwrap().parse().unwrap(); // kB
            }
        }
        assert!(huge > 0, "none of {} bytes is on a huge page", 8 * HUGE * size_of::<f32>());
    }

    /// Bytes that wrap to few, that no layout has, and that no system has: 2^47 are all addresses of a process.
    #[test]
    fn what_cannot_be_had_is_an_error_with_the_bytes() {
        let pool = Arc::new(Pool::default());
        let wraps = usize::MAX / 4 + 1; // f32: 0 bytes modulo 2^64
        for len in [wraps, usize::MAX, isize::MAX as usize / 4, 1 << (usize::BITS.min(49) - 2)] {
            let error = Buffer::<f32>::new(&pool, len).unwrap_err();
            assert!(matches!(error, Error::OutOfMemory { bytes, .. } if bytes == 4 * len as u128), "{len}: {error}");
            assert_eq!(error.to_string(), format!("cpu: out of memory: {} bytes were asked for", 4 * len as u128));
        }
        let debug = format!("{pool:?}");
        assert_eq!(debug, "Pool { used: 0, idle: 0, most: 0 }", "what was not had is not counted");
        assert!(Buffer::<f32>::new(&pool, 10).is_ok());
    }

    #[test]
    fn a_capacity_is_its_own() {
        let sizes = (0..200).map(|i| i * 17).chain((0..40).flat_map(|i| [(1 << i) - 1, 1 << i, (1 << i) + 1]));
        for bytes in sizes {
            let capacity = capacity(bytes);
            assert!(capacity >= bytes && super::capacity(capacity) == capacity, "{bytes}: {capacity}");
        }
    }
}
