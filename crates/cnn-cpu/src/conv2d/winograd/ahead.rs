//! Memory that will be read soon, asked for a little at a time while something else computes.
//!
//! A task's next tiles lie in a few rows of an image, which the hardware does not foresee; the products in between take
//! longer than the memory does.

use std::ops::Range;

use super::patches::Operand;
use crate::element::CpuElement;
use crate::machine::LINE;
use crate::simd::Simd;

/// What is asked for in each of `pieces` pieces: a stretch of one or two arrays, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    starts: [Option<*const u8>; 2],
    len: usize,
    pieces: usize,
}

impl Ahead {
    /// Nothing.
    pub(super) const NONE: Self = Ahead { starts: [None; 2], len: 0, pieces: 1 };

    /// What the transform of `tiles` will read of an operand.
    pub(super) fn tiles<T: CpuElement>(operand: &Operand<'_, T>, tiles: Range<usize>) -> Self {
        if tiles.is_empty() {
            return Ahead::NONE;
        }
        let elements = operand.elements(tiles);
        let starts = operand.reader.sources().map(|source| Some(source?[elements.start..].as_ptr().cast()));
        Ahead { starts, len: elements.len() * size_of::<T>(), pieces: 1 }
    }

    /// Part `i` of `n`, to be asked for in `pieces` pieces.
    pub(super) fn part(self, i: usize, n: usize, pieces: usize) -> Self {
        let (from, to) = (self.len * i / n, self.len * (i + 1) / n);
        let starts = self.starts.map(|start| Some(start?.wrapping_add(from)));
        Ahead { starts, len: to - from, pieces }
    }

    /// Asks for one piece.
    #[inline(always)]
    pub(super) fn piece<S: Simd>(&self, simd: S, piece: usize) {
        let (from, to) = (self.len * piece / self.pieces, self.len * (piece + 1) / self.pieces);
        for start in self.starts.into_iter().flatten() {
            for at in (from / LINE * LINE..to).step_by(LINE) {
                simd.prefetch_far(start.wrapping_add(at));
            }
        }
    }
}
