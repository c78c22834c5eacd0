//! The gradient of the weight.
//!
//! ```text
//! dw[tap][c][k] = sum over images and output pixels of x[pixel + tap][c] * dy[pixel][k]
//! ```
//!
//! ```text
//! for each task (a chunk of images, some panels of K):
//!     for some images, or some rows of one, that fit the second-level cache: pack x and dy
//!         for some rows that fit the first: for each panel, block of C, tap, tile of channels:
//!             the micro-kernel: rows of channels x vectors of K in registers, over the pixels
//! add up the chunks in their order
//! ```
//!
//! Which images a chunk has depends on the shape alone, so the sum is the same for any number of threads. A chunk sums
//! some hundred pixels in a register before it adds them to the rest, which is also what keeps the rounding small.

use std::ops::Range;

use cnn_core::Result;

use super::pack::{Strip, Word, pack};
use super::panels::Panels;
use super::plans::Plan;
use super::reader::Reader;
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::kernel::Tap;
use crate::kernel::block::split;
use crate::machine::{F32, FEW, L1, L2, L3};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// The gradient of a weight.
pub(super) struct WeightGradient<'a, T: CpuElement> {
    pub(super) x: Reader<'a, T>,
    pub(super) dy: Reader<'a, T>,
    pub(super) batch: usize,
    /// H, W of x and of dy.
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) plan: &'a Plan,
    /// The layout of a partial sum, all taps included.
    pub(super) panels: Panels,
    /// Two images are packed as one, a number of each in an element.
    pub(super) pairs: bool,
}

/// How the work is cut: by the shape alone.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Images of a chunk.
    chunk: usize,
    /// Panels of a task, over all groups.
    panels: usize,
    /// Images and rows that are packed together.
    images: usize,
    rows: usize,
    /// Images and rows that the micro-kernel sums at a time.
    sum: [usize; 2],
}

/// Elements of all partial sums together, roughly.
const PARTIAL: usize = L3 / 4 / F32;
/// Bytes of packed operands.
const PACKED: usize = L2 / 2;
/// Bytes of the operands of one sum, beside what they are added to.
const SUM: usize = L1 / 2;
/// But no fewer pixels than this: each sum is loaded and stored once.
const PIXELS: usize = 128;

impl<T: CpuElement> WeightGradient<'_, T> {
    /// Scratch elements of a block of channels of x over `rows` scratch rows, and of dy over `rows` output rows.
    fn planes(&self, positions: usize, rows: usize) -> [usize; 2] {
        [positions * self.plan.columns.source.len(), rows * self.to[1]].map(|pixels| (pixels + 1) * self.panels.lanes)
    }

    /// Packed images of the batch.
    fn images(&self) -> usize {
        if self.pairs { self.batch.div_ceil(2) } else { self.batch }
    }

    /// The first image of packed image `i`, and what its elements are.
    #[inline(always)]
    fn image(&self, i: usize) -> (usize, Word) {
        if self.pairs { (2 * i, Word::Images { next: 2 * i + 1 < self.batch }) } else { (i, Word::Number) }
    }

    fn tile(&self) -> Tile {
        let Panels { groups, read, lanes, .. } = self.panels;
        let panels = groups * self.panels.count();
        let batch = self.images();
        let chunks = (PARTIAL / self.panels.len()).clamp(1, FEW).min(batch.max(1));
        let chunk = batch.div_ceil(chunks).max(1);
        let panels = panels.div_ceil(FEW.div_ceil(batch.div_ceil(chunk).max(1)).min(panels));
        // What one output row brings into the scratch.
        let row = (self.plan.rows.step * self.plan.columns.source.len() * read.div_ceil(lanes)
            + self.to[1] * 2 * panels.min(self.panels.count()))
            * lanes
            * size_of::<T::Accum>();
        let height = self.to[0];
        // A strip reaches over more rows than it has; where a dilated kernel reaches so far that strips would pack most rows
        // again and again, they have as many rows as they reach over besides.
        let besides = self.plan.rows.reach(0..1).len().div_ceil(self.plan.rows.step).saturating_sub(1);
        let rows = (PACKED / row.max(1)).max(besides).clamp(1, height);
        let images = if rows == height { (PACKED / (row * height).max(1)).clamp(1, chunk) } else { 1 };
        // What one output row brings into the first-level cache: one block of x, two of dy.
        let row =
            (self.plan.rows.step * self.plan.columns.source.len() + self.to[1] * 2) * lanes * size_of::<T::Accum>();
        let near = (SUM / row.max(1)).max(PIXELS.div_ceil(self.to[1])).max(1);
        let sum = if near >= height { [(near / height).min(images), height] } else { [1, near] };
        // Even pieces.
        let even = |all: usize, most: usize| all.div_ceil(all.div_ceil(most));
        let (images, rows) = (even(chunk, images), even(height, rows));
        Tile { chunk, panels, images, rows, sum: [even(images, sum[0].min(images)), even(rows, sum[1].min(rows))] }
    }

    /// Writes `dw` \[KH, KW, C / groups, K\].
    pub(super) fn run(&self, cpu: &Cpu<T>, dw: &mut [T::Accum]) -> Result<()> {
        let layout = self.panels;
        let Panels { groups, taps: w_taps, read, write, lanes, .. } = layout;
        assert_eq!(dw.len(), groups * w_taps * read * write);
        let tile = self.tile();
        let all_panels = groups * layout.count();
        let sets = all_panels.div_ceil(tile.panels);
        let chunks = self.images().div_ceil(tile.chunk);
        let list: &[Tap] = &self.plan.taps[0];
        let mut partial = cpu.scratch::<T::Accum>(chunks * layout.len())?;
        let out = Shared::new(&mut partial);
        let blocks = [read.div_ceil(lanes), 2 * layout.count().min(tile.panels)];
        // Room for as much as is ever packed at a time.
        let positions = self.plan.rows.reach(0..tile.rows).len();
        let planes = self.planes(positions, tile.rows);
        let work = self.plan.fold.map_or(0, |fold| fold.work(self.plan.columns.count(), read, lanes));
        let room = [tile.images * blocks[0] * planes[0] + work, tile.images * blocks[1] * planes[1]];
        let rooms = cpu.rooms(chunks * sets, room)?;
        cpu.for_each(chunks * sets, |task| {
            let (chunk, set) = (task / sets, task % sets);
            let [x, dy] = &mut *rooms.take();
            // SAFETY: every task has a chunk of its own, or panels of its own in it.
            let partial = unsafe { out.get().add(chunk * layout.len()) };
            let task = Task {
                gradient: self,
                tile,
                taps: list,
                images: chunk * tile.chunk..((chunk + 1) * tile.chunk).min(self.images()),
                panels: set * tile.panels..((set + 1) * tile.panels).min(all_panels),
                x,
                dy,
                partial,
            };
            cpu.run(task);
        });
        let (partial, dw): (&[T::Accum], _) = (&partial, Shared::new(dw));
        cpu.for_each(all_panels * blocks[0], |i| {
            cpu.run(AddUp { layout, taps: list, partial, chunks, panel: i / blocks[0], block: i % blocks[0], dw });
        });
        Ok(())
    }
}

struct Task<'a, T: CpuElement> {
    gradient: &'a WeightGradient<'a, T>,
    tile: Tile,
    taps: &'a [Tap],
    images: Range<usize>,
    panels: Range<usize>,
    x: &'a mut [T::Accum],
    dy: &'a mut [T::Accum],
    partial: *mut T::Accum,
}

/// `from..to` in pieces of `size`.
#[inline(always)]
fn pieces(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(size).map(move |at| at..(at + size).min(end))
}

impl<T: CpuElement> SimdKernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { gradient, tile, taps, images, panels, x, dy, partial } = self;
        let (layout, plan) = (gradient.panels, gradient.plan);
        let (height, width) = (gradient.to[0], gradient.to[1]);
        let lanes = V::<T, S>::LANES;
        // Groups have channels of their own on both sides.
        for group in panels.start / layout.count()..panels.end.div_ceil(layout.count()) {
            let first = group * layout.count();
            let panels = panels.start.max(first) - first..panels.end.min(first + layout.count()) - first;
            let k0 = panels.start * 2 * lanes; // of the group
            let k1 = layout.write.min(panels.end * 2 * lanes);
            let mut accumulate = false;
            for images in pieces(images.clone(), tile.images) {
                for rows in pieces(0..height, tile.rows) {
                    let positions = plan.rows.reach(rows.clone());
                    let planes = gradient.planes(positions.len(), rows.len());
                    let sizes = [layout.read.div_ceil(lanes) * planes[0], (k1 - k0).div_ceil(lanes) * planes[1]];
                    let columns: &[u32] = &plan.columns.source;
                    for (i, image) in images.clone().enumerate() {
                        let (image, word) = gradient.image(image);
                        let folded = plan.fold.map_or(1, |fold| fold.kernel);
                        let channels = layout.read / folded;
                        let strip = Strip {
                            rows: &plan.rows.source[positions.clone()],
                            columns,
                            image,
                            size: gradient.from,
                            pitch: layout.groups * channels,
                            first: group * channels,
                            channels,
                            apart: lanes,
                            plane: planes[0],
                            word,
                        };
                        pack(simd, &gradient.x, strip, plan.fold, &mut x[i * sizes[0]..]);
                        let strip = Strip {
                            rows: &plan.order[rows.clone()],
                            columns: &plan.order[..width],
                            image,
                            size: gradient.to,
                            pitch: layout.groups * layout.write,
                            first: group * layout.write + k0,
                            channels: k1 - k0,
                            apart: lanes,
                            plane: planes[1],
                            word,
                        };
                        pack(simd, &gradient.dy, strip, None, &mut dy[i * sizes[1]..]);
                    }
                    for near_images in pieces(0..images.len(), tile.sum[0]) {
                        for near_rows in pieces(0..rows.len(), tile.sum[1]) {
                            let step = plan.rows.step * columns.len() * lanes;
                            let x = x[near_images.start * sizes[0]..].as_ptr().wrapping_add(near_rows.start * step);
                            let dy = &dy[near_images.start * sizes[1] + near_rows.start * width * lanes..];
                            for panel in panels.clone() {
                                let vectors = layout.vectors(panel);
                                // SAFETY: this task's own panel of its own chunk.
                                let mut dw = unsafe { partial.add(layout.start(group, panel)) };
                                for c in (0..layout.read).step_by(lanes) {
                                    let channels = lanes.min(layout.read - c);
                                    for tap in taps {
                                        let at = tap.w * channels;
                                        // The outputs for which it reads more than padding.
                                        let start = rows.start + near_rows.start;
                                        let end = tap.rows[1].min(rows.start + near_rows.end);
                                        let skipped = tap.rows[0].saturating_sub(start).min(near_rows.len());
                                        let seen = end.saturating_sub(start + skipped);
                                        let [left, right] = tap.columns;
                                        let x = x.wrapping_add(skipped * step + left * lanes);
                                        let dy = dy.as_ptr().wrapping_add((skipped * width + left) * lanes);
                                        for (r, n) in split(channels, S::PIXELS) {
                                            // SAFETY: the plan's taps for these output rows lie within the packed
                                            // rows, and dy was packed for the same images and rows.
                                            unsafe {
                                                let tile = Outer {
                                                    x: x.wrapping_add(c / lanes * planes[0] + tap.x + r),
                                                    x_row: step,
                                                    x_image: sizes[0],
                                                    dy: dy.wrapping_add((panel - panels.start) * 2 * planes[1]),
                                                    dy_row: width * lanes,
                                                    dy_plane: planes[1],
                                                    dy_image: sizes[1],
                                                    size: [near_images.len(), seen, right.saturating_sub(left)],
                                                    dw: dw.add((at + r) * vectors * lanes),
                                                    accumulate,
                                                };
                                                tile.run::<T, S>(simd, vectors, n, gradient.pairs);
                                            }
                                        }
                                    }
                                    // SAFETY: the next block of the panel, or its end.
                                    dw = unsafe { dw.add(layout.taps * channels * vectors * lanes) };
                                }
                            }
                            accumulate = true;
                        }
                    }
                }
            }
        }
    }
}

/// The operands of a register tile: `dw[r][v] (+)= sum over pixels of x[pixel][r] * dy[v][pixel]`.
#[derive(Clone, Copy)]
struct Outer<T> {
    /// The first channel of the first pixel.
    x: *const T,
    x_row: usize,
    x_image: usize,
    /// The first pixel of the first vector.
    dy: *const T,
    dy_row: usize,
    dy_plane: usize,
    dy_image: usize,
    /// Images, rows, columns.
    size: [usize; 3],
    dw: *mut T,
    accumulate: bool,
}

/// `T` is the element whose pairs the words may be, else the number that they are.
struct SizedOuter<T: CpuElement, const PAIRS: bool, const NV: usize, const R: usize>(Outer<T::Accum>);

impl<T: CpuElement, const PAIRS: bool, const NV: usize, const R: usize> SimdKernel for SizedOuter<T, PAIRS, NV, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let o = self.0;
        let lanes = V::<T, S>::LANES;
        let mut acc = [[V::<T, S>::zero(simd); NV]; R];
        let [images, rows, columns] = o.size;
        // SAFETY: `Outer::run`'s caller promises the pixels of both operands and the R x NV vectors of dw.
        unsafe {
            for image in 0..images {
                for row in 0..rows {
                    let mut x = o.x.add(image * o.x_image + row * o.x_row);
                    let mut dy = o.dy.add(image * o.dy_image + row * o.dy_row);
                    for _ in 0..columns {
                        let d: [V<T, S>; NV] = std::array::from_fn(|v| V::<T, S>::load(simd, dy.add(v * o.dy_plane)));
                        for r in 0..R {
                            let value = V::<T, S>::splat(simd, *x.add(r));
                            for v in 0..NV {
                                acc[r][v] = if PAIRS {
                                    T::dot::<S>(value, d[v], acc[r][v])
                                } else {
                                    value.mul_add(d[v], acc[r][v])
                                };
                            }
                        }
                        x = x.add(lanes);
                        dy = dy.add(lanes);
                    }
                }
            }
            for r in 0..R {
                for v in 0..NV {
                    let to = o.dw.add((r * NV + v) * lanes);
                    let value = if o.accumulate { V::<T, S>::load(simd, to).add(acc[r][v]) } else { acc[r][v] };
                    value.store(to);
                }
            }
        }
    }
}

impl<R: CpuReal> Outer<R> {
    /// Computes `rows` channels x `vectors` vectors, of words that are numbers or pairs of `T`.
    ///
    /// # Safety
    /// All pixels of the operands can be read, `x` at `rows` channels; `dw` has `rows * vectors` vectors that nobody
    /// else uses.
    #[inline(always)]
    unsafe fn run<T: CpuElement<Number = R>, S: Simd>(self, simd: S, vectors: usize, rows: usize, pairs: bool) {
        macro_rules! go {
            ($($r:literal)*) => {
                match (pairs, vectors, rows) {
                    $(
                        (false, 2, $r) if const { $r <= S::PIXELS } => simd.outline(SizedOuter::<R, false, 2, $r>(self)),
                        (false, 1, $r) if const { $r <= S::PIXELS } => simd.outline(SizedOuter::<R, false, 1, $r>(self)),
                        (true, 2, $r) if const { T::PAIRS && S::DOTS && $r <= S::PIXELS } => {
                            simd.outline_dots(SizedOuter::<T, true, 2, $r>(self))
                        }
                        (true, 1, $r) if const { T::PAIRS && S::DOTS && $r <= S::PIXELS } => {
                            simd.outline_dots(SizedOuter::<T, true, 1, $r>(self))
                        }
                    )*
                    _ => unreachable!("a register tile of {rows} rows"),
                }
            };
        }
        go!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

/// Adds up one block of one panel over the chunks, into the weight's own order.
struct AddUp<'a, T> {
    layout: Panels,
    taps: &'a [Tap],
    partial: &'a [T],
    chunks: usize,
    panel: usize,
    block: usize,
    dw: Shared<T>,
}

impl<T: CpuReal> SimdKernel for AddUp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AddUp { layout, taps, partial, chunks, panel, block, dw } = self;
        let Panels { groups, taps: w_taps, read, write, .. } = layout;
        let lanes = V::<T, S>::LANES;
        let (group, panel) = (panel / layout.count(), panel % layout.count());
        let width = layout.vectors(panel) * lanes;
        let c0 = block * lanes;
        let channels = lanes.min(read - c0);
        let start = layout.start(group, panel) + c0 * w_taps * width;
        assert!(partial.len() >= chunks * layout.len());
        for tap in 0..w_taps {
            let seen = taps.iter().any(|t| t.w == tap); // else its gradient is 0
            for c in 0..channels {
                for v in (0..width).step_by(lanes) {
                    let k = panel * 2 * lanes + v;
                    let mut sum = V::<T, S>::zero(simd);
                    // SAFETY: a partial sum has the layout's length, and this is a vector of it; dw has
                    // [taps][read][groups * write] elements, of which this task alone writes these.
                    unsafe {
                        for chunk in 0..if seen { chunks } else { 0 } {
                            let at = chunk * layout.len() + start + (tap * channels + c) * width + v;
                            sum = sum.add(V::<T, S>::load(simd, partial.as_ptr().add(at)));
                        }
                        let to = dw.get().add((tap * read + c0 + c) * groups * write + group * write + k);
                        sum.store_head(to, lanes.min(write - k));
                    }
                }
            }
        }
    }
}
