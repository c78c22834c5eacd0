//! The forward pass, and with turned and exchanged weights the gradient of the input.
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
//!     for each task (a panel of K):  for each of six lines of points:  U = G w Gt;  M = V * U
//!                                    y = At M A
//! ```

use std::ops::Range;

use cnn_core::backend::Moments;

use super::super::epilogue::{Epilogue, Finish};
use super::super::moments::combine;
use super::super::pack::Reader;
use super::ahead::Ahead;
use super::matrices::{POINTS, TAPS};
use super::outputs::Outputs;
use super::patches::{Patch, Transform};
use super::product::Product;
use super::weights::Weights;
use super::{PLANES, Planes, Tiling, pieces};
use crate::Cpu;
use crate::buffer::{Buffer, Scratch};
use crate::element::{CpuElement, CpuReal};
use crate::simd::{Kernel, Simd, V, Vector};
use crate::threads::Shared;

/// A 3x3 weight.
#[derive(Clone, Copy)]
pub(in super::super) enum Kernel3x3<'a, T> {
    /// \[3\]\[3\]\[read\]\[write\], as the master weight is stored.
    Plain(&'a [T]),
    /// \[3\]\[3\]\[write\]\[read\]: turned, and the roles of the channels exchanged.
    Exchanged(&'a [T]),
    /// Transformed ahead by [`transform_ready`].
    Ready(&'a [T]),
}

/// A convolution by Winograd's algorithm, in either direction.
pub(in super::super) struct Convolution<'a, T: CpuElement> {
    pub(in super::super) reader: Reader<'a, T>,
    pub(in super::super) tiling: Tiling,
    /// Channels that are read and written.
    pub(in super::super) read: usize,
    pub(in super::super) write: usize,
    pub(in super::super) weights: Kernel3x3<'a, T::Accum>,
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

/// Elements of a transformed weight that is made at once.
const AT_ONCE: usize = 3 << 20;
/// Tiles of a task: V, M and a panel of U stay in the second-level cache up to 256 channels, and the number is a whole
/// number of register blocks for every instruction set.
const TILES: usize = 24;
/// Tasks that there are at least, if there are so many blocks, and the most blocks of a task.
const RUNS: usize = 20;
const RUN: usize = 8;
/// Fewer blocks than this are made a multiple of four, as long as each has this many tiles.
const FEW: usize = 32;
const LEAST: usize = 8;
/// Tiles of a stage.
const STAGE: usize = 128;
/// Lines of points whose weights a staged task transforms at a time.
const LINES: usize = 1;
/// Tiles that a task of a stage transforms.
const PIECE: usize = 8;

/// Elements between two points of a panel of transformed weights.
fn panel_point(read: usize, lanes: usize) -> usize {
    (read * 2 + 1) * lanes
}

fn panels(write: usize, lanes: usize) -> usize {
    write.div_ceil(2 * lanes)
}

/// Vectors of a panel.
fn vectors(write: usize, panel: usize, lanes: usize) -> usize {
    (write - panel * 2 * lanes).div_ceil(lanes).min(2)
}

/// Elements of a weight that is transformed ahead; none for a shape that transforms it while it runs.
pub(in super::super) fn ready_len(read: usize, write: usize, lanes: usize) -> Option<usize> {
    (PLANES * read * write <= AT_ONCE).then_some(panels(write, lanes) * PLANES * panel_point(read, lanes))
}

/// Transforms a whole weight, as [`Kernel3x3::Ready`] holds it.
pub(in super::super) fn transform_ready<T: CpuElement>(
    cpu: &Cpu<T>,
    weights: &[T::Accum],
    turned: bool,
    read: usize,
    write: usize,
    u: &mut [T::Accum],
) {
    const CHANNELS: usize = 16; // of a task
    let lanes = cpu.isa().lanes::<T>();
    let u_point = panel_point(read, lanes);
    assert_eq!(u.len(), panels(write, lanes) * PLANES * u_point);
    let (parts, u) = (read.div_ceil(CHANNELS), Shared::new(u));
    cpu.for_each(panels(write, lanes) * parts, |task| {
        let (panel, part) = (task / parts, task % parts);
        cpu.run(Ready::<T::Accum> {
            weights,
            read,
            write,
            turned,
            panel,
            channels: part * CHANNELS..read.min((part + 1) * CHANNELS),
            u,
        });
    });
}

/// Some channels of a panel of a weight that is transformed ahead.
struct Ready<'a, T> {
    weights: &'a [T],
    read: usize,
    write: usize,
    turned: bool,
    panel: usize,
    channels: Range<usize>,
    u: Shared<T>,
}

impl<T: CpuReal> Kernel for Ready<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Ready { weights, read, write, turned, panel, channels, u } = self;
        let lanes = V::<T, S>::LANES;
        let u_point = panel_point(read, lanes);
        // SAFETY: `transform_ready` has checked that u holds all panels; no other task has these channels of this one.
        unsafe {
            let u = u.get().add(panel * PLANES * u_point);
            let (first, vectors, lines) = (panel * 2 * lanes, vectors(write, panel, lanes), 0..POINTS);
            Weights { weights, read, write, turned, first, vectors, channels, lines, u, u_point }.run(simd);
        }
    }
}

/// \[9\]\[rows\]\[columns\] to \[9\]\[columns\]\[rows\].
fn exchange<T: CpuElement>(cpu: &Cpu<T>, weights: &[T::Accum], rows: usize, columns: usize, to: &mut [T::Accum]) {
    const SIDE: usize = 32; // of a square that stays in the cache
    assert!(weights.len() == TAPS * TAPS * rows * columns && to.len() == weights.len());
    let strips = columns.div_ceil(SIDE);
    let to = Shared::new(to);
    cpu.for_each(TAPS * TAPS * strips, |task| {
        let (tap, strip) = (task / strips, task % strips);
        let (from, columns_here) = (&weights[tap * rows * columns..][..rows * columns], strip * SIDE..);
        for row in (0..rows).step_by(SIDE) {
            for column in columns_here.start..columns.min(columns_here.start + SIDE) {
                // SAFETY: this task alone writes these columns of this tap, which are rows of the result.
                let line = unsafe {
                    let at = (tap * columns + column) * rows + row;
                    std::slice::from_raw_parts_mut(to.get().add(at), SIDE.min(rows - row))
                };
                for (i, value) in line.iter_mut().enumerate() {
                    *value = from[(row + i) * columns + column];
                }
            }
        }
    });
}

impl<T: CpuElement> Convolution<'_, T> {
    fn schedule(&self) -> Schedule {
        let all = self.tiling.count().max(1);
        if PLANES * self.read * self.write > AT_ONCE {
            return Schedule { tiles: all.div_ceil(all.div_ceil(STAGE)), staged: true };
        }
        let mut blocks = all.div_ceil(TILES);
        if blocks < FEW {
            // So few that threads would wait for the last one: even, and not too small.
            blocks = blocks.next_multiple_of(4).min(all.div_ceil(LEAST));
        }
        Schedule { tiles: all.div_ceil(blocks), staged: false }
    }

    /// Writes `y` \[N, H, W, write\], and on request takes its moments.
    pub(in super::super) fn run(&self, cpu: &Cpu<T>, y: &mut [T], moments: bool) -> Option<Moments<Cpu<T>>> {
        let Tiling { batch, to: [height, width], .. } = self.tiling;
        assert_eq!(y.len(), batch * height * width * self.write);
        assert!(self.epilogue.fits(y.len(), self.write));
        let Schedule { tiles, staged } = self.schedule();
        let all = self.tiling.count();
        let blocks = all.div_ceil(tiles);
        let mut taken: Buffer<T::Accum> = cpu.alloc(if moments { blocks * 2 * self.write } else { 0 });
        let out = Out { y: Shared::new(y), moments: moments.then(|| Shared::new(taken.make_mut())) };
        let block = |i: usize| i * tiles..all.min((i + 1) * tiles);
        match staged {
            false => self.at_once(cpu, tiles, blocks, block, out),
            true => self.staged(cpu, tiles, blocks, block, out),
        }
        moments.then(|| combine(cpu, taken.as_slice(), self.write, |i| self.pixels(block(i))))
    }

    /// Output pixels of some tiles.
    fn pixels(&self, tiles: Range<usize>) -> usize {
        let [height, width] = self.tiling.to;
        let size = |tile: usize| {
            let [top, left] = self.tiling.place(tile).at;
            (height - top).min(super::SIDE) * (width - left).min(super::SIDE)
        };
        tiles.map(size).sum()
    }

    /// The weight \[9\]\[read\]\[write\], and whether it is to be turned. `room` holds one that has to be exchanged.
    fn plain<'a>(&'a self, cpu: &Cpu<T>, room: &'a mut Scratch<T::Accum>) -> (&'a [T::Accum], bool) {
        match self.weights {
            Kernel3x3::Plain(weights) => (weights, false),
            Kernel3x3::Exchanged(weights) => {
                exchange(cpu, weights, self.write, self.read, room);
                (room, true)
            }
            Kernel3x3::Ready(_) => unreachable!("a transformed weight is used as it is"),
        }
    }

    /// Elements that [`plain`](Self::plain) needs.
    fn exchanged_len(&self) -> usize {
        if let Kernel3x3::Exchanged(weights) = self.weights { weights.len() } else { 0 }
    }

    fn at_once(
        &self,
        cpu: &Cpu<T>,
        tiles: usize,
        blocks: usize,
        block: impl Fn(usize) -> Range<usize> + Sync,
        out: Out<T>,
    ) {
        let lanes = cpu.isa().lanes::<T>();
        let len = panels(self.write, lanes) * PLANES * panel_point(self.read, lanes);
        let made: Scratch<T::Accum>;
        let u: &[T::Accum] = match self.weights {
            Kernel3x3::Ready(u) => u,
            _ => {
                let mut room = cpu.scratch(self.exchanged_len());
                let (weights, turned) = self.plain(cpu, &mut room);
                let mut u = cpu.scratch(len);
                transform_ready(cpu, weights, turned, self.read, self.write, &mut u);
                made = u;
                &made
            }
        };
        assert_eq!(u.len(), len);
        let planes = Planes::new(tiles, self.read, lanes);
        let room = [planes.len(), PLANES * panel_point(tiles, lanes)];
        cpu.reserve::<T::Accum>(blocks, &room);
        // Some blocks one after the other, so that the next one's input is asked for while this one computes.
        let run = (blocks / RUNS).clamp(1, RUN);
        cpu.for_each(blocks.div_ceil(run), |task| {
            let (mut v, mut m) = (cpu.scratch(room[0]), cpu.scratch(room[1]));
            let end = blocks.min((task + 1) * run);
            for i in task * run..end {
                let next = if i + 1 < end { block(i + 1) } else { 0..0 };
                cpu.run(AtOnce { of: self, index: i, tiles: block(i), next, planes, v: &mut v, m: &mut m, u, out });
            }
        });
    }

    fn staged(&self, cpu: &Cpu<T>, tiles: usize, blocks: usize, block: impl Fn(usize) -> Range<usize>, out: Out<T>) {
        let lanes = cpu.isa().lanes::<T>();
        let mut exchanged = cpu.scratch(self.exchanged_len());
        let (weights, turned) = self.plain(cpu, &mut exchanged);
        let planes = Planes::new(tiles, self.read, lanes);
        let panels = panels(self.write, lanes);
        let mut v = cpu.scratch(planes.len());
        let room = [LINES * POINTS * panel_point(self.read, lanes), PLANES * panel_point(tiles, lanes)];
        cpu.reserve::<T::Accum>(panels, &room);
        for i in 0..blocks {
            let tiles = block(i);
            let v_out = Shared::new(&mut v);
            cpu.for_each(tiles.len().div_ceil(PIECE), |piece| {
                let row = piece * PIECE;
                let tiles = tiles.start + row..tiles.end.min(tiles.start + row + PIECE);
                cpu.run(Stage { of: self, patch: Patch::Input, tiles, row, planes, to: v_out });
            });
            cpu.for_each(panels, |panel| {
                let (mut u, mut m) = (cpu.scratch(room[0]), cpu.scratch(room[1]));
                let (index, tiles) = (i, tiles.clone());
                let (u, m) = (&mut *u, &mut *m);
                cpu.run(Panel { of: self, index, tiles, planes, v: &v, panel, weights, turned, u, m, out });
            });
        }
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
        m_point: usize,
        out: Out<T>,
    ) {
        let first = panel * 2 * V::<T, S>::LANES;
        // SAFETY: the caller's promise; `run` has checked the lengths of output, bias and moments.
        unsafe {
            let outputs = Outputs {
                tiling: self.tiling,
                tiles,
                vectors: vectors(self.write, panel, V::<T, S>::LANES),
                m: m.as_ptr(),
                m_point,
                y: out.y.get().add(first),
                channels: self.write,
                write: self.write - first,
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
    moments: Option<Shared<T::Accum>>,
}

impl<T: CpuElement> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: CpuElement> Copy for Out<T> {}

/// Some tiles, through the whole weight.
struct AtOnce<'a, T: CpuElement> {
    of: &'a Convolution<'a, T>,
    index: usize,
    tiles: Range<usize>,
    /// The tiles that come next.
    next: Range<usize>,
    planes: Planes,
    v: &'a mut [T::Accum],
    m: &'a mut [T::Accum],
    u: &'a [T::Accum],
    out: Out<T>,
}

impl<T: CpuElement> Kernel for AtOnce<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AtOnce { of, index, tiles, next, planes, v, m, u, out } = self;
        let lanes = V::<T, S>::LANES;
        let (u_point, m_point) = (panel_point(of.read, lanes), panel_point(planes.tiles, lanes));
        assert!(v.len() == planes.len() && m.len() == PLANES * m_point);
        // SAFETY: v and m are this task's own, of the lengths just checked; `at_once` has checked that of u.
        unsafe {
            let to = v.as_mut_ptr();
            let (reader, tiling, channels) = (of.reader, of.tiling, of.read);
            let patch = Patch::Input;
            Transform { reader, patch, tiling, channels, tiles: tiles.clone(), row: 0, planes, to }.run(simd);
            let ahead = Ahead::tiles(&of.reader, &of.tiling, false, of.read, next);
            let panels = panels(of.write, lanes);
            for panel in 0..panels {
                let product = Product {
                    points: PLANES,
                    tiles: tiles.len(),
                    channels: of.read,
                    v: v.as_ptr(),
                    v_point: planes.point(),
                    v_block: planes.block(),
                    u: u.as_ptr().add(panel * PLANES * u_point),
                    u_point,
                    m: m.as_mut_ptr(),
                    m_point,
                    ahead: ahead.part(panel, panels, PLANES),
                };
                product.run(simd, vectors(of.write, panel, lanes));
                of.emit(simd, index, tiles.clone(), panel, m, m_point, out);
            }
        }
    }
}

/// Some tiles of a stage, transformed.
struct Stage<'a, T: CpuElement> {
    of: &'a Convolution<'a, T>,
    patch: Patch,
    tiles: Range<usize>,
    row: usize,
    planes: Planes,
    to: Shared<T::Accum>,
}

impl<T: CpuElement> Kernel for Stage<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Stage { of, patch, tiles, row, planes, to } = self;
        let (reader, tiling, channels) = (of.reader, of.tiling, of.read);
        // SAFETY: `staged` made `to` for these planes, and no other task has these tiles.
        unsafe { Transform { reader, patch, tiling, channels, tiles, row, planes, to: to.get() }.run(simd) }
    }
}

/// One panel of the weight, for the tiles of a stage.
struct Panel<'a, T: CpuElement> {
    of: &'a Convolution<'a, T>,
    index: usize,
    tiles: Range<usize>,
    planes: Planes,
    v: &'a [T::Accum],
    panel: usize,
    weights: &'a [T::Accum],
    turned: bool,
    u: &'a mut [T::Accum],
    m: &'a mut [T::Accum],
    out: Out<T>,
}

impl<T: CpuElement> Kernel for Panel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Panel { of, index, tiles, planes, v, panel, weights, turned, u, m, out } = self;
        let lanes = V::<T, S>::LANES;
        let (u_point, m_point) = (panel_point(of.read, lanes), panel_point(planes.tiles, lanes));
        let (first, vectors) = (panel * 2 * lanes, vectors(of.write, panel, lanes));
        assert!(v.len() == planes.len() && u.len() == LINES * POINTS * u_point && m.len() == PLANES * m_point);
        for lines in pieces(0..POINTS, LINES) {
            let start = lines.start * POINTS;
            // SAFETY: u and m are this task's own; their lengths and that of v were just checked.
            unsafe {
                let (read, write, points) = (of.read, of.write, lines.len() * POINTS);
                let (channels, to) = (0..read, u.as_mut_ptr());
                Weights { weights, read, write, turned, first, vectors, channels, lines, u: to, u_point }.run(simd);
                let product = Product {
                    points,
                    tiles: tiles.len(),
                    channels: read,
                    v: v.as_ptr().add(start * planes.point()),
                    v_point: planes.point(),
                    v_block: planes.block(),
                    u: u.as_ptr(),
                    u_point,
                    m: m.as_mut_ptr().add(start * m_point),
                    m_point,
                    ahead: Ahead::<T>::NONE,
                };
                product.run(simd, vectors);
            }
        }
        // SAFETY: all 36 points of m were just computed, and no other task has this panel.
        unsafe { of.emit(simd, index, tiles, panel, m, m_point, out) }
    }
}
