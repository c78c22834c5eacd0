//! A sum over very many pixels in parts, of which each block of threads has one.

use cnn_core::Result;
use cnn_core::backend::Wide;

use super::tile::BUSY;
use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;

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

/// The sum of `splits` parts of `len` numbers, in order.
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
    let launch = cuda.kernel(SOURCE, "add_splits")?.buffer(&parts).buffer(&sum).value(splits as i32).value(len as u64);
    // SAFETY: there are as many parts of this length; the sum is new.
    unsafe { launch.over(len) }?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

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
