//! Convolution in groups narrower than a vector, depthwise convolution among them: the lanes are channels that are written,
//! of several groups, all the way.
//!
//! ```text
//! for each task (some vectors of channels of an image, some rows):
//!     for each vector of channels:
//!         pack what its rows read: a plane for each channel of a group, every lane with that channel of its own group
//!         for each class of outputs, row, some pixels: sum over the taps and planes in registers
//! ```
//!
//! A vector's planes are few enough to stay in a cache near while they are read. Packing deals with stride, dilation, padding
//! and normalisations not yet written, as for the direct convolution; the kernels have a vector of weights where the direct
//! ones broadcast a pixel.

use std::ops::Range;

use cnn_core::backend::{Moments, Wide};
use cnn_core::{Conv2dSpec, Result};
use num_traits::Zero;

use super::pack::{Strip, Word, pack};
use super::plans::Plan;
use super::reader::Reader;
use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::kernel::Tap;
use crate::kernel::block::split;
use crate::kernel::epilogue::{Epilogue, Finish};
use crate::kernel::moments::{Piece, combine};
use crate::machine::{FEW, L2, LINE};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// Bytes of the packed planes of a vector of channels.
const PACKED: usize = L2 / 4;
/// Pixels whose products the gradient of the weight sums in registers before it adds them to the rest, roughly.
const PIXELS: usize = 256;

/// Whether a convolution is one of these: each group as many channels as it reads, a power of two that at least halves the
/// work of kernels whose vectors hold the channels of one group only. Pairs halve the work of such kernels too.
pub(super) fn fits(spec: &Conv2dSpec, lanes: usize, pairs: bool) -> bool {
    let (groups, width) = (spec.groups, spec.in_channels / spec.groups);
    let narrow = if pairs { lanes / 4 } else { lanes / 2 };
    // A kernel of one tap has too little to do with what is packed for it.
    let worthwhile = width.is_power_of_two() && width <= narrow && spec.kernel != [1, 1];
    groups > 1 && spec.in_channels == spec.out_channels && (width == 1 || worthwhile)
}

/// `weight` \[taps, channels of a group, channels\] for the gradient of the input: the roles of a group's channels exchanged.
pub(super) fn transposed<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    weight: &Wide<Cpu<T>>,
) -> Result<Buffer<T::Accum>> {
    let (channels, width) = (spec.in_channels, spec.in_channels / spec.groups);
    if width == 1 {
        return Ok(weight.clone());
    }
    let mut to = cpu.alloc(weight.len())?;
    let from = weight.as_slice().chunks_exact(width * channels);
    for (to, from) in to.make_mut()?.chunks_exact_mut(width * channels).zip(from) {
        for (i, to) in to.chunks_exact_mut(channels).enumerate() {
            for (c, to) in to.iter_mut().enumerate() {
                *to = from[c % width * channels + c / width * width + i];
            }
        }
    }
    Ok(to)
}

/// The geometry of one pass.
#[derive(Clone, Copy)]
struct Geometry<'a> {
    batch: usize,
    channels: usize,
    /// Channels of a group.
    width: usize,
    /// H, W of what is read and of what is written.
    from: [usize; 2],
    to: [usize; 2],
    plan: &'a Plan,
}

/// How the work is cut: by the shape alone.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Vectors of channels of a task.
    vectors: usize,
    /// Outputs of each class of rows.
    rows: usize,
    /// Scratch elements of one plane. One vector more than needed keeps the planes from falling on the same cache sets.
    plane: usize,
}

impl Geometry<'_> {
    fn tile(&self, lanes: usize, size: usize) -> Tile {
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
    fn strip(&self, image: usize, t: Range<usize>, c: usize, lanes: usize, plane: usize) -> Strip<'_> {
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
    fn taps(&self, plane: usize) -> Vec<Vec<Tap>> {
        let of_group = |tap: &Tap| {
            let tap = *tap;
            (0..self.width).map(move |i| Tap { x: tap.x + i * plane, w: tap.w * self.width + i, ..tap })
        };
        self.plan.taps.iter().map(|list| list.iter().flat_map(of_group).collect()).collect()
    }
}

/// Packs a strip of one vector of channels into planes, one for each of the `width` channels of a group.
#[inline(always)]
fn pack_planes<T: CpuElement, S: Simd>(
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

/// The forward pass or the gradient of the input.
struct Narrow<'a, T: CpuElement> {
    geometry: Geometry<'a>,
    tile: Tile,
    reader: Reader<'a, T>,
    /// Those of the plan, for each plane.
    taps: Vec<Vec<Tap>>,
    /// \[taps, channels of a group, channels\].
    weight: &'a [T::Accum],
    epilogue: Epilogue<'a, T>,
    /// Add to what is there, in place of the epilogue.
    accumulate: bool,
}

pub(super) fn forward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    reader: Reader<'_, T>,
    weight: &[T::Accum],
    epilogue: Epilogue<'_, T>,
    y: &mut [T],
    moments: bool,
) -> Result<Option<Moments<Cpu<T>>>> {
    let geometry = geometry(spec, plan, spec.input, spec.output);
    run(cpu, geometry, reader, weight, epilogue, false, y, moments)
}

pub(super) fn data<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    reader: Reader<'_, T>,
    transposed: &[T::Accum],
    dx: &mut [T],
    accumulate: bool,
) -> Result<()> {
    let geometry = geometry(spec, plan, spec.output, spec.input);
    run(cpu, geometry, reader, transposed, Epilogue::none(), accumulate, dx, false).map(drop)
}

fn geometry<'a>(spec: &Conv2dSpec, plan: &'a Plan, from: [usize; 2], to: [usize; 2]) -> Geometry<'a> {
    let (batch, channels) = (spec.batch, spec.in_channels);
    Geometry { batch, channels, width: channels / spec.groups, from, to, plan }
}

fn run<T: CpuElement>(
    cpu: &Cpu<T>,
    geometry: Geometry<'_>,
    reader: Reader<'_, T>,
    weight: &[T::Accum],
    epilogue: Epilogue<'_, T>,
    accumulate: bool,
    y: &mut [T],
    moments: bool,
) -> Result<Option<Moments<Cpu<T>>>> {
    let Geometry { batch, channels, width, to, plan, .. } = geometry;
    let lanes = cpu.lanes();
    let tile = geometry.tile(lanes, size_of::<T::Accum>());
    let taps = geometry.taps(tile.plane);
    assert_eq!(y.len(), batch * to[0] * to[1] * channels);
    assert!(epilogue.fits(y.len(), channels));
    assert!(taps.iter().flatten().all(|tap| (tap.w + 1) * channels <= weight.len()));
    assert!(width == 1 || lanes.is_multiple_of(width));
    let narrow = Narrow { geometry, tile, reader, taps, weight, epilogue, accumulate };
    let (strips, sets) = (plan.rows.count().div_ceil(tile.rows), channels.div_ceil(tile.vectors * lanes));
    let mut pieces = cpu.scratch::<T::Accum>(if moments { batch * strips * 2 * channels } else { 0 })?;
    let (y, out) = (Shared::new(y), moments.then(|| Shared::new(&mut pieces)));
    let tasks = batch * strips * sets;
    let rooms = cpu.rooms(tasks, [width * tile.plane])?;
    cpu.for_each(tasks, |task| {
        let (image, strip, set) = (task / (strips * sets), task / sets % strips, task % sets);
        let [scratch] = &mut *rooms.take();
        let (piece, pieces) = (image * strips + strip, out);
        let strip = strip * tile.rows..((strip + 1) * tile.rows).min(plan.rows.count());
        let channels = set * tile.vectors * lanes..((set + 1) * tile.vectors * lanes).min(channels);
        cpu.run(Task { narrow: &narrow, image, strip, channels, scratch, y, piece, pieces });
    });
    let rows = |piece: usize| tile.rows.min(to[0] - piece % strips * tile.rows);
    moments.then(|| combine(cpu, &pieces, channels, |piece| rows(piece) * to[1])).transpose()
}

struct Task<'a, T: CpuElement> {
    narrow: &'a Narrow<'a, T>,
    image: usize,
    strip: Range<usize>,
    channels: Range<usize>,
    scratch: &'a mut [T::Accum],
    y: Shared<T>,
    /// Where the moments of these rows go, if they are wanted: `[pieces][2][channels]`.
    piece: usize,
    pieces: Option<Shared<T::Accum>>,
}

impl<T: CpuElement> SimdKernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { narrow, image, strip, channels: range, scratch, y, piece, pieces } = self;
        let Geometry { to, channels, width: group, plan, .. } = narrow.geometry;
        let lanes = V::<T, S>::LANES;
        let (rows, columns) = (&plan.rows, &plan.columns);
        let width = columns.source.len();
        for c in range.step_by(lanes) {
            let n = lanes.min(channels - c);
            let whole = narrow.geometry.strip(image, strip.clone(), c, lanes, narrow.tile.plane);
            pack_planes(simd, &narrow.reader, whole, group, scratch);
            for (rc, lists) in rows.classes.iter().zip(narrow.taps.chunks(columns.classes.len())) {
                for (cc, list) in columns.classes.iter().zip(lists) {
                    for t in strip.start.min(rc.count)..strip.end.min(rc.count) {
                        for (p, pixels) in split(cc.count, MOST) {
                            let (oy, ox) = (rc.first + t * rc.stride, cc.first + p * cc.stride);
                            // SAFETY: the plan's taps lie within the packed rows; the classes cover each output pixel
                            // once, and no other task has these rows and channels.
                            unsafe {
                                let from = ((t - strip.start) * rows.step * width + p) * lanes;
                                let at = ((image * to[0] + oy) * to[1] + ox) * channels + c;
                                let y = y.get().add(at);
                                let line = Line {
                                    x: scratch.as_ptr().wrapping_add(from),
                                    taps: list,
                                    w: narrow.weight.as_ptr().add(c),
                                    pitch: channels,
                                    write: n,
                                    y,
                                    y_pixel: cc.stride * channels,
                                    finish: match narrow.accumulate {
                                        true => Finish::accumulate(y),
                                        false => narrow.epilogue.at(at, c),
                                    },
                                };
                                match pixels {
                                    7 => line.run::<S, 7>(simd),
                                    6 => line.run::<S, 6>(simd),
                                    5 => line.run::<S, 5>(simd),
                                    4 => line.run::<S, 4>(simd),
                                    3 => line.run::<S, 3>(simd),
                                    2 => line.run::<S, 2>(simd),
                                    1 => line.run::<S, 1>(simd),
                                    _ => {}
                                }
                            }
                        }
                    }
                }
            }
            let Some(pieces) = pieces else { continue };
            // SAFETY: this task has just written these channels of these rows (there is one class of rows, of stride 1, in a
            // forward pass), and nobody else writes them in this piece.
            unsafe {
                let mean = pieces.get().add(piece * 2 * channels + c);
                let y = y.get().add((image * to[0] + strip.start) * to[1] * channels + c).cast_const();
                let (pixels, squares) = (strip.len() * to[1], mean.add(channels));
                Piece { y, pitch: channels, pixels, channels: n, mean, squares }.run(simd);
            }
        }
    }
}

/// The most pixels of a register block, which share a vector of weights.
const MOST: usize = 7;

/// A register block: some pixels of one vector of channels.
struct Line<'a, T: CpuElement> {
    x: *const T::Accum,
    taps: &'a [Tap],
    w: *const T::Accum,
    pitch: usize,
    write: usize,
    y: *mut T,
    y_pixel: usize,
    finish: Finish<T>,
}

impl<T: CpuElement> Line<'_, T> {
    /// # Safety
    /// The taps of all pixels lie in the packed planes; weights, y and the epilogue have `write` channels.
    #[inline(always)]
    unsafe fn run<S: Simd, const N: usize>(self, simd: S) {
        let lanes = V::<T, S>::LANES;
        let mut acc = [V::<T, S>::zero(simd); N];
        // SAFETY: the caller's promise.
        unsafe {
            for tap in self.taps {
                let w = V::<T, S>::load_head(simd, self.w.add(tap.w * self.pitch), self.write);
                for p in 0..N {
                    acc[p] = V::<T, S>::load(simd, self.x.add(tap.x + p * lanes)).mul_add(w, acc[p]);
                }
            }
            for p in 0..N {
                let at = p * self.y_pixel;
                let value = self.finish.of(simd, acc[p], at, self.write);
                T::store_head::<S>(value, self.y.add(at), self.write);
            }
        }
    }
}

/// The gradient of the weight, `dw` \[taps, channels of a group, channels\]: a partial sum for each chunk of images, added up
/// in order.
pub(super) fn weight<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    x: Reader<'_, T>,
    dy: Reader<'_, T>,
    dw: &mut [T::Accum],
) -> Result<()> {
    let (lanes, channels, batch) = (cpu.lanes(), spec.in_channels, spec.batch);
    let geometry = geometry(spec, plan, spec.input, spec.output);
    let tile = geometry.tile(lanes, size_of::<T::Accum>());
    let taps = geometry.taps(tile.plane);
    assert!(taps[0].iter().all(|tap| (tap.w + 1) * channels <= dw.len()));
    assert!(geometry.width == 1 || lanes.is_multiple_of(geometry.width));
    let chunk = batch.div_ceil(FEW).max(1);
    let (count, sets) = (batch.div_ceil(chunk), channels.div_ceil(tile.vectors * lanes));
    let len = dw.len();
    let mut partial = cpu.scratch::<T::Accum>(count * len)?;
    partial.fill(T::Accum::zero());
    let out = Shared::new(&mut partial);
    let room = [geometry.width * tile.plane, (tile.rows * spec.output[1] + 1) * lanes];
    let rooms = cpu.rooms(count * sets, room)?;
    cpu.for_each(count * sets, |task| {
        let (i, set) = (task / sets, task % sets);
        let [to_x, to_dy] = &mut *rooms.take();
        // SAFETY: every task has a chunk of its own, or channels of its own in it.
        let dw = unsafe { out.get().add(i * len) };
        for c in (set * tile.vectors * lanes..((set + 1) * tile.vectors * lanes).min(channels)).step_by(lanes) {
            for image in i * chunk..((i + 1) * chunk).min(batch) {
                for start in (0..spec.output[0]).step_by(tile.rows) {
                    let rows = start..(start + tile.rows).min(spec.output[0]);
                    let of_x = geometry.strip(image, rows.clone(), c, lanes, tile.plane);
                    let of_dy = Strip {
                        rows: &plan.order[rows.clone()],
                        columns: &plan.order[..spec.output[1]],
                        size: spec.output,
                        plane: room[1],
                        ..of_x
                    };
                    let sources = [(x, of_x), (dy, of_dy)];
                    let (width, taps) = (geometry.width, &taps[0]);
                    let step = plan.rows.step * plan.columns.source.len();
                    cpu.run(Sum { sources, width, taps, step, to_x, to_dy, dw });
                }
            }
        }
    });
    for (i, dw) in dw.iter_mut().enumerate() {
        *dw = (0..count).map(|chunk| partial[chunk * len + i]).fold(T::Accum::zero(), |sum, part| sum + part);
    }
    Ok(())
}

/// Adds the products of some rows of one image and one vector of channels to `dw`.
struct Sum<'a, T: CpuElement> {
    /// x and dy.
    sources: [(Reader<'a, T>, Strip<'a>); 2],
    /// Channels of a group.
    width: usize,
    taps: &'a [Tap],
    /// Scratch pixels of x from one output row to the next.
    step: usize,
    to_x: &'a mut [T::Accum],
    to_dy: &'a mut [T::Accum],
    /// The partial sum.
    dw: *mut T::Accum,
}

impl<T: CpuElement> SimdKernel for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sum { sources: [(x, of_x), (dy, of_dy)], width, taps, step, to_x, to_dy, dw } = self;
        let lanes = V::<T, S>::LANES;
        pack_planes(simd, &x, of_x, width, to_x);
        pack(simd, &dy, of_dy, None, to_dy);
        let (rows, columns) = (of_dy.rows.len(), of_dy.columns.len());
        for (row, rows) in split(rows, PIXELS.div_ceil(columns.max(1))) {
            let products = Products {
                x: to_x.as_ptr().wrapping_add(row * step * lanes),
                x_row: step * lanes,
                dy: to_dy.as_ptr().wrapping_add(row * columns * lanes),
                size: [rows, columns],
                taps,
                dw: dw.wrapping_add(of_x.first),
                pitch: of_x.pitch,
                write: of_x.channels,
            };
            simd.outline(products);
        }
    }
}

/// `dw[tap] += sum over pixels of x[pixel + tap] * dy[pixel]`, for one vector of channels.
struct Products<'a, F> {
    x: *const F,
    x_row: usize,
    dy: *const F,
    /// Rows, columns.
    size: [usize; 2],
    taps: &'a [Tap],
    dw: *mut F,
    pitch: usize,
    write: usize,
}

impl<F: CpuReal> SimdKernel for Products<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut taps = self.taps;
        while !taps.is_empty() {
            // SAFETY: the plan's taps of these output rows lie within the packed rows of x, and dy was packed for them; each tap
            // has a row of dw, of which nobody else writes these channels.
            let done = unsafe {
                match taps.len() {
                    9.. => self.add::<S, 9>(simd, taps),
                    4.. => self.add::<S, 4>(simd, taps),
                    2.. => self.add::<S, 2>(simd, taps),
                    _ => self.add::<S, 1>(simd, taps),
                }
            };
            taps = &taps[done..];
        }
    }
}

impl<F: CpuReal> Products<'_, F> {
    /// The first `N` taps: one vector of dy is read for all of them.
    ///
    /// # Safety
    /// There are `N` taps, which lie within x at all pixels; `dw` has their channels.
    #[inline(always)]
    unsafe fn add<S: Simd, const N: usize>(&self, simd: S, taps: &[Tap]) -> usize {
        let lanes = F::V::<S>::LANES;
        let mut sums = [F::V::<S>::zero(simd); N];
        let mut at = [0; N];
        for i in 0..N {
            at[i] = taps[i].x;
        }
        // SAFETY: the caller's promise.
        unsafe {
            for row in 0..self.size[0] {
                for column in 0..self.size[1] {
                    let x = self.x.add(row * self.x_row + column * lanes);
                    let dy = F::V::<S>::load(simd, self.dy.add((row * self.size[1] + column) * lanes));
                    for i in 0..N {
                        sums[i] = F::V::<S>::load(simd, x.add(at[i])).mul_add(dy, sums[i]);
                    }
                }
            }
            for i in 0..N {
                let dw = self.dw.add(taps[i].w * self.pitch);
                F::V::<S>::load_head(simd, dw, self.write).add(sums[i]).store_head(dw, self.write);
            }
        }
        N
    }
}
