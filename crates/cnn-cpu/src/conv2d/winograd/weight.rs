//! The gradient of the weight: `dw = Gt (sum over tiles of V * D) G`, with V from the input and D from the gradient.
//!
//! ```text
//! for each task (a chunk of tiles):
//!     for some tiles whose V and D stay in the second-level cache: V = Bt x B, D = A dy At
//!         for each panel of K, some channels of C: dU = sum over tiles of V * D; dw += Gt dU G
//! add up the chunks in their order
//! ```
//!
//! The transform from 36 points back to 9 taps is linear, so it can be taken for some tiles at a time; then the sum of 36
//! numbers for each weight is never in memory. With many channels the transforms of a chunk are shared by all tasks, and
//! a task has a panel of K and some of C. Chunks are cut by the shape alone: the same sum for any number of threads.

use std::ops::Range;

use cnn_core::Result;
use num_traits::Zero;

use super::super::panels::Panels;
use super::super::reader::Reader;
use super::ahead::Ahead;
use super::patches::{Operand, Patch, stage};
use super::product::Outer;
use super::tiling::{Planes, Stride, Tiling};
use super::weights::WeightsBack;
use super::{PLANES, TAPS, panels, pieces};
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::machine::{F32, FEW, L2, L3};
use crate::scratch::Scratch;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{Shared, chunks};

/// The gradient of a weight by Winograd's algorithm.
pub(in super::super) struct WeightGradient<'a, T: CpuElement> {
    pub(in super::super) x: Reader<'a, T>,
    pub(in super::super) dy: Reader<'a, T>,
    /// Of the forward pass.
    pub(in super::super) tiling: Tiling,
    /// Channels of x and of dy.
    pub(in super::super) read: usize,
    pub(in super::super) write: usize,
}

/// Elements of the transformed weight, counted as often as they multiply, up to which every chunk has its own sum.
const OWN: usize = PLANES * (8 << 10);
/// Elements of V and D of a task's own: a little more than half of the second-level cache, beside a piece of dU.
const NEAR: usize = L2 * 37 / 64 / F32;
/// Elements of V and D that are shared.
const FAR: usize = L3 * 5 / 16 / F32;
/// Channels of x in a piece of dU.
const CHANNELS: usize = 32;

/// Tiles of a chunk that has a sum of its own; none where there is one sum.
fn own_chunk(tiling: &Tiling, read: usize, write: usize) -> Option<usize> {
    (tiling.stride.values() * read * write <= OWN).then(|| tiling.count().div_ceil(FEW))
}

/// Pieces of the channels that are read.
fn parts(read: usize) -> usize {
    read.div_ceil(CHANNELS)
}

impl<T: CpuElement> WeightGradient<'_, T> {
    /// Tiles whose V and D have at most this many elements, a multiple of four.
    fn tiles(&self, elements: usize, least: usize) -> usize {
        (elements / (self.tiling.stride.values() * (self.read + self.write)) / 4 * 4).max(least)
    }

    /// Writes `dw` \[3\]\[3\]\[read\]\[write\].
    pub(in super::super) fn run(&self, cpu: &Cpu<T>, dw: &mut [T::Accum]) -> Result<()> {
        assert_eq!(dw.len(), TAPS * TAPS * self.read * self.write);
        if self.tiling.count() == 0 {
            dw.fill(T::Accum::zero());
            return Ok(());
        }
        let sums = match own_chunk(&self.tiling, self.read, self.write) {
            Some(chunk) => self.chunks(cpu, chunk)?,
            None => self.shared(cpu)?,
        };
        let parts = parts(self.read);
        let (panels, dw) = (self.panels(cpu.lanes()).count(), Shared::new(dw));
        cpu.for_each(panels * parts, |task| {
            let channels = task % parts * CHANNELS..self.read.min((task % parts + 1) * CHANNELS);
            cpu.run(AddUp { of: self, sums: &sums, panel: task / parts, channels, dw });
        });
        Ok(())
    }

    /// The layout of a sum, `[panels][read][9][vectors]`.
    fn panels(&self, lanes: usize) -> Panels {
        panels(self.read, self.write, lanes)
    }

    /// V and D.
    fn operands(&self) -> [Operand<'_, T>; 2] {
        let WeightGradient { x, dy, tiling, read, write } = *self;
        [
            Operand { reader: x, patch: Patch::Input, tiling, channels: read },
            Operand { reader: dy, patch: Patch::Gradient, tiling, channels: write },
        ]
    }

    fn planes(&self, tiles: usize, lanes: usize) -> [Planes; 2] {
        [self.read, self.write].map(|channels| Planes::operand(self.tiling.stride, tiles, channels, lanes))
    }

    /// A sum for each `chunk` tiles.
    fn chunks(&self, cpu: &Cpu<T>, chunk: usize) -> Result<Scratch<T::Accum>> {
        let (lanes, all) = (cpu.lanes(), self.tiling.count());
        let tiles = self.tiles(NEAR, 16).min(all);
        let (count, len) = (all.div_ceil(chunk), self.panels(lanes).len());
        let mut sums = cpu.scratch::<T::Accum>(count * len)?;
        let planes = self.planes(tiles, lanes);
        let rooms = cpu.rooms(count, [planes[0].len(), planes[1].len(), piece_len(lanes)])?;
        cpu.for_each_part(chunks(&mut sums, len), |i, sum: &mut [T::Accum]| {
            let [v, d, du] = &mut *rooms.take();
            let tiles = i * chunk..all.min((i + 1) * chunk);
            cpu.run(Chunk { of: self, tiles, planes, v, d, du, sum });
        });
        Ok(sums)
    }

    /// One sum, of transforms that all tasks share.
    fn shared(&self, cpu: &Cpu<T>) -> Result<Scratch<T::Accum>> {
        let (lanes, all) = (cpu.lanes(), self.tiling.count());
        let stages = all.div_ceil(self.tiles(FAR, 16));
        let most = all.div_ceil(stages);
        let planes = self.planes(most, lanes);
        let (mut v, mut d) = (cpu.scratch(planes[0].len())?, cpu.scratch(planes[1].len())?);
        let mut sum = cpu.scratch::<T::Accum>(self.panels(lanes).len())?;
        let (panels, parts) = (self.panels(lanes).count(), parts(self.read));
        let rooms = cpu.rooms(panels * parts, [piece_len(lanes)])?;
        for tiles in (0..all).step_by(most).map(|start| start..all.min(start + most)) {
            stage(cpu, &tiles, self.operands(), planes, [&mut *v, &mut *d]);
            let (v, d, sums): (&[T::Accum], &[T::Accum], _) = (&v, &d, Shared::new(&mut sum));
            cpu.for_each(panels * parts, |task| {
                let [du] = &mut *rooms.take();
                let channels = task % parts * CHANNELS..self.read.min((task % parts + 1) * CHANNELS);
                let (panel, accumulate) = (task / parts, tiles.start > 0);
                let ahead = [Ahead::NONE; 2];
                cpu.run(Part {
                    of: self,
                    tiles: tiles.len(),
                    planes,
                    v,
                    d,
                    panel,
                    channels,
                    du,
                    sums,
                    accumulate,
                    ahead,
                });
            });
        }
        Ok(sum)
    }
}

/// Elements between two points of a piece of dU.
fn piece_point(lanes: usize) -> usize {
    (CHANNELS * 2 + 1) * lanes
}

fn piece_len(lanes: usize) -> usize {
    PLANES * piece_point(lanes)
}

/// The sum over a chunk of tiles.
struct Chunk<'a, T: CpuElement> {
    of: &'a WeightGradient<'a, T>,
    tiles: Range<usize>,
    planes: [Planes; 2],
    v: &'a mut [T::Accum],
    d: &'a mut [T::Accum],
    du: &'a mut [T::Accum],
    sum: &'a mut [T::Accum],
}

impl<T: CpuElement> SimdKernel for Chunk<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Chunk { of, tiles, planes, v, d, du, sum } = self;
        assert!(v.len() == planes[0].len() && d.len() == planes[1].len());
        let sums = Shared::new(sum);
        let panels = of.panels(V::<T, S>::LANES).count();
        let (parts, mut pieces) = (parts(of.read), pieces(tiles.clone(), planes[0].tiles).peekable());
        while let Some(near) = pieces.next() {
            let operands = of.operands();
            for (operand, planes, to) in [(operands[0], planes[0], &mut *v), (operands[1], planes[1], &mut *d)] {
                // SAFETY: v and d are this task's own, of the lengths just checked.
                unsafe { operand.transform(simd, near.clone(), 0, planes, to.as_mut_ptr()) }
            }
            let next = pieces.peek().cloned().unwrap_or(0..0);
            let ahead = operands.map(|operand| Ahead::tiles(&operand, next.clone()));
            for panel in 0..panels {
                for part in 0..parts {
                    let ahead = ahead.map(|ahead| ahead.part(panel * parts + part, panels * parts, PLANES));
                    let channels = part * CHANNELS..of.read.min((part + 1) * CHANNELS);
                    let (v, d, du, accumulate) = (&*v, &*d, &mut *du, near.start > tiles.start);
                    Part { of, tiles: near.len(), planes, v, d, panel, channels, du, sums, accumulate, ahead }
                        .add(simd);
                }
            }
        }
    }
}

/// One panel of K and some channels of C, summed over some tiles.
struct Part<'a, T: CpuElement> {
    of: &'a WeightGradient<'a, T>,
    tiles: usize,
    planes: [Planes; 2],
    v: &'a [T::Accum],
    d: &'a [T::Accum],
    panel: usize,
    channels: Range<usize>,
    du: &'a mut [T::Accum],
    /// The sum, in panels.
    sums: Shared<T::Accum>,
    accumulate: bool,
    ahead: [Ahead; 2],
}

impl<T: CpuElement> SimdKernel for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.add(simd);
    }
}

impl<T: CpuElement> Part<'_, T> {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S) {
        let Part { of, tiles, planes, v, d, panel, channels, du, sums, accumulate, ahead } = self;
        let lanes = V::<T, S>::LANES;
        let first = panel * 2 * lanes;
        let (panels, du_point) = (of.panels(lanes), piece_point(lanes));
        let vectors = panels.vectors(panel);
        assert!(v.len() == planes[0].len() && d.len() == planes[1].len());
        assert!(du.len() == piece_len(lanes) && channels.len() <= CHANNELS);
        // SAFETY: the lengths were just checked; dU is this task's own, and so are these channels of the panel.
        unsafe {
            let dw = sums.get().add(panels.start(0, panel) + channels.start * TAPS * TAPS * vectors * lanes);
            let outer = Outer {
                tiles,
                blocks: channels.len().div_ceil(lanes),
                v: v.as_ptr(),
                d: d.as_ptr(),
                planes,
                first: [channels.start / lanes, first / lanes],
                du: du.as_mut_ptr(),
                du_point,
                ahead,
            };
            outer.run(simd, vectors);
            let (du, channels, strided) = (du.as_ptr(), channels.len(), of.tiling.stride != Stride::One);
            WeightsBack { du, du_point, dw, channels, vectors, strided, accumulate }.run(simd);
        }
    }
}

/// Adds up the sums of all chunks, of one panel and some channels, into the gradient.
struct AddUp<'a, T: CpuElement> {
    of: &'a WeightGradient<'a, T>,
    sums: &'a [T::Accum],
    panel: usize,
    channels: Range<usize>,
    dw: Shared<T::Accum>,
}

impl<T: CpuElement> SimdKernel for AddUp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AddUp { of, sums, panel, channels, dw } = self;
        let lanes = V::<T, S>::LANES;
        let (first, panels) = (panel * 2 * lanes, of.panels(lanes));
        let vectors = panels.vectors(panel);
        for c in channels {
            for tap in 0..TAPS * TAPS {
                for v in 0..vectors {
                    let at = panels.start(0, panel) + ((c * TAPS * TAPS + tap) * vectors + v) * lanes;
                    let mut total = V::<T, S>::zero(simd);
                    for sum in sums.chunks_exact(panels.len()) {
                        total = total.add(V::<T, S>::read(simd, &sum[at..]));
                    }
                    let to = (tap * of.read + c) * of.write + first + v * lanes;
                    // SAFETY: these elements of dw are within it, as its length was checked, and no other task's.
                    unsafe { total.store_head(dw.get().add(to), lanes.min(of.write - first - v * lanes)) };
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod balance {
    use super::*;

    /// What each task multiplies, as a part of the whole.
    pub(in super::super) fn tasks(tiling: &Tiling, [read, write]: [usize; 2], lanes: usize) -> Vec<f64> {
        let all = tiling.count();
        match own_chunk(tiling, read, write) {
            Some(chunk) => (0..all).step_by(chunk).map(|at| chunk.min(all - at) as f64 / all as f64).collect(),
            None => {
                let tasks = parts(read) * panels(read, write, lanes).count();
                vec![1.0 / tasks as f64; tasks]
            }
        }
    }
}
