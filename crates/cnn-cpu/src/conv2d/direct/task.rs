//! One task of a direct convolution: some rows of some images, for some panels of channels.

use std::ops::Range;

use super::super::pack::{Strip, pack};
use super::super::plan::Class;
use super::Direct;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::kernel::block::{AHEAD, Block, shape, split};
use crate::kernel::epilogue::Finish;
use crate::kernel::moments::Piece;
use crate::machine::L1;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// Pixels whose sums fit the first-level cache beside a portion of a panel.
pub(super) const SUMS: usize = 64;
/// Bytes of a panel that stay in the first-level cache while the register blocks of a few pixels read them.
const PORTION: usize = L1 * 3 / 8;

/// Where a task's packed images are.
pub(super) enum Packed<'a, R> {
    /// In its own working memory once it has packed them: its rows, one group at a time.
    ByTask(&'a mut [R]),
    /// With all rows and groups of all images.
    Before(&'a [R]),
}

pub(super) struct Task<'a, T: CpuElement> {
    pub(super) direct: &'a Direct<'a, T>,
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Which strip of rows of an image this is, and how many there are.
    pub(super) strip: (usize, usize),
    pub(super) panels: Range<usize>,
    pub(super) packed: Packed<'a, T::Accum>,
    pub(super) y: Shared<T>,
    pub(super) pieces: Option<Shared<T::Accum>>,
}

impl<T: CpuElement> SimdKernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { direct, images, rows, strip, panels, mut packed, y, pieces } = self;
        let (plan, layout, lanes) = (direct.plan, direct.panels, V::<T, S>::LANES);
        let channels = layout.groups * layout.write;
        let positions = plan.rows.reach(rows.clone());
        let width = plan.columns.source.len();
        // Rows that were packed, and which of them is this task's first.
        let (packed_rows, skipped) = match &packed {
            Packed::ByTask(_) => (positions.len(), 0),
            Packed::Before(_) => {
                let all = plan.rows.reach(0..plan.rows.count());
                (all.len(), positions.start.saturating_sub(all.start))
            }
        };
        let plane = direct.plane(packed_rows);
        let image_size = direct.blocks() * plane;
        let mut sums = [V::<T, S>::zero(simd); 2 * SUMS];
        let mut current = usize::MAX; // the group whose channels this task has packed
        for panel in panels.clone() {
            let (group, panel) = (panel / layout.count(), panel % layout.count());
            if let (Packed::ByTask(scratch), true) = (&mut packed, group != current) {
                current = group;
                for (i, image) in images.clone().enumerate() {
                    let (parts, kernel) = (layout.groups, plan.fold.map_or(1, |fold| fold.kernel));
                    let channels = layout.read / kernel;
                    let strip = Strip {
                        rows: &plan.rows.source[positions.clone()],
                        columns: &plan.columns.source,
                        image,
                        size: direct.from,
                        pitch: parts * channels,
                        first: group * channels,
                        channels,
                        plane,
                        word: layout.word(),
                    };
                    pack(simd, &direct.reader, strip, plan.fold, &mut scratch[i * image_size..]);
                }
            }
            // The first image, and elements from one to the next.
            let (x, x_image) = match &packed {
                Packed::ByTask(scratch) => (&scratch[..], image_size),
                Packed::Before(all) => {
                    let first = (images.start * layout.groups + group) * image_size + skipped * width * lanes;
                    (&all[first..], layout.groups * image_size)
                }
            };
            for (row_class, lists) in plan.rows.classes.iter().zip(plan.taps.chunks(plan.columns.classes.len())) {
                for (column_class, taps) in plan.columns.classes.iter().zip(lists) {
                    if taps.is_empty() && direct.accumulate {
                        continue; // nothing to add
                    }
                    let outputs = Outputs {
                        direct,
                        images: images.clone(),
                        x: x.as_ptr(),
                        x_image,
                        x_plane: plane,
                        group,
                        panel,
                        taps,
                        classes: [row_class, column_class],
                        rows: rows.start.min(row_class.count)..rows.end.min(row_class.count),
                        y: y.get(),
                    };
                    // SAFETY: x and its images are packed for these rows; the classes of the plan cover each output once,
                    // and no other task has these images, rows and panels.
                    unsafe { outputs.run(simd, &mut sums) }
                }
            }
        }
        let Some(pieces) = pieces else { return };
        let channel = |panel: usize| panel / layout.count() * layout.write + panel % layout.count() * 2 * lanes;
        let first = channel(panels.start);
        let end = if panels.end == layout.groups * layout.count() { channels } else { channel(panels.end) };
        for image in images {
            // SAFETY: this task has just written these channels of these rows (there is one class of rows, of stride
            // 1, in a forward pass), and no other task has them.
            unsafe {
                let mean = pieces.get().add((image * strip.1 + strip.0) * 2 * channels + first);
                let piece = Piece {
                    y: y.get().add((image * direct.to[0] + rows.start) * direct.to[1] * channels + first).cast_const(),
                    pitch: channels,
                    pixels: rows.len() * direct.to[1],
                    channels: end - first,
                    mean,
                    squares: mean.add(channels),
                };
                piece.run(simd);
            }
        }
    }
}

/// The outputs of one class of rows and one of columns, for one panel.
///
/// A panel of weights that few pixels use streams from memory. It is taken in portions that fit the first-level cache: all
/// register blocks use one portion before the next, and each of them prefetches its share of the next.
struct Outputs<'a, T: CpuElement> {
    direct: &'a Direct<'a, T>,
    images: Range<usize>,
    /// The first image, packed, and elements to the next image and block of channels.
    x: *const T::Accum,
    x_image: usize,
    x_plane: usize,
    group: usize,
    panel: usize,
    taps: &'a [Tap],
    /// Of rows and of columns.
    classes: [&'a Class; 2],
    /// Those of the class.
    rows: Range<usize>,
    y: *mut T,
}

impl<T: CpuElement> Outputs<'_, T> {
    /// # Safety
    /// `x` holds what the taps of these outputs read, and nobody else uses these pixels and channels of `y`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, simd: S, sums: &mut [V<T, S>; 2 * SUMS]) {
        let Outputs { direct, images, x, x_image, x_plane, group, panel, taps, classes: [rows, columns], .. } = self;
        let (plan, layout, lanes) = (direct.plan, direct.panels, V::<T, S>::LANES);
        let (width, channels) = (plan.columns.source.len(), layout.groups * layout.write);
        let first = group * layout.write + panel * 2 * lanes; // channel
        let vectors = layout.vectors(panel);
        if self.rows.is_empty() {
            return; // a class with fewer rows than another
        }
        let (most_rows, most_columns) = shape::<S>(plan.columns.count());
        let (row_blocks, column_blocks) = (split(self.rows.len(), most_rows), split(columns.count, most_columns));
        let blocks = images.len() * row_blocks.len() * column_blocks.len();

        // Words that are read at a time; elements of the panel for one word, and bytes of one of its rows.
        let words = if taps.is_empty() { 0 } else { layout.words() };
        let (word, row) = (layout.taps * vectors * lanes, vectors * lanes * size_of::<T::Accum>());
        let few = blocks > 1 && images.len() * self.rows.len() * columns.count <= SUMS;
        let portion = match few {
            true => (PORTION / (layout.taps * row)).next_multiple_of(lanes),
            false => words.max(1),
        };
        let ahead_step = if few { row.div_ceil(blocks) } else { row };
        let portions = words.div_ceil(portion).max(1);
        for (start, n) in (0..portions).map(|i| (i * portion, portion.min(words - i * portion))) {
            let w = direct.weights[layout.start(group, panel) + start * word..].as_ptr();
            let mut sum = sums.as_mut_ptr().cast::<T::Accum>();
            let mut ahead = w.wrapping_add(if few { n * word } else { AHEAD * vectors * lanes });
            let share = if few { n * word / blocks } else { 0 };
            for (i, image) in images.clone().enumerate() {
                for (r, ny) in row_blocks.clone() {
                    for (p, nx) in column_blocks.clone() {
                        let t = self.rows.start + r;
                        let (oy, ox) = (rows.first + t * rows.stride, columns.first + p * columns.stride);
                        // SAFETY: x holds these images and the plan's taps of these rows, by the caller's promise; the
                        // panel is one of the packed weight's, whose length was checked; there is a sum for each of
                        // the pixels and vectors.
                        unsafe {
                            let at = ((image * direct.to[0] + oy) * direct.to[1] + ox) * channels + first;
                            let y = self.y.add(at);
                            let x = x.wrapping_add(i * x_image + start / lanes * x_plane);
                            let block = Block {
                                x: x.wrapping_add((r * plan.rows.step * width + p) * lanes),
                                x_row: plan.rows.step * width * lanes,
                                x_plane,
                                channels: n,
                                taps,
                                first: [t, p],
                                w,
                                w_taps: layout.taps,
                                ahead,
                                ahead_step,
                                resume: (start > 0).then_some(sum.cast_const()),
                                pause: (start + n < words).then_some(sum),
                                y,
                                y_pixel: columns.stride * channels,
                                y_row: rows.stride * direct.to[1] * channels,
                                write: (layout.write - panel * 2 * lanes).min(vectors * lanes),
                                finish: match direct.accumulate {
                                    true => Finish::accumulate(y),
                                    false => direct.epilogue.at(at, first),
                                },
                                pairs: layout.pairs,
                            };
                            block.run(simd, vectors, ny, nx);
                        }
                        ahead = ahead.wrapping_add(share);
                        sum = sum.wrapping_add(ny * nx * vectors * lanes);
                    }
                }
            }
        }
    }
}
