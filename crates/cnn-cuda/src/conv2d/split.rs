//! A sum over very many pixels in parts, of which each block of threads has one.

use cnn_core::Result;
use cnn_core::backend::Wide;

use super::operands::EpilogueArgument;
use super::tile::{BUSY, Tile};
use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::THREADS;

pub(crate) const SOURCE: Source = source!("split");

/// Steps of a part at least: fewer would be mostly waiting for the first.
const STEPS: usize = 8;

/// How many places of a sum of `len` a part has, and how many parts there are: at least one. Each has some `step`s, and all of
/// them together, times the `blocks` that work on each, keep a GPU busy.
pub(super) fn cut(len: usize, step: usize, blocks: usize) -> (usize, usize) {
    let steps = len.div_ceil(step);
    let parts = BUSY.div_ceil(blocks.max(1)).min(steps.div_ceil(STEPS)).max(1);
    let part = steps.div_ceil(parts).max(1) * step;
    (part, len.div_ceil(part).max(1))
}

/// A kernel, and what each of its blocks takes of a multiprocessor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    pub(super) source: Source,
    pub(super) name: &'static str,
    pub(super) shared: usize,
    pub(super) threads: usize,
}

impl Blocks {
    /// A kernel in a tile.
    pub(super) fn of<T: CudaElement>(source: Source, name: &'static str, tile: Tile) -> Self {
        Blocks { source, name, shared: tile.shared_bytes::<T>(), threads: tile.threads(T::DTYPE) }
    }

    /// How many of them a multiprocessor has room for at once.
    fn resident<T: CudaElement>(self, cuda: &Cuda<T>) -> Result<usize> {
        cuda.resident(self.source, self.name, self.shared, self.threads)
    }
}

/// A matrix product whose sum is cut.
pub(super) struct Cut {
    /// Steps of the whole sum, and how many of its places a step has.
    pub(super) steps: usize,
    pub(super) step: usize,
    /// Blocks that work on each part of it.
    pub(super) blocks: usize,
    /// Numbers of the result, of which every part has its own.
    pub(super) len: usize,
    /// How long a step keeps a multiprocessor busy.
    pub(super) step_ns: f64,
}

/// What the memory of a large GPU moves.
const BYTES_PER_NS: f64 = 3000.0;
/// What a block costs beside others on its multiprocessor, in blocks: alone it leaves so much of it idle.
const ALONE: f64 = 0.4;
/// The most parts.
const MOST_PARTS: usize = 256;

/// How it is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// Places of the sum in a part.
    pub(super) places: usize,
    /// Parts: at least one.
    pub(super) count: usize,
    /// How many nanoseconds it is estimated to take.
    pub(super) ns: f64,
}

impl Cut {
    /// How many nanoseconds it is estimated to take uncut.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn whole_ns<T: CudaElement>(&self, cuda: &Cuda<T>, kernel: Blocks) -> Result<f64> {
        Ok(self.parts_ns(1, cuda.about().multiprocessors, kernel.resident(cuda)?))
    }

    /// As [`cut`], the one of all ways that is estimated to be the quickest.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn quickest<T: CudaElement>(&self, cuda: &Cuda<T>, kernel: Blocks) -> Result<Parts> {
        Ok(self.quickest_on(cuda.about().multiprocessors, kernel.resident(cuda)?))
    }

    /// The same on so many multiprocessors with `resident` blocks on each.
    fn quickest_on(&self, multiprocessors: usize, resident: usize) -> Parts {
        let most = self.steps.div_ceil(STEPS).clamp(1, MOST_PARTS);
        let ns = |parts| self.parts_ns(parts, multiprocessors, resident);
        let parts = (1..=most).min_by(|&a, &b| ns(a).total_cmp(&ns(b))).unwrap_or(1);
        let steps = self.steps.div_ceil(parts).max(1);
        Parts { places: steps * self.step, count: self.steps.div_ceil(steps).max(1), ns: ns(parts) }
    }

    /// How many nanoseconds it is estimated to take in so many parts: a last wave of few blocks takes as long as a full one,
    /// and many parts are many sums to write and to add.
    fn parts_ns(&self, parts: usize, multiprocessors: usize, resident: usize) -> f64 {
        let (multiprocessors, resident) = (multiprocessors.max(1), resident.max(1));
        let steps = self.steps.div_ceil(parts).max(1);
        let blocks = self.blocks * self.steps.div_ceil(steps).max(1);
        let (waves, rest) = (blocks / (multiprocessors * resident), blocks % (multiprocessors * resident));
        let together = |blocks: usize| if blocks == 0 { 0.0 } else { blocks as f64 + ALONE };
        let busy = waves as f64 * together(resident) + together(rest.div_ceil(multiprocessors));
        let sums = if parts == 1 { 0.0 } else { (2 * parts * self.len * size_of::<f32>()) as f64 / BYTES_PER_NS };
        busy * steps as f64 * self.step_ns + sums
    }
}

/// Parts that a thread adds up, about: it reads as many at once.
const FEW: usize = 4;
/// The most slices of a block that adds parts.
const MOST_SLICES: usize = 32;

/// The sum of `splits` parts of `len` numbers, in a fixed order.
pub(super) fn add_splits<T: CudaElement>(
    cuda: &Cuda<T>,
    parts: Buffer<f32>,
    splits: usize,
    len: usize,
) -> Result<Wide<Cuda<T>>> {
    if splits == 1 {
        return Ok(parts);
    }
    let sum = cuda.alloc(len)?;
    // Many parts are those of a small weight, whose numbers alone would keep few multiprocessors busy.
    let slices = (splits / FEW).next_power_of_two().min(MOST_SLICES);
    let (kernel, lanes) = if len.is_multiple_of(4) { ("add_splits", 4) } else { ("add_splits_any", 1) };
    let launch = cuda.kernel(SOURCE, kernel)?.buffer(&parts).buffer(&sum);
    let launch = launch.value(splits as u32).value(len as u64).value(slices as u32);
    // SAFETY: there are as many parts of this length, which is whole vectors of such a kernel; the sum is new.
    unsafe { launch.on([len.div_ceil(lanes * (THREADS / slices)), 1, 1], THREADS) }?;
    Ok(sum)
}

/// What follows the sum of `splits` parts, in order.
pub(super) fn finish_splits<T: CudaElement>(
    cuda: &Cuda<T>,
    parts: &Buffer<f32>,
    splits: usize,
    epilogue: EpilogueArgument,
    channels: usize,
    y: &Buffer<T>,
) -> Result<()> {
    let launch = cuda.kernel(SOURCE, "finish_splits")?.buffer(parts).value(splits as i32).value(y.len() as u64);
    let launch = launch.value(epilogue).value(channels as i32).buffer(y);
    // SAFETY: the parts are as many, of the length of y, which is new; the epilogue's operands are those of y.
    unsafe { launch.over(y.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_cut_so_that_few_blocks_are_left_over() {
        // 9 tiles of 128x128, 8192 steps of 64 pixels, on 132 multiprocessors with two blocks on each.
        let cut = Cut { steps: 8192, step: 64, blocks: 9, len: 128 * 1152, step_ns: 700.0 };
        let parts = cut.quickest_on(132, 2).count;
        let blocks = 9 * parts;
        assert!(blocks.is_multiple_of(264) || blocks % 264 > 230, "{parts}");
        for steps in [0, 1, 7, 8192] {
            for blocks in [1, 5, 144, 1000] {
                let Parts { places: part, count: parts, .. } =
                    Cut { steps, step: 64, blocks, len: 1000, step_ns: 700.0 }.quickest_on(132, 2);
                assert!(part.is_multiple_of(64) && parts >= 1 && part * parts >= steps * 64, "{steps} {blocks}");
                assert!(part * (parts - 1) < (steps * 64).max(1), "{steps} {blocks}");
            }
        }
    }

    #[test]
    fn parts_cover_the_sum_and_none_is_empty() {
        for len in [0, 1, 63, 64, 65, 5000, 524_288] {
            for step in [32, 64] {
                for blocks in [0, 1, 5, 36, 1000] {
                    let (part, parts) = cut(len, step, blocks);
                    assert!(part.is_multiple_of(step) && parts >= 1);
                    assert!(
                        part * parts >= len && part * (parts - 1) < len.max(1),
                        "{len} {step} {blocks}: {part} {parts}"
                    );
                }
            }
        }
    }
}
