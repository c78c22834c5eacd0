//! The machine that sizes are made for: block sizes and numbers of tasks are expressions of what stands here.
//!
//! Nothing is asked of the processor: where a sum is cut decides how it is rounded, and the bits of a result shall not
//! depend on who computes it. A processor with larger caches loses little, and one with smaller ones has to read some
//! operands from the next level.

/// Bytes of a core's first-level cache for data.
pub(crate) const L1: usize = 48 << 10;
/// Bytes of a core's second-level cache.
pub(crate) const L2: usize = 1 << 20;
/// Bytes of the last cache that some cores share.
pub(crate) const L3: usize = 32 << 20;
/// Bytes of a line of a cache.
pub(crate) const LINE: usize = 64;
/// Bytes of an f32, for sizes that are numbers of elements.
pub(crate) const F32: usize = 4;

/// Threads that a loop over a batch keeps busy.
pub(crate) const MANY: usize = 64;
/// Threads that a small loop keeps busy, and as many partial sums as there are of a weight's gradient: more of them would
/// be more to add up, and another rounding.
pub(crate) const FEW: usize = 16;
/// Multiplications that are worth a task of their own on few threads: some microseconds.
const WORTH: usize = 1 << 18;

/// Tasks to cut so many multiplications into: up to `FEW` as soon as each is worth it.
pub(crate) fn few_tasks(multiplications: usize) -> usize {
    (multiplications / WORTH).clamp(1, FEW)
}

/// Tasks to cut so many multiplications into where more tasks than `FEW` change no bits: up to `MANY`, but only of some
/// hundred microseconds, as each may have to pack what others pack too.
pub(crate) fn tasks(multiplications: usize) -> usize {
    few_tasks(multiplications).max((multiplications / (16 * WORTH)).min(MANY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_work_has_few_tasks_and_large_work_many() {
        let tasks = [0, WORTH, 5 * WORTH, 16 * WORTH, 255 * WORTH, 272 * WORTH, 1 << 40].map(tasks);
        assert_eq!(tasks, [1, 1, 5, 16, 16, 17, 64]);
    }
}
