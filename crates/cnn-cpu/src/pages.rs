//! Large blocks, straight from the system and back to it: an allocator would keep what is let go in pieces that nothing later fits, and a
//! process would hold more than its blocks.

use std::ptr::NonNull;

/// From this size on blocks lie on huge pages of their own; a power of two.
pub(crate) const HUGE: usize = 2 << 20;

/// `bytes` bytes of zeros, whole huge pages that begin where one does; none where the system has none. Pages come when they are first
/// touched. What is `untouched` may be more than the machine has.
#[cfg(all(target_os = "linux", not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn map(bytes: usize, untouched: bool) -> Option<NonNull<u8>> {
    let whole = bytes.checked_add(HUGE)?;
    let flags = sys::PRIVATE | sys::ANONYMOUS | if untouched { sys::NORESERVE } else { 0 };
    // SAFETY: an address that the system chooses, which overlaps nothing.
    let at = unsafe { sys::mmap(std::ptr::null_mut(), whole, sys::READ | sys::WRITE, flags, -1, 0) };
    let at = NonNull::new(at).filter(|at| at.as_ptr().addr() != usize::MAX)?;
    // What is before the first huge page, and behind the last one, goes back.
    let before = at.as_ptr().align_offset(HUGE);
    // SAFETY: both pieces are of this mapping, in whole pages, and nobody knows them; the rest stays. `before` is below HUGE.
    unsafe {
        let first = at.add(before);
        if before > 0 {
            sys::munmap(at.as_ptr(), before);
        }
        if before < HUGE {
            sys::munmap(first.add(bytes).as_ptr(), HUGE - before);
        }
        // Before the first touch, which is what decides about a page. Large strides in the packed layouts would otherwise miss in
        // the TLB. The advice may be refused.
        sys::madvise(first.as_ptr(), bytes, sys::HUGEPAGE);
        Some(first)
    }
}

/// Gives a block back.
///
/// # Safety
/// `map` gave it for as many bytes, and nobody uses it.
#[cfg(all(target_os = "linux", not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) unsafe fn unmap(at: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { sys::munmap(at.as_ptr(), bytes) };
}

#[cfg(all(target_os = "linux", not(miri), any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sys {
    // The numbers are those of these two architectures; some others have their own.
    unsafe extern "C" {
        pub(super) fn mmap(at: *mut u8, bytes: usize, access: i32, flags: i32, file: i32, from: isize) -> *mut u8;
        pub(super) fn munmap(at: *mut u8, bytes: usize) -> i32;
        pub(super) fn madvise(at: *mut u8, bytes: usize, advice: i32) -> i32;
    }
    pub(super) const READ: i32 = 1;
    pub(super) const WRITE: i32 = 2;
    pub(super) const PRIVATE: i32 = 2;
    pub(super) const ANONYMOUS: i32 = 0x20;
    pub(super) const NORESERVE: i32 = 0x4000;
    pub(super) const HUGEPAGE: i32 = 14;
}

/// The same from the allocator, where this file does not know the system.
#[cfg(not(all(target_os = "linux", not(miri), any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn map(bytes: usize, untouched: bool) -> Option<NonNull<u8>> {
    let _ = untouched;
    let layout = std::alloc::Layout::from_size_align(bytes, HUGE).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
}

/// Gives a block back.
///
/// # Safety
/// `map` gave it for as many bytes, and nobody uses it.
#[cfg(not(all(target_os = "linux", not(miri), any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) unsafe fn unmap(at: NonNull<u8>, bytes: usize) {
    // SAFETY: `map` allocated it with this layout, which it has checked.
    unsafe { std::alloc::dealloc(at.as_ptr(), std::alloc::Layout::from_size_align_unchecked(bytes, HUGE)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zero_and_lie_on_huge_pages() {
        for pages in [1, 3, 20] {
            let bytes = pages * HUGE;
            let at = map(bytes, false).unwrap();
            assert!(at.as_ptr().addr().is_multiple_of(HUGE));
            // SAFETY: the block has as many bytes and one owner.
            let block = unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), bytes) };
            assert!(block.iter().all(|&byte| byte == 0));
            block.fill(7);
            // SAFETY: it is from `map`, and is used no more.
            unsafe { unmap(at, bytes) };
        }
        assert_eq!(map(usize::MAX / 2 / HUGE * HUGE, false), None);
    }
}
