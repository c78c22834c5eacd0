//! One task of a direct convolution: some rows of some images, for some panels of channels.

use std::ops::Range;

use super::super::pack::{Strip, pack};
use super::Direct;
use super::outputs::{Outputs, SUMS};
use super::tiles::ByTiles;
use crate::activation::Activate;
use crate::element::{CpuElement, V};
use crate::kernel::moments::Piece;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

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
    /// Images that are packed into each other: a pixel of each, then the next pixel.
    pub(super) together: usize,
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
        let Task { direct, images, together, rows, strip, panels, mut packed, y, pieces } = self;
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
        let plane = direct.plane(packed_rows, together);
        let size = direct.room(together, packed_rows, together); // of the images together
        let mut sums = [V::<T, S>::zero(simd); 2 * SUMS];
        let mut by_tiles = direct.tiles.map(|tiles| ByTiles::new(simd, tiles));
        let mut current = usize::MAX; // the group whose channels this task has packed
        for panel in panels.clone() {
            let (group, panel) = (panel / layout.count(), panel % layout.count());
            if let (Packed::ByTask(scratch), true) = (&mut packed, group != current) {
                current = group;
                for (i, image) in images.clone().enumerate() {
                    let to = &mut scratch[i / together * size + i % together * lanes..];
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
                        apart: together * lanes,
                        plane,
                        word: layout.word(),
                    };
                    pack(simd, &direct.reader, strip, plan.fold, to);
                }
            }
            // The first images, and elements to the next ones.
            let (x, x_image) = match &packed {
                Packed::ByTask(scratch) => (&scratch[..], size),
                Packed::Before(all) => {
                    let first = (images.start * layout.groups + group) * size + skipped * width * lanes;
                    (&all[first..], layout.groups * size)
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
                        together,
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
                    unsafe {
                        match &mut by_tiles {
                            Some(by_tiles) => by_tiles.run(simd, &outputs),
                            None => outputs.run(simd, &mut sums),
                        }
                    }
                }
            }
        }
        let channel = |panel: usize| panel / layout.count() * layout.write + panel % layout.count() * 2 * lanes;
        let first = channel(panels.start);
        let end = if panels.end == layout.groups * layout.count() { channels } else { channel(panels.end) };
        let pixels = rows.len() * direct.to[1]; // of an image
        let written = |image: usize| (image * direct.to[0] + rows.start) * direct.to[1] * channels + first;
        if let Some(activation) = direct.late {
            for at in images.clone().map(written) {
                // SAFETY: this task has just written these channels of these pixels, and no other task uses them: a forward pass has one
                // class of rows and one of columns, of stride 1, so they follow each other.
                let written = unsafe { Activate::rows(activation, y.get().add(at), pixels, channels, end - first) };
                simd.outline(written);
            }
        }
        let Some(pieces) = pieces else { return };
        for image in images {
            // SAFETY: as above, and no other task has this piece.
            unsafe {
                let mean = pieces.get().add((image * strip.1 + strip.0) * 2 * channels + first);
                let piece = Piece {
                    y: y.get().add(written(image)).cast_const(),
                    pitch: channels,
                    pixels,
                    channels: end - first,
                    mean,
                    squares: mean.add(channels),
                };
                piece.run(simd);
            }
        }
    }
}
