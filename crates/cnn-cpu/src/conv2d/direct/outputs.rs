//! The outputs of a direct convolution by vectors: a register block of pixels of two vectors of channels at a time.

use std::ops::Range;

use super::super::plan::Class;
use super::Direct;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::kernel::block::{AHEAD, Block, shape, split};
use crate::kernel::epilogue::Finish;
use crate::machine::L1;
use crate::simd::{Simd, Vector};

/// Pixels whose sums fit the first-level cache beside a portion of a panel.
pub(super) const SUMS: usize = 64;
/// Bytes of a panel that stay in the first-level cache while the register blocks of a few pixels read them.
const PORTION: usize = L1 * 3 / 8;

/// The outputs of one class of rows and one of columns, for one panel.
///
/// A panel of weights that few pixels use streams from memory. It is taken in portions that fit the first-level cache: all
/// register blocks use one portion before the next, and each of them prefetches its share of the next.
pub(super) struct Outputs<'a, T: CpuElement> {
    pub(super) direct: &'a Direct<'a, T>,
    pub(super) images: Range<usize>,
    /// Of these, those that are packed into each other.
    pub(super) together: usize,
    /// The first images, packed, and elements to the next ones, and to the next block of channels.
    pub(super) x: *const T::Accum,
    pub(super) x_image: usize,
    pub(super) x_plane: usize,
    pub(super) group: usize,
    pub(super) panel: usize,
    pub(super) taps: &'a [Tap],
    /// Of rows and of columns.
    pub(super) classes: [&'a Class; 2],
    /// Those of the class.
    pub(super) rows: Range<usize>,
    pub(super) y: *mut T,
}

impl<T: CpuElement> Outputs<'_, T> {
    /// # Safety
    /// `x` holds what the taps of these outputs read, and nobody else uses these pixels and channels of `y`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S, sums: &mut [V<T, S>; 2 * SUMS]) {
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
