//! The forward pass, and with rotated and exchanged weights the gradient of the input.
//!
//! Two schedules. Where the transformed weight fits a cache it is made once, and a task takes some tiles through all of
//! it, so that V and M of the task stay in its second-level cache:
//!
//! ```text
//! U = G w Gt, all of it
//! for each task (some tiles):  V = Bt x B;  for each panel of K:  M = V * U;  y = At M A
//! ```
//!
//! With many channels the transformed weight is four times one that already fills the cache, and there are few tiles;
//! so V of many tiles is shared by all tasks, and a task takes a panel of the weight, which it transforms as it needs it:
//!
//! ```text
//! for some tiles:
//!     V = Bt x B, by all tasks
//!     for each task (a panel of K):  for some channels of C:  U = G w Gt;  M += V * U
//!                                    y = At M A
//! ```

use std::ops::Range;

use cnn_core::Result;
use cnn_core::backend::Moments;

use super::super::reader::Reader;
use super::ahead::Ahead;
use super::outputs::Outputs;
use super::patches::{Operand, Patch, stage};
use super::product::Product;
use super::tiling::{Planes, Stride, Tiling};
use super::weights::{Kernel3x3, Kernels, Weights, panel_point, ready_len, transform_ready};
use super::{PLANES, panels};
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::epilogue::{Epilogue, Finish};
use crate::kernel::moments::combine;
use crate::machine::{FEW, L3, MANY};
use crate::scratch::Scratch;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// A convolution by Winograd's algorithm, in either direction.
pub(in super::super) struct Convolution<'a, T: CpuElement> {
    pub(in super::super) reader: Reader<'a, T>,
    pub(in super::super) tiling: Tiling,
    /// Channels that are read and written.
    pub(in super::super) read: usize,
    pub(in super::super) write: usize,
    pub(in super::super) weight: Kernel3x3<'a, T::Accum>,
    pub(in super::super) epilogue: Epilogue<'a, T>,
    pub(in super::super) accumulate: bool,
}

/// How the work is cut: by the shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Schedule {
    /// Tiles of a task, or of a stage.
    tiles: usize,
    staged: bool,
}

/// Tiles of a task, where the stride is one and where it is not: V, M and a panel of U stay in the second-level cache up
/// to 256 channels, and the number is a whole number of register blocks for every instruction set.
const TILES: usize = 24;
const STRIDED: usize = 12;
/// Fewer blocks than this are made a multiple of four, as long as each has this many tiles.
const EVEN: usize = 32;
const LEAST: usize = 8;
/// Bytes of an output that will not be in a cache when it is read.
const LARGE: usize = L3 * 3 / 4;
/// Channels of a panel of the weight that are transformed at a time: whole blocks, and little enough to be still in the
/// second-level cache when they are multiplied.
const CHANNELS: usize = 128;
/// Tiles of a stage.
const STAGE: usize = 128;

impl Schedule {
    /// Of a convolution of `read` to `write` channels.
    fn new(tiling: &Tiling, [read, write]: [usize; 2], lanes: usize) -> Self {
        let all = tiling.count().max(1);
        if ready_len(read, write, lanes).is_none() {
            return Schedule { tiles: all.div_ceil(all.div_ceil(STAGE)), staged: true };
        }
        let mut blocks = all.div_ceil(if tiling.stride == Stride::One { TILES } else { STRIDED });
        if blocks < EVEN {
            // So few that threads would wait for the last one: even, and not too small.
            blocks = blocks.next_multiple_of(4).min(all.div_ceil(LEAST));
        }
        Schedule { tiles: all.div_ceil(blocks), staged: false }
    }
}

/// The most blocks of a task.
const RUN: usize = 8;
/// Blocks times channels that are written, from which on `FEW` blocks are halved. Both halves transform the tiles, which
/// costs about as much as products with five channels: this is where that is a seventy-fifth of all.
const HALVED: usize = 6 << 10;

/// How the blocks are cut into tasks: runs of blocks, then single blocks, then halves of blocks, each with half of the
/// panels. In a run the next block's input is asked for while a block computes; small tasks come last, so that all
/// threads end at about the same time.
#[derive(Clone, Copy, Debug)]
struct Tasks {
    run: usize,
    runs: usize,
    singles: usize,
    halved: usize,
    panels: usize,
}

impl Tasks {
    fn new(blocks: usize, panels: usize, write: usize) -> Self {
        let run = (blocks / MANY).clamp(1, RUN);
        let runs = if run > 1 { (blocks - MANY) / run } else { 0 };
        // From ten rounds of single blocks on, the last of them is small beside the rest.
        let halves = panels > 1 && blocks * write >= HALVED && (FEW + 1..10 * FEW).contains(&blocks);
        let halved = if halves { FEW } else { 0 };
        Tasks { run, runs, singles: blocks - runs * run - halved, halved, panels }
    }

    fn count(&self) -> usize {
        self.runs + self.singles + 2 * self.halved
    }

    /// The blocks and the panels of a task.
    fn part(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let half = self.panels / 2;
        match task.checked_sub(self.runs) {
            None => (task * self.run..(task + 1) * self.run, 0..self.panels),
            Some(i) => {
                let (block, panels) = match i.checked_sub(self.singles) {
                    None => (i, 0..self.panels),
                    Some(i) if i % 2 == 0 => (self.singles + i / 2, 0..half),
                    Some(i) => (self.singles + i / 2, half..self.panels),
                };
                let block = self.runs * self.run + block;
                (block..block + 1, panels)
            }
        }
    }
}

impl<T: CpuElement> Convolution<'_, T> {
    fn operand(&self) -> Operand<'_, T> {
        Operand { reader: self.reader, patch: Patch::Input, tiling: self.tiling, channels: self.read }
    }

    fn schedule(&self, lanes: usize) -> Schedule {
        Schedule::new(&self.tiling, [self.read, self.write], lanes)
    }

    /// Writes `y` \[N, H, W, write\], and on request takes its moments.
    pub(in super::super) fn run(&self, cpu: &Cpu<T>, y: &mut [T], moments: bool) -> Result<Option<Moments<Cpu<T>>>> {
        let Tiling { batch, to: [height, width], .. } = self.tiling;
        assert_eq!(y.len(), batch * height * width * self.write);
        assert!(self.epilogue.fits(y.len(), self.write));
        let Schedule { tiles, staged } = self.schedule(cpu.lanes());
        let all = self.tiling.count();
        let blocks = all.div_ceil(tiles);
        let mut taken = cpu.scratch::<T::Accum>(if moments { blocks * 2 * self.write } else { 0 })?;
        let out = Out { len: y.len(), y: Shared::new(y), moments: moments.then(|| Shared::new(&mut taken)) };
        let block = |i: usize| i * tiles..all.min((i + 1) * tiles);
        match staged {
            false => self.at_once(cpu, tiles, blocks, block, out)?,
            true => self.staged(cpu, tiles, blocks, block, out)?,
        }
        moments.then(|| combine(cpu, &taken, self.write, |i| self.pixels(block(i)))).transpose()
    }

    /// Output pixels of some tiles.
    fn pixels(&self, tiles: Range<usize>) -> usize {
        let ([height, width], side) = (self.tiling.to, self.tiling.stride.outputs());
        let size = |tile: usize| {
            let [top, left] = self.tiling.position(tile).at;
            (height - top).min(side) * (width - left).min(side)
        };
        tiles.map(size).sum()
    }

    fn at_once(
        &self,
        cpu: &Cpu<T>,
        tiles: usize,
        blocks: usize,
        block: impl Fn(usize) -> Range<usize> + Sync,
        out: Out<T>,
    ) -> Result<()> {
        let lanes = cpu.lanes();
        let (read, write) = (self.read, self.write);
        let len = panels(read, write, lanes).count() * PLANES * panel_point(read, lanes);
        let made: Scratch<T::Accum>;
        let u: &[T::Accum] = match self.weight {
            Kernel3x3::Ready(u) => u,
            _ => {
                let mut room = cpu.scratch(self.weight.room())?;
                let kernels = self.weight.plain(cpu, [read, write], self.tiling.stride, &mut room);
                let mut u = cpu.scratch(len)?;
                transform_ready(cpu, kernels, &mut u);
                made = u;
                &made
            }
        };
        assert_eq!(u.len(), len);
        let planes = self.planes(tiles, lanes);
        let tasks = Tasks::new(blocks, panels(read, write, lanes).count(), write);
        let rooms = cpu.rooms(tasks.count(), planes.map(|planes| planes.len()))?;
        cpu.for_each(tasks.count(), |task| {
            let [v, m] = &mut *rooms.take();
            let (run, panels) = tasks.part(task);
            for i in run.clone() {
                let next = if i + 1 < run.end { block(i + 1) } else { 0..0 };
                let (index, tiles, panels) = (i, block(i), panels.clone());
                cpu.run(AtOnce { of: self, index, tiles, next, panels, planes, v, m, u, out });
            }
        });
        Ok(())
    }

    /// The layouts of V and of M.
    fn planes(&self, tiles: usize, lanes: usize) -> [Planes; 2] {
        let stride = self.tiling.stride;
        [Planes::operand(stride, tiles, self.read, lanes), Planes::products(stride, tiles, lanes)]
    }

    fn staged(
        &self,
        cpu: &Cpu<T>,
        tiles: usize,
        blocks: usize,
        block: impl Fn(usize) -> Range<usize>,
        out: Out<T>,
    ) -> Result<()> {
        let lanes = cpu.lanes();
        let mut exchanged = cpu.scratch(self.weight.room())?;
        let kernels = self.weight.plain(cpu, [self.read, self.write], self.tiling.stride, &mut exchanged);
        let planes = self.planes(tiles, lanes);
        let panels = panels(self.read, self.write, lanes).count();
        let mut v = cpu.scratch(planes[0].len())?;
        let rooms = cpu.rooms(panels, [PLANES * panel_point(CHANNELS, lanes), planes[1].len()])?;
        for i in 0..blocks {
            let tiles = block(i);
            stage(cpu, &tiles, [self.operand()], [planes[0]], [&mut *v]);
            cpu.for_each(panels, |panel| {
                let [u, m] = &mut *rooms.take();
                let (index, tiles) = (i, tiles.clone());
                cpu.run(Panel { of: self, index, tiles, planes, v: &v, panel, kernels, u, m, out });
            });
        }
        Ok(())
    }

    /// Writes the outputs of some tiles from the products of one panel.
    ///
    /// # Safety
    /// No other task has these tiles and this panel; `m` holds their products.
    #[inline(always)]
    unsafe fn emit<S: Simd>(
        &self,
        simd: S,
        index: usize,
        tiles: Range<usize>,
        panel: usize,
        m: &[T::Accum],
        products: Planes,
        out: Out<T>,
    ) {
        let first = panel * 2 * V::<T, S>::LANES;
        // SAFETY: the caller's promise; `run` has checked the lengths of output, bias and moments.
        unsafe {
            let outputs = Outputs {
                tiling: self.tiling,
                tiles,
                vectors: panels(self.read, self.write, V::<T, S>::LANES).vectors(panel),
                m: m.as_ptr(),
                products,
                y: out.y.get().add(first),
                channels: self.write,
                write: self.write - first,
                large: !self.accumulate && out.len * size_of::<T>() >= LARGE,
                finish: match self.accumulate {
                    true => Finish::accumulate(out.y.get().add(first)),
                    false => self.epilogue.at(first, first),
                },
                moments: out.moments.map(|to| {
                    let mean = to.get().add(index * 2 * self.write + first);
                    [mean, mean.add(self.write)]
                }),
            };
            outputs.run(simd);
        }
    }
}

/// Where results go: the output, and the moments `[blocks][2][write]`.
struct Out<T: CpuElement> {
    y: Shared<T>,
    len: usize,
    moments: Option<Shared<T::Accum>>,
}

impl<T: CpuElement> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: CpuElement> Copy for Out<T> {}

/// Some tiles, through the weight or some panels of it.
struct AtOnce<'a, T: CpuElement> {
    of: &'a Convolution<'a, T>,
    index: usize,
    tiles: Range<usize>,
    /// The tiles that come next.
    next: Range<usize>,
    /// Those of the weight.
    panels: Range<usize>,
    /// Of V and of M.
    planes: [Planes; 2],
    v: &'a mut [T::Accum],
    m: &'a mut [T::Accum],
    u: &'a [T::Accum],
    out: Out<T>,
}

impl<T: CpuElement> SimdKernel for AtOnce<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AtOnce { of, index, tiles, next, panels: some, planes, v, m, u, out } = self;
        let lanes = V::<T, S>::LANES;
        let u_point = panel_point(of.read, lanes);
        assert!(v.len() == planes[0].len() && m.len() == planes[1].len());
        // SAFETY: v and m are this task's own, of the lengths just checked; `at_once` has checked that of u.
        unsafe {
            of.operand().transform(simd, tiles.clone(), 0, planes[0], v.as_mut_ptr());
            let ahead = Ahead::tiles(&of.operand(), next);
            let panels = panels(of.read, of.write, lanes);
            for panel in some.clone() {
                let product = Product {
                    tiles: tiles.len(),
                    channels: of.read,
                    summed: 0,
                    v: v.as_ptr(),
                    planes: planes[0],
                    u: u.as_ptr().add(panel * PLANES * u_point),
                    u_point,
                    m: m.as_mut_ptr(),
                    products: planes[1],
                    ahead: ahead.part(panel - some.start, some.len(), PLANES),
                };
                product.run(simd, panels.vectors(panel));
                of.emit(simd, index, tiles.clone(), panel, m, planes[1], out);
            }
        }
    }
}

/// One panel of the weight, for the tiles of a stage.
struct Panel<'a, T: CpuElement> {
    of: &'a Convolution<'a, T>,
    index: usize,
    tiles: Range<usize>,
    /// Of V and of M.
    planes: [Planes; 2],
    v: &'a [T::Accum],
    panel: usize,
    kernels: Kernels<'a, T::Accum>,
    u: &'a mut [T::Accum],
    m: &'a mut [T::Accum],
    out: Out<T>,
}

impl<T: CpuElement> SimdKernel for Panel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Panel { of, index, tiles, planes, v, panel, kernels, u, m, out } = self;
        let lanes = V::<T, S>::LANES;
        let (u_point, vectors) = (panel_point(CHANNELS, lanes), panels(of.read, of.write, lanes).vectors(panel));
        assert!(v.len() == planes[0].len() && u.len() == PLANES * u_point && m.len() == planes[1].len());
        for first in (0..of.read).step_by(CHANNELS) {
            let channels = first..of.read.min(first + CHANNELS);
            // SAFETY: u and m are this task's own; their lengths and that of v were just checked.
            unsafe {
                let u = u.as_mut_ptr();
                Weights { kernels, panel, channels: channels.clone(), u, u_point }.run(simd);
                let product = Product {
                    tiles: tiles.len(),
                    channels: channels.len(),
                    summed: channels.start / lanes,
                    v: v.as_ptr(),
                    planes: planes[0],
                    u,
                    u_point,
                    m: m.as_mut_ptr(),
                    products: planes[1],
                    ahead: Ahead::NONE,
                };
                product.run(simd, vectors);
            }
        }
        // SAFETY: all 36 points of m were just computed, and no other task has this panel.
        unsafe { of.emit(simd, index, tiles, panel, m, planes[1], out) }
    }
}

#[cfg(test)]
pub(super) mod balance {
    use super::*;

    /// What each task multiplies, as a part of the whole.
    pub(in super::super) fn tasks(tiling: &Tiling, [read, write]: [usize; 2], lanes: usize) -> Vec<f64> {
        let panels = panels(read, write, lanes).count();
        let Schedule { tiles, staged } = Schedule::new(tiling, [read, write], lanes);
        if staged {
            return vec![1.0 / panels as f64; panels];
        }
        let (all, tasks) = (tiling.count(), Tasks::new(tiling.count().div_ceil(tiles), panels, write));
        let part = |task: usize| {
            let (blocks, some) = tasks.part(task);
            let tiles = all.min(blocks.end * tiles) - blocks.start * tiles;
            (tiles * some.len()) as f64 / (all * panels) as f64
        };
        (0..tasks.count()).map(part).collect()
    }

    #[test]
    fn every_panel_of_every_block_is_in_one_task() {
        for panels in [1, 2, 3, 8] {
            for blocks in 0..700 {
                let tasks = Tasks::new(blocks, panels, 128);
                let mut seen = vec![0; blocks * panels];
                for task in 0..tasks.count() {
                    let (blocks, some) = tasks.part(task);
                    assert!(!blocks.is_empty() && !some.is_empty() && blocks.len() <= RUN);
                    for block in blocks {
                        some.clone().for_each(|panel| seen[block * panels + panel] += 1);
                    }
                }
                assert_eq!(seen, vec![1; blocks * panels], "{tasks:?}");
            }
        }
    }
}
