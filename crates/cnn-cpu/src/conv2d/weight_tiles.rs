//! The gradient of the weight by tiles.
//!
//! ```text
//! dw[tap][c][k] = sum over images and output pixels of dy[pixel][k] * x[pixel + tap][c]
//! ```
//!
//! A tile sums over 32 images at one pixel: a row of `dy`'s is a channel k of all of them, a row of `x`'s is two of them and
//! 16 channels c. So a tap is nothing but another place in the packed x, at the image's edge as elsewhere.
//!
//! ```text
//! for each task (a chunk of units: 32 images and some rows; some panels of K):
//!     for each unit: pack x and dy
//!         for each panel of K, some pixels that fit the first-level cache, block of C, tap: a product of tiles
//! add up the chunks in their order
//! ```
//!
//! Which units a chunk has depends on the shape alone, so the sum is the same for any number of threads.

use std::ops::Range;

use cnn_core::Result;

use super::plan::ZERO;
use super::plans::Plan;
use super::reader::{Read, Reader};
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::machine::{FEW, L2};
use crate::simd::tiles::{Product, ROW, ROWS, Tiles, WORD};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// The gradient of the weight of a convolution of one group.
pub(super) struct WeightGradientByTiles<'a, T: CpuElement> {
    pub(super) tiles: Tiles,
    pub(super) x: Reader<'a, T>,
    pub(super) dy: Reader<'a, T>,
    pub(super) batch: usize,
    /// H, W of x and of dy.
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) plan: &'a Plan,
    /// Of the kernel.
    pub(super) taps: usize,
    /// Channels of x and of dy.
    pub(super) read: usize,
    pub(super) write: usize,
}

/// How the work is cut: by the shape alone.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Rows of a unit, and units of an image.
    rows: usize,
    bands: usize,
    /// Units of a chunk, and chunks.
    chunk: usize,
    chunks: usize,
    /// Panels of K of a task.
    panels: usize,
}

/// Images that are worth a tile, which is multiplied whole.
pub(super) const LEAST: usize = 8;
/// Images of a tile: two in each word of a row.
const IMAGES: usize = 2 * ROWS;
/// Channels of a panel of K and of a block of C: two tiles.
const CHANNELS: usize = 2 * ROWS;
/// Words of a tile.
const TILE: usize = ROWS * ROWS;
/// Words of all partial sums together, roughly.
const PARTIAL: usize = 4 << 20;
/// Bytes of packed operands: processors with tiles have a second-level cache of twice the size that others are taken to have.
const PACKED: usize = L2 * 3 / 2;
/// Panels of K that a task has at least: x is packed for each task.
const PANELS: usize = 2;
/// Pixels of a product, whose dy fits the first-level cache beside what streams by.
const PIXELS: usize = 16;

impl<T: CpuElement> WeightGradientByTiles<'_, T> {
    fn panels(&self) -> usize {
        self.write.div_ceil(CHANNELS)
    }

    fn blocks(&self) -> usize {
        self.read.div_ceil(CHANNELS)
    }

    /// Words of a partial sum: for each panel, block and tap four tiles.
    fn sums(&self) -> usize {
        self.panels() * self.blocks() * self.plan.taps[0].len() * 4 * TILE
    }

    /// Words of x over so many scratch rows, and of some panels of dy over so many output rows.
    fn room(&self, positions: usize, rows: usize, panels: usize) -> [usize; 2] {
        let pixels = [positions * self.plan.columns.source.len() * self.blocks(), rows * self.to[1] * panels];
        pixels.map(|pixels| pixels * 2 * TILE)
    }

    fn cut(&self) -> Cut {
        let (height, groups) = (self.to[0], self.batch.div_ceil(IMAGES));
        let bytes = |rows: usize| {
            let reach = self.plan.rows.reach(0..rows).len();
            self.room(reach, rows, self.panels()).iter().sum::<usize>() * WORD
        };
        let rows = (1..=height).rev().find(|&rows| bytes(rows) <= PACKED).unwrap_or(1);
        let bands = height.div_ceil(rows);
        let rows = height.div_ceil(bands); // even pieces
        let bands = height.div_ceil(rows);
        let units = groups * bands;
        let chunks = (PARTIAL / self.sums().max(1)).clamp(1, FEW).min(units);
        let chunk = units.div_ceil(chunks);
        let chunks = units.div_ceil(chunk);
        let panels = self.panels().div_ceil(FEW.div_ceil(chunks)).max(PANELS).min(self.panels());
        Cut { rows, bands, chunk, chunks, panels }
    }

    /// Writes `dw` \[KH, KW, C, K\].
    pub(super) fn run(&self, cpu: &Cpu<T>, dw: &mut [T::Accum]) -> Result<()> {
        assert_eq!(dw.len(), self.taps * self.read * self.write);
        let cut = self.cut();
        let sets = self.panels().div_ceil(cut.panels);
        let mut partial = cpu.scratch::<T::Accum>(cut.chunks * self.sums())?;
        let out = Shared::new(&mut partial);
        let reach = self.plan.rows.reach(0..cut.rows).len();
        let rooms = cpu.rooms(cut.chunks * sets, self.room(reach, cut.rows, cut.panels))?;
        cpu.for_each(cut.chunks * sets, |task| {
            let (chunk, set) = (task / sets, task % sets);
            let [x, dy] = &mut *rooms.take();
            let units = self.batch.div_ceil(IMAGES) * cut.bands;
            cpu.run(Task {
                gradient: self,
                cut,
                units: chunk * cut.chunk..((chunk + 1) * cut.chunk).min(units),
                panels: set * cut.panels..((set + 1) * cut.panels).min(self.panels()),
                x,
                dy,
                // SAFETY: every task has a chunk of its own, or panels of its own in it.
                partial: unsafe { out.get().add(chunk * self.sums()) },
            });
        });
        let (partial, dw): (&[T::Accum], _) = (&partial, Shared::new(dw));
        cpu.for_each(self.panels() * self.blocks(), |at| {
            let [panel, block] = [at / self.blocks(), at % self.blocks()];
            cpu.run(AddUp { gradient: self, partial, chunks: cut.chunks, panel, block, dw });
        });
        Ok(())
    }
}

struct Task<'a, T: CpuElement> {
    gradient: &'a WeightGradientByTiles<'a, T>,
    cut: Cut,
    units: Range<usize>,
    panels: Range<usize>,
    x: &'a mut [T::Accum],
    dy: &'a mut [T::Accum],
    partial: *mut T::Accum,
}

impl<T: CpuElement> SimdKernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { gradient, cut, units, panels, x, dy, partial } = self;
        let WeightGradientByTiles { plan, batch, from, to: [height, width], read, write, .. } = *gradient;
        assert!(size_of::<V<T, S>>() == ROW && size_of::<T::Accum>() == WORD, "tiles come with vectors of 16 f32");
        let (list, columns): (&[Tap], &[u32]) = (&plan.taps[0], &plan.columns.source);
        let mut loaded = gradient.tiles.begin();
        let mut steps = [[0; 2]; PIXELS];
        for unit in units.clone() {
            let images = unit / cut.bands * IMAGES..batch.min((unit / cut.bands + 1) * IMAGES);
            let rows = unit % cut.bands * cut.rows..height.min((unit % cut.bands + 1) * cut.rows);
            let positions = plan.rows.reach(rows.clone());
            let pixels = [positions.len() * columns.len(), rows.len() * width];
            let strip = |rows, columns, size, pitch, channels| Strip {
                images: images.clone(),
                rows,
                columns,
                size,
                pitch,
                channels,
            };
            let of_x = strip(&plan.rows.source[positions], columns, from, read, 0..read);
            of_x.pack(
                simd,
                &gradient.x,
                Side { pixel: 2 * TILE, row: 2 * ROWS, beside: ROWS, plane: pixels[0] * 2 * TILE },
                x,
            );
            let channels = panels.start * CHANNELS..write.min(panels.end * CHANNELS);
            let of_dy = strip(&plan.order[rows.clone()], &plan.order[..width], gradient.to, write, channels.clone());
            let plane = pixels[1] * TILE;
            of_dy.pack(simd, &gradient.dy, Side { pixel: TILE, row: ROWS, beside: plane, plane: 2 * plane }, dy);
            let tiles = channels.len().div_ceil(ROWS);
            simd.outline(TransposeTiles::<T>(&mut dy[..tiles * plane]));
            for panel in panels.clone() {
                let dy = dy[(panel - panels.start) * 2 * plane..].as_ptr();
                let side = (write - panel * CHANNELS).div_ceil(ROWS).min(2);
                for first in (0..pixels[1]).step_by(PIXELS) {
                    let count = PIXELS.min(pixels[1] - first);
                    for (i, step) in steps[..count].iter_mut().enumerate() {
                        let (row, column) = ((first + i) / width, (first + i) % width);
                        let at = row * plan.rows.step * columns.len() + column;
                        *step = [(first + i) * TILE * WORD, at * 2 * TILE * WORD];
                    }
                    for block in 0..gradient.blocks() {
                        loaded.shape([ROWS, (side - 1) * ROWS], (read - block * CHANNELS).div_ceil(ROWS).min(2));
                        let x = x[block * pixels[0] * 2 * TILE..].as_ptr();
                        for (t, tap) in list.iter().enumerate() {
                            // SAFETY: dy is packed for these pixels and x for the plan's taps of them, each with two tiles
                            // or as many as are loaded; the sums are those of this task's own panel in its own chunk.
                            unsafe {
                                let sums =
                                    partial.add(((panel * gradient.blocks() + block) * list.len() + t) * 4 * TILE);
                                loaded.run(Product {
                                    a: dy.cast(),
                                    a_row: ROW,
                                    a_second: plane * WORD,
                                    b: x.add(tap.x / ROWS * 2 * TILE).cast(),
                                    b_row: 2 * ROW,
                                    steps: &steps[..count],
                                    sums: sums.cast(),
                                    add: first > 0 || unit > units.start,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Some rows of some images, of which every two become one of words.
struct Strip<'a> {
    images: Range<usize>,
    /// The source row and column of each scratch row and column, or [`ZERO`].
    rows: &'a [u32],
    columns: &'a [u32],
    /// H, W of the source.
    size: [usize; 2],
    /// Channels of the source, and which of them are read.
    pitch: usize,
    channels: Range<usize>,
}

/// Where the words of 16 channels of two images go: words from a pixel to the next, from two images to the next two, from 16
/// channels to the next 16, and from 32 channels to the next 32.
#[derive(Clone, Copy)]
struct Side {
    pixel: usize,
    row: usize,
    beside: usize,
    plane: usize,
}

impl Strip<'_> {
    #[inline(always)]
    fn pack<T: CpuElement, S: Simd>(&self, simd: S, reader: &Reader<'_, T>, side: Side, to: &mut [T::Accum]) {
        let inside = |list: &[u32], size: usize| list.iter().all(|&at| at == ZERO || (at as usize) < size);
        assert!(
            inside(self.rows, self.size[0]) && inside(self.columns, self.size[1]) && self.channels.end <= self.pitch
        );
        let (pixels, tiles) = (self.rows.len() * self.columns.len(), self.channels.len().div_ceil(ROWS));
        if pixels * tiles == 0 {
            return;
        }
        let last = (tiles - 1) / 2 * side.plane + (tiles - 1) % 2 * side.beside;
        assert!(to.len() >= last + (pixels - 1) * side.pixel + ROWS * side.row - side.row + ROWS);
        match *reader {
            Reader::Stored(source) => simd.outline_dots(PackWords { source, strip: self, side, to }),
            Reader::Norm(source) => simd.outline_dots(PackWords { source, strip: self, side, to }),
            Reader::Gradient(source) => simd.outline_dots(PackWords { source, strip: self, side, to }),
        }
    }
}

struct PackWords<'a, T: CpuElement, R> {
    source: R,
    strip: &'a Strip<'a>,
    side: Side,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement, R: Read<T>> SimdKernel for PackWords<'_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PackWords { source, strip, side, to } = self;
        let Strip { ref images, rows, columns, size: [height, width], pitch, ref channels } = *strip;
        let zero = V::<T, S>::zero(simd);
        for pair in 0..ROWS {
            let image = images.start + 2 * pair;
            for (r, &row) in rows.iter().enumerate() {
                for (t, c) in channels.clone().step_by(ROWS).enumerate() {
                    let n = ROWS.min(channels.end - c);
                    let at =
                        t / 2 * side.plane + t % 2 * side.beside + pair * side.row + r * columns.len() * side.pixel;
                    let mut to = to[at..].as_mut_ptr();
                    // SAFETY: `Strip::pack` has checked that every source row, column and channel exists and that there is
                    // room for the words of every pixel; only images that exist are read. It runs this where the
                    // instruction set has those for pairs.
                    unsafe {
                        let with = source.coefficients(simd, c, n);
                        for &column in columns {
                            let mut word = zero;
                            if row != ZERO && column != ZERO && image < images.end {
                                let pixel = (image * height + row as usize) * width + column as usize;
                                let first = source.read(simd, &with, pixel * pitch + c, n);
                                let other = match image + 1 < images.end {
                                    true => source.read(simd, &with, (pixel + height * width) * pitch + c, n),
                                    false => zero,
                                };
                                word = T::zip::<S>(first, other);
                            }
                            word.store(to);
                            to = to.wrapping_add(side.pixel);
                        }
                    }
                }
            }
        }
    }
}

/// Exchanges rows and columns of each tile.
struct TransposeTiles<'a, T: CpuElement>(&'a mut [T::Accum]);

impl<T: CpuElement> SimdKernel for TransposeTiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for tile in self.0.chunks_exact_mut(TILE) {
            let rows: [V<T, S>; ROWS] = std::array::from_fn(|i| V::<T, S>::read(simd, &tile[i * ROWS..]));
            for (row, to) in T::transpose::<S, ROWS>(simd, rows).into_iter().zip(tile.chunks_exact_mut(ROWS)) {
                row.write(to);
            }
        }
    }
}

/// Adds up one block of one panel over the chunks, into the weight's own order.
struct AddUp<'a, T: CpuElement> {
    gradient: &'a WeightGradientByTiles<'a, T>,
    partial: &'a [T::Accum],
    chunks: usize,
    panel: usize,
    block: usize,
    dw: Shared<T::Accum>,
}

impl<T: CpuElement> SimdKernel for AddUp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AddUp { gradient, partial, chunks, panel, block, dw } = self;
        let WeightGradientByTiles { taps, read, write, .. } = *gradient;
        let list: &[Tap] = &gradient.plan.taps[0];
        for tap in 0..taps {
            let seen = list.iter().position(|t| t.w == tap); // else its gradient is 0
            for (k, c) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (k0, c0) = (panel * CHANNELS + k * ROWS, block * CHANNELS + c * ROWS);
                if k0 >= write || c0 >= read {
                    continue;
                }
                let mut sums = [V::<T, S>::zero(simd); ROWS];
                for chunk in 0..if seen.is_some() { chunks } else { 0 } {
                    let at = ((panel * gradient.blocks() + block) * list.len() + seen.unwrap_or(0)) * 4 + 2 * k + c;
                    let tile = &partial[chunk * gradient.sums() + at * TILE..][..TILE];
                    for (sum, row) in sums.iter_mut().zip(tile.chunks_exact(ROWS)) {
                        *sum = sum.add(V::<T, S>::read(simd, row));
                    }
                }
                let sums = T::transpose::<S, ROWS>(simd, sums);
                for (c, sum) in sums.into_iter().enumerate().take(read - c0) {
                    // SAFETY: dw has [taps][read][write] numbers, of which this task alone writes these.
                    unsafe { sum.store_head(dw.get().add((tap * read + c0 + c) * write + k0), ROWS.min(write - k0)) };
                }
            }
        }
    }
}
