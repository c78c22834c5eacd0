//! How the work of narrow groups is cut, and how what a task reads is packed.

use std::ops::Range;

use cnn_core::Conv2dSpec;

use crate::conv2d::pack::{Strip, Word, pack};
use crate::conv2d::plans::Plan;
use crate::conv2d::reader::Reader;
use crate::element::{CpuElement, CpuReal, V};
use crate::kernel::Tap;
use crate::machine::{FEW, L2, LINE};
use crate::simd::{Simd, SimdKernel, Vector};

/// Bytes of the packed planes of a vector of channels.
const PACKED: usize = L2 / 4;

/// The geometry of one pass.
#[derive(Clone, Copy)]
pub(super) struct Geometry<'a> {
    pub(super) batch: usize,
    pub(super) channels: usize,
    /// Channels of a group.
    pub(super) width: usize,
    /// H, W of what is read and of what is written.
    pub(super) from: [usize; 2],
    pub(super) to: [usize; 2],
    pub(super) plan: &'a Plan,
}

/// How the work is cut: by the shape alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// Vectors of channels of a task.
    pub(super) vectors: usize,
    /// Outputs of each class of rows.
    pub(super) rows: usize,
    /// Scratch elements of one plane. One vector more than needed keeps the planes from falling on the same cache sets.
    pub(super) plane: usize,
}

impl<'a> Geometry<'a> {
    pub(super) fn of(spec: &Conv2dSpec, plan: &'a Plan, from: [usize; 2], to: [usize; 2]) -> Self {
        let (batch, channels) = (spec.batch, spec.in_channels);
        Geometry { batch, channels, width: channels / spec.groups, from, to, plan }
    }
}

impl Geometry<'_> {
    pub(super) fn tile(&self, lanes: usize, size: usize) -> Tile {
        let (rows, columns) = (&self.plan.rows, self.plan.columns.source.len());
        let (count, vectors) = (rows.count(), self.channels.div_ceil(lanes));
        let row = rows.step * columns * self.width * lanes * size;
        // Small batches are cut further: fewer vectors, then fewer rows, which read what others read too.
        let wanted = FEW.div_ceil(self.batch.max(1));
        let sets = wanted.min(vectors);
        let strips = wanted.div_ceil(sets).min(count.div_ceil(2)).max((count * row).div_ceil(PACKED)).max(1);
        let height = count.div_ceil(strips).max(1);
        let plane = (rows.reach(0..height).len() * columns + 1) * lanes;
        // With a stride, what a task reads and writes stays in a cache until all of it is used: of each row there are several classes.
        // Without one, whole pixels in their order are what the memory is quickest with.
        let written = height * rows.classes.len() * self.to[1] * lanes * size;
        let whole = LINE.div_ceil(lanes * size);
        let fitting = match rows.step.max(rows.classes.len()) {
            1 => vectors,
            _ => (L2 / 2 / written.max(1) / whole).max(1) * whole,
        };
        Tile { vectors: vectors.div_ceil(sets).min(fitting), rows: height, plane }
    }

    /// What the vector of channels from `c` on reads for the rows `t`.
    #[inline(always)]
    pub(super) fn strip(&self, image: usize, t: Range<usize>, c: usize, lanes: usize, plane: usize) -> Strip<'_> {
        Strip {
            rows: &self.plan.rows.source[self.plan.rows.reach(t)],
            columns: &self.plan.columns.source,
            image,
            size: self.from,
            pitch: self.channels,
            first: c,
            channels: lanes.min(self.channels - c),
            apart: lanes,
            plane,
            word: Word::Number,
        }
    }

    /// The taps of each class, once for each channel of a group: a tap of a plane of its own.
    pub(super) fn taps(&self, plane: usize) -> Vec<Vec<Tap>> {
        let of_group = |tap: &Tap| {
            let tap = *tap;
            (0..self.width).map(move |i| Tap { x: tap.x + i * plane, w: tap.w * self.width + i, ..tap })
        };
        self.plan.taps.iter().map(|list| list.iter().flat_map(of_group).collect()).collect()
    }
}

/// Packs a strip of one vector of channels into planes, one for each of the `width` channels of a group.
#[inline(always)]
pub(super) fn pack_planes<T: CpuElement, S: Simd>(
    simd: S,
    reader: &Reader<'_, T>,
    strip: Strip<'_>,
    width: usize,
    to: &mut [T::Accum],
) {
    pack(simd, reader, strip, None, to);
    if width > 1 {
        let used = strip.rows.len() * strip.columns.len() * V::<T, S>::LANES;
        simd.outline(Spread::<T::Accum> { width, used, plane: strip.plane, planes: to });
    }
}

/// Every lane's group's channel 0 in the first plane, which has the channels as they are, channel 1 in the second, ...
struct Spread<'a, F> {
    width: usize,
    /// Elements of a plane that hold something.
    used: usize,
    plane: usize,
    planes: &'a mut [F],
}

impl<F: CpuReal> SimdKernel for Spread<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Spread { width, used, plane, planes } = self;
        let lanes = F::V::<S>::LANES;
        let (first, others) = planes.split_at_mut(plane);
        for (i, to) in others.chunks_mut(plane).take(width - 1).enumerate() {
            for (from, to) in first[..used].chunks_exact(lanes).zip(to.chunks_exact_mut(lanes)) {
                F::V::<S>::read(simd, from).spread(width, i + 1).write(to);
            }
        }
        for vector in first[..used].chunks_exact_mut(lanes) {
            F::V::<S>::read(simd, vector).spread(width, 0).write(vector);
        }
    }
}
