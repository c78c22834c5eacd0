//! Direct convolution: the forward pass and the gradient of the input.
//!
//! ```text
//! for each task (some images, or some rows of one image; all panels of channels, or some):
//!     pack the images
//!     for each panel, class of outputs, image, register block: the micro-kernel
//!     take the moments of what was written
//! ```
//!
//! Where there are fewer images than tasks, every task would pack rows or channels that others pack too; then the images
//! are packed before, once. Tasks are in the order of the images' memory, as what comes before and after has its own: a thread
//! reads and writes what lies in its caches. Where a weight is larger than an image, those of the same panels follow each other.
//!
//! The gradient of the input is the same loop over other operands: it reads the output's gradient, its weights are
//! packed with the roles of the channels exchanged, and its plan has one class of outputs for each remainder of the
//! stride.

mod outputs;
mod task;
mod tiles;

use cnn_core::Result;
use cnn_core::backend::{Activation, Moments};

use super::pack::{Strip, pack};
use super::panels::Panels;
use super::plans::Plan;
use super::reader::Reader;
use crate::device::Cpu;
use crate::element::CpuElement;
use crate::kernel::epilogue::Epilogue;
use crate::kernel::moments::combine;
use crate::machine::{FEW, L2, few_tasks};
use crate::scratch::Scratch;
use crate::simd::tiles::{ROWS, Tiles};
use crate::simd::{Simd, SimdKernel};
use crate::threads::Shared;
use outputs::SUMS;
use task::{Packed, Task};

/// A direct convolution, in either direction.
pub(super) struct Direct<'a, T: CpuElement> {
    pub(super) reader: Reader<'a, T>,
    /// N, and H, W of what is read and of what is written.
    pub(super) batch: usize,
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) plan: &'a Plan,
    pub(super) panels: Panels,
    pub(super) weights: &'a [T::Accum],
    pub(super) epilogue: Epilogue<'a, T>,
    /// What follows the epilogue; of a forward pass without moments.
    pub(super) late: Option<Activation>,
    /// Add to what is there, in place of the epilogue.
    pub(super) accumulate: bool,
    /// What multiplies, if the panels are made for it.
    pub(super) tiles: Option<Tiles>,
}

/// How the work is cut into tasks: by the shape alone.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tile {
    /// Images of a task.
    images: usize,
    /// Images that are packed into each other.
    together: usize,
    /// Outputs of each class of rows.
    rows: usize,
    /// Panels, over all groups.
    panels: usize,
    /// Whether the images are packed before, for all tasks.
    shared: bool,
    /// Whether tasks of the same panels follow each other, and not those of the same rows.
    by_panels: bool,
}

/// Bytes of packed images that leave room in the second-level cache for a panel of weights and what is written.
const PACKED: usize = L2 * 5 / 16;
/// Pixels that make the reading of a panel of weights worthwhile.
const PIXELS: usize = 128;
/// Bytes of packed images that may be packed before: all threads read them.
const SHARED: usize = 2 * L2;
/// Pixels that fill a register block.
const BLOCK: usize = 14;

impl<T: CpuElement> Direct<'_, T> {
    /// Scratch elements of one block of channels of `rows` scratch rows of so many images together. One vector more than
    /// needed keeps the blocks from falling on the same cache sets.
    fn plane(&self, rows: usize, together: usize) -> usize {
        (rows * self.plan.columns.source.len() * together + 1) * self.panels.lanes
    }

    /// Scratch elements of so many images of `rows` scratch rows, `together` at a time.
    fn room(&self, images: usize, rows: usize, together: usize) -> usize {
        images.div_ceil(together) * self.blocks() * self.plane(rows, together)
    }

    fn blocks(&self) -> usize {
        self.panels.words().div_ceil(self.panels.lanes)
    }

    /// Whether no two rows of outputs read the same row, so that cutting them costs nothing.
    fn rows_apart(&self) -> bool {
        let axis = &self.plan.rows;
        let one = axis.classes.iter().all(|class| class.taps.iter().all(|&(_, at)| at == 0));
        one && axis.step == 1 && self.plan.fold.is_none() && self.tiles.is_none()
    }

    fn tile(&self) -> Tile {
        let (rows, panels) = (self.plan.rows.count(), self.panels.groups * self.panels.count());
        let (pixels, columns) = (self.to[0] * self.to[1], self.plan.columns.count().max(1));
        let image = self.room(1, self.plan.rows.source.len(), 1) * size_of::<T::Accum>();
        let weight = self.panels.len() * size_of::<T::Accum>();
        let by_panels = weight > image;
        let by_rows = self.rows_apart() && !by_panels;
        let rows_at_a_time = rows.div_ceil(image.div_ceil(PACKED)).max(1);
        let mut tile = Tile { images: 1, together: 1, rows: rows_at_a_time, panels, shared: false, by_panels };
        if tile.rows == rows {
            tile.images = (PIXELS / pixels.max(1)).min(PACKED / image.max(1)).clamp(1, self.batch.max(1));
        }
        // Small problems are cut further: fewer images, then fewer rows, then fewer panels.
        let work = self.batch * pixels * self.panels.taps * self.panels.read * self.panels.write * self.panels.groups;
        let wanted = few_tasks(work);
        tile.images = tile.images.min((self.batch / wanted).max(1));
        let all = self.batch * self.panels.groups * image;
        if self.batch < wanted && self.plan.fold.is_none() && all <= SHARED && !by_rows {
            // Tasks of the same rows read the same image, tasks of the same panels the same weight: the larger is cut.
            if by_panels {
                tile.images = (SUMS / pixels.max(1)).clamp(1, self.batch.max(1));
            }
            let cut = wanted.div_ceil(self.batch.div_ceil(tile.images).max(1));
            let least_sets = if by_panels { cut.min(panels) } else { 1 };
            tile.rows = rows.div_ceil(cut.div_ceil(least_sets)).max(2).min(rows);
            let sets = cut.div_ceil(rows.div_ceil(tile.rows)).max(least_sets);
            tile.panels = panels.div_ceil(sets);
            return Tile { shared: true, ..tile };
        }
        let lack = |tile: Tile| wanted.div_ceil(self.batch.div_ceil(tile.images).max(1) * rows.div_ceil(tile.rows));
        let least = if by_rows { BLOCK.div_ceil(columns) } else { 2 };
        tile.rows = tile.rows.div_ceil(lack(tile)).max(least).min(tile.rows);
        // Every set packs the rows again, for which half as many tasks do.
        tile.panels = panels.div_ceil(if by_rows { (lack(tile) / 2).max(1) } else { lack(tile) });
        let reads = !self.plan.rows.source.is_empty() && !self.plan.columns.source.is_empty();
        if self.tiles.is_some() && reads {
            // Narrow images fill a tile's rows together.
            tile.together = (ROWS / columns).clamp(1, tile.images);
        }
        tile
    }

    /// All rows and groups of all images, packed: by the threads that will read them, as far as tasks are cut by rows.
    fn pack_all(&self, cpu: &Cpu<T>) -> Result<Scratch<T::Accum>> {
        let (panels, rows) = (self.panels, self.plan.rows.reach(0..self.plan.rows.count()));
        let (blocks, plane, row) =
            (self.blocks(), self.plane(rows.len(), 1), self.plan.columns.source.len() * panels.lanes);
        let channels = if panels.pairs { 2 * panels.lanes } else { panels.lanes }; // of a block
        let (images, each) = (panels.groups * blocks * plane, rows.len().div_ceil(FEW).max(1));
        let parts = rows.len().div_ceil(each);
        let mut store = cpu.scratch::<T::Accum>(self.batch * images)?;
        let to = Shared::new(&mut store);
        cpu.for_each(self.batch * parts, |i| {
            let (image, first) = (i / parts, i % parts * each);
            let part = first..(first + each).min(rows.len());
            for (group, block) in (0..panels.groups).flat_map(|group| (0..blocks).map(move |block| (group, block))) {
                let at = image * images + (group * blocks + block) * plane + part.start * row;
                // SAFETY: these rows of this block are inside the store, and no other task has them.
                let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at), part.len() * row) };
                let strip = Strip {
                    rows: &self.plan.rows.source[rows.clone()][part.clone()],
                    columns: &self.plan.columns.source,
                    image,
                    size: self.from,
                    pitch: panels.groups * panels.read,
                    first: group * panels.read + block * channels,
                    channels: channels.min(panels.read - block * channels),
                    apart: panels.lanes,
                    plane,
                    word: panels.word(),
                };
                cpu.run(PackBlock { reader: &self.reader, strip, to });
            }
        });
        Ok(store)
    }

    /// Writes `y` \[N, H, W, channels\], and on request takes its moments.
    pub(super) fn run(&self, cpu: &Cpu<T>, y: &mut [T], moments: bool) -> Result<Option<Moments<Cpu<T>>>> {
        let panels = self.panels;
        let channels = panels.groups * panels.write;
        assert_eq!(y.len(), self.batch * self.to[0] * self.to[1] * channels);
        assert_eq!(self.weights.len(), panels.len());
        assert_eq!(self.tiles.is_some(), panels.tiles, "panels are made for tiles where they are multiplied");
        assert!(self.epilogue.fits(y.len(), channels));
        let tile = self.tile();
        let strips = self.plan.rows.count().div_ceil(tile.rows);
        let all_panels = panels.groups * panels.count();
        let sets = all_panels.div_ceil(tile.panels);
        let pieces = if moments { self.batch * strips * 2 * channels } else { 0 };
        let mut pieces = cpu.scratch::<T::Accum>(pieces)?;
        let (y, out) = (Shared::new(y), moments.then(|| Shared::new(&mut pieces)));
        let store = if tile.shared { Some(self.pack_all(cpu)?) } else { None };
        // Room for as much as is ever packed at a time: no strip reaches over more rows than the first.
        let work = self.plan.fold.map_or(0, |fold| fold.work(self.plan.columns.count(), panels.read, panels.lanes));
        let reach = self.plan.rows.reach(0..tile.rows).len();
        let room = if tile.shared { 0 } else { self.room(tile.images, reach, tile.together) + work };
        let groups = self.batch.div_ceil(tile.images);
        let tasks = groups * strips * sets;
        let rooms = cpu.rooms(tasks, [room])?;
        cpu.for_each(tasks, |task| {
            let (strip, group, set) = match tile.by_panels {
                true => (task % strips, task / strips % groups, task / (strips * groups)),
                false => (task / sets % strips, task / sets / strips, task % sets),
            };
            let images = group * tile.images..((group + 1) * tile.images).min(self.batch);
            let rows = strip * tile.rows..((strip + 1) * tile.rows).min(self.plan.rows.count());
            let [scratch] = &mut *rooms.take();
            cpu.run(Task {
                direct: self,
                images,
                together: tile.together,
                rows,
                strip: (strip, strips),
                panels: set * tile.panels..((set + 1) * tile.panels).min(all_panels),
                packed: match &store {
                    Some(store) => Packed::Before(store),
                    None => Packed::ByTask(scratch),
                },
                y,
                pieces: out,
            });
        });
        let rows = |strip: usize| tile.rows.min(self.to[0] - strip * tile.rows);
        let pixels = |piece: usize| rows(piece % strips) * self.to[1];
        moments.then(|| combine(cpu, &pieces, channels, pixels)).transpose()
    }
}

struct PackBlock<'a, T: CpuElement> {
    reader: &'a Reader<'a, T>,
    strip: Strip<'a>,
    to: &'a mut [T::Accum],
}

impl<T: CpuElement> SimdKernel for PackBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        pack(simd, self.reader, self.strip, None, self.to);
    }
}
