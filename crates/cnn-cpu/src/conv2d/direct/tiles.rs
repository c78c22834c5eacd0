//! The outputs of a direct convolution by tiles: 32 pixels of 32 channels at a time.
//!
//! A row of a tile is 32 channels of a pixel, just as they are packed, and the next row is the next pixel to the right or,
//! where images are narrow, the same pixel of the next image that is packed into this one. So a tile holds no padding, and
//! every tap of it lies at a constant offset. The second tile of rows continues the first, or is the row of outputs below.

use std::ops::Range;

use super::super::plan::Class;
use super::Direct;
use super::outputs::Outputs;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::kernel::block::split;
use crate::kernel::epilogue::Finish;
use crate::simd::tiles::{Loaded, Product, ROW, ROWS, Tiles, WORD};
use crate::simd::{Simd, Vector};

/// What a task keeps while it multiplies tiles.
pub(super) struct ByTiles<T: CpuElement, S: Simd> {
    loaded: Loaded,
    /// The sums of a product: four tiles.
    sums: [V<T, S>; 4 * ROWS],
    /// Where the tiles of some blocks of channels and taps are.
    steps: [[usize; 2]; STEPS],
}

/// Steps of a product, more than most convolutions have.
const STEPS: usize = 320;

impl<T: CpuElement, S: Simd> ByTiles<T, S> {
    #[inline(always)]
    pub(super) fn new(simd: S, tiles: Tiles) -> Self {
        assert!(size_of::<V<T, S>>() == ROW && size_of::<T::Accum>() == WORD, "tiles come with vectors of 16 f32");
        ByTiles { loaded: tiles.begin(), sums: [V::<T, S>::zero(simd); 4 * ROWS], steps: [[0; 2]; STEPS] }
    }

    /// Computes the outputs.
    ///
    /// # Safety
    /// As `Outputs::run`, and the panels are made for tiles.
    #[inline(always)]
    pub(super) unsafe fn run(&mut self, simd: S, outputs: &Outputs<'_, T>) {
        let Outputs { direct, together, x_plane, group, panel, taps, classes: [_, columns], .. } = *outputs;
        if outputs.rows.is_empty() || columns.count == 0 {
            return; // a class with fewer rows than another
        }
        let layout = direct.panels;
        let vectors = layout.vectors(panel);
        let (w, w_row) = (direct.weights[layout.start(group, panel)..].as_ptr(), vectors * ROW);
        let blocks = layout.words() / ROWS;
        let step = |block: usize, tap: &Tap| {
            [(block * x_plane + tap.x * together) * WORD, (block * layout.taps + tap.w) * ROWS * w_row]
        };
        let count = blocks * taps.len();
        let portions = count.div_ceil(STEPS).max(1);
        let fill = |steps: &mut [[usize; 2]; STEPS], portion: usize| {
            let from = portion * STEPS;
            for i in from..count.min(from + STEPS) {
                steps[i - from] = step(i / taps.len(), &taps[i % taps.len()]);
            }
            count.min(from + STEPS) - from
        };
        let mut filled = fill(&mut self.steps, 0);
        let pixel = together * ROWS; // words to the pixel to the right
        let below = direct.plan.rows.step * direct.plan.columns.source.len() * pixel; // and to that of the next outputs
        let line = columns.count * together;
        let narrow = line <= ROWS;
        for (i, first) in outputs.images.clone().step_by(together).enumerate() {
            let images = first..outputs.images.end.min(first + together);
            for (r, high) in split(outputs.rows.len(), if narrow { 2 } else { 1 }) {
                for (p, long) in split(line, if narrow { ROWS } else { 2 * ROWS }) {
                    let (rows, second) = match narrow {
                        true => ([long, long * (high - 1)], below),
                        false => ([long.div_ceil(2), long / 2], long.div_ceil(2) * ROWS),
                    };
                    self.loaded.shape(rows, vectors);
                    let x = outputs.x.wrapping_add(i * outputs.x_image + r * below + p * ROWS);
                    for portion in 0..portions {
                        if portions > 1 {
                            filled = fill(&mut self.steps, portion);
                        }
                        let product = Product {
                            a: x.cast(),
                            a_row: ROW,
                            a_second: second * WORD,
                            b: w.cast(),
                            b_row: w_row,
                            steps: &self.steps[..filled],
                            sums: self.sums.as_mut_ptr().cast(),
                            add: portion > 0,
                        };
                        // SAFETY: by the caller's promise x holds these pixels of these images and every tap of them, and
                        // a panel that is made for tiles has whole blocks of all taps; there are sums of four tiles.
                        unsafe { self.loaded.run(product) };
                    }
                    for (part, rows) in rows.into_iter().enumerate() {
                        let (row, p) = if narrow { (r + part, p) } else { (r, p + part * long.div_ceil(2)) };
                        let finished = Finished {
                            direct,
                            classes: outputs.classes,
                            row: outputs.rows.start + row,
                            line: p..p + rows,
                            images: images.clone(),
                            together,
                            first: group * layout.write + panel * 2 * ROWS,
                            channels: (layout.write - panel * 2 * ROWS).min(vectors * ROWS),
                            y: outputs.y,
                        };
                        // SAFETY: the caller's promise.
                        unsafe { finished.store(simd, &self.sums[part * 2 * ROWS..][..2 * ROWS]) };
                    }
                }
            }
        }
    }
}

/// The rows of a tile of sums and of the one beside it, as outputs.
struct Finished<'a, T: CpuElement> {
    direct: &'a Direct<'a, T>,
    classes: [&'a Class; 2],
    /// Of the class of rows.
    row: usize,
    /// Outputs of the class of columns, `together` images of each.
    line: Range<usize>,
    /// Those that exist.
    images: Range<usize>,
    together: usize,
    /// The first channel and how many there are.
    first: usize,
    channels: usize,
    y: *mut T,
}

impl<T: CpuElement> Finished<'_, T> {
    /// Finishes and stores `sums`, a vector for each row of the first tile and of the second.
    ///
    /// # Safety
    /// Nobody else uses these pixels and channels of `y`.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, simd: S, sums: &[V<T, S>]) {
        let Finished { direct, classes: [rows, columns], row, line, images, together, first, channels, y } = self;
        let width = direct.panels.groups * direct.panels.write;
        let oy = rows.first + row * rows.stride;
        let (mut column, mut image) = (line.start / together, line.start % together);
        for row in 0..line.len() {
            if image < images.len() {
                let ox = columns.first + column * columns.stride;
                let pixel = ((images.start + image) * direct.to[0] + oy) * direct.to[1] + ox;
                for v in 0..channels.div_ceil(ROWS) {
                    let (channel, n) = (first + v * ROWS, ROWS.min(channels - v * ROWS));
                    let at = pixel * width + channel;
                    // SAFETY: these channels of this pixel are the caller's to write; the epilogue has them.
                    unsafe {
                        let y = y.add(at);
                        let finish = match direct.accumulate {
                            true => Finish::accumulate(y),
                            false => direct.epilogue.at(at, channel),
                        };
                        T::store_head::<S>(finish.of(simd, sums[v * ROWS + row], 0, n), y, n);
                    }
                }
            }
            image += 1;
            if image == together {
                (column, image) = (column + 1, 0);
            }
        }
    }
}
