//! Depthwise convolution: every channel by itself, so the lanes are channels all the way.
//!
//! The images are packed as for the direct convolution, which deals with stride, dilation, padding and normalisations
//! not yet written; the kernels have a vector of weights where the direct ones broadcast a pixel.

use std::ops::Range;

use cnn_core::backend::Moments;
use cnn_core::{Conv2dSpec, Result};
use num_traits::Zero;

use super::pack::{Strip, Word, pack};
use super::plans::Plan;
use super::reader::Reader;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::kernel::block::split;
use crate::kernel::epilogue::{Epilogue, Finish};
use crate::kernel::moments::{Piece, combine};
use crate::machine::{FEW, L2};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{Shared, chunks};

/// Bytes of a packed image, or of the rows of one that are packed at a time.
const PACKED: usize = L2 / 4;

/// The forward pass or the gradient of the input.
struct Depthwise<'a, T: CpuElement> {
    reader: Reader<'a, T>,
    batch: usize,
    channels: usize,
    /// H, W of what is read and of what is written.
    from: [usize; 2],
    to: [usize; 2],
    plan: &'a Plan,
    /// \[taps, channels\].
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
    let (batch, channels) = (spec.batch, spec.in_channels);
    let (from, to) = (spec.input, spec.output);
    let depthwise = Depthwise { reader, batch, channels, from, to, plan, weight, epilogue, accumulate: false };
    depthwise.run(cpu, y, moments)
}

pub(super) fn data<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    reader: Reader<'_, T>,
    weight: &[T::Accum],
    dx: &mut [T],
    accumulate: bool,
) -> Result<()> {
    let (batch, channels) = (spec.batch, spec.in_channels);
    let (from, to) = (spec.output, spec.input);
    let epilogue = Epilogue::none();
    Depthwise { reader, batch, channels, from, to, plan, weight, epilogue, accumulate }.run(cpu, dx, false)?;
    Ok(())
}

/// Outputs of a class of rows in a strip, so that the packed strip stays in the cache and a small batch has strips for
/// every thread.
fn strip_rows(plan: &Plan, batch: usize, channels: usize, size: usize) -> usize {
    let rows = plan.rows.count();
    let row = plan.rows.step * plan.columns.source.len() * channels * size;
    let strips = FEW.div_ceil(batch.max(1)).min(rows.div_ceil(2)).max((rows * row).div_ceil(PACKED)).max(1);
    rows.div_ceil(strips).max(1)
}

impl<T: CpuElement> Depthwise<'_, T> {
    fn run(&self, cpu: &Cpu<T>, y: &mut [T], moments: bool) -> Result<Option<Moments<Cpu<T>>>> {
        let (lanes, channels) = (cpu.lanes(), self.channels);
        assert_eq!(y.len(), self.batch * self.to[0] * self.to[1] * channels);
        assert!(self.epilogue.fits(y.len(), channels));
        assert!(self.plan.taps.iter().flatten().all(|tap| (tap.w + 1) * channels <= self.weight.len()));
        let (rows, columns) = (&self.plan.rows, &self.plan.columns);
        let height = strip_rows(self.plan, self.batch, channels, size_of::<T::Accum>());
        let strips = rows.count().div_ceil(height);
        let mut pieces = cpu.scratch::<T::Accum>(if moments { self.batch * strips * 2 * channels } else { 0 })?;
        let (y, out) = (Shared::new(y), moments.then(|| Shared::new(&mut pieces)));
        let width = columns.source.len();
        let plane = |strip: Range<usize>| (rows.reach(strip).len() * width + 1) * lanes;
        let room = channels.div_ceil(lanes) * plane(0..height);
        let rooms = cpu.rooms(self.batch * strips, [room])?;
        cpu.for_each(self.batch * strips, |task| {
            let (image, strip) = (task / strips, task % strips);
            let strip = strip * height..((strip + 1) * height).min(rows.count());
            let plane = plane(strip.clone());
            let [scratch] = &mut *rooms.take();
            cpu.run(Task { depthwise: self, image, strip, plane, scratch, y });
            if let Some(pieces) = out {
                let start = (image * self.to[0] + task % strips * height) * self.to[1] * channels;
                let rows = height.min(self.to[0] - task % strips * height);
                // SAFETY: this task has just written these pixels, and nobody else writes this piece.
                unsafe {
                    let mean = pieces.get().add(task * 2 * channels);
                    let (y, squares) = (y.get().add(start).cast_const(), mean.add(channels));
                    cpu.run(Moment(Piece { y, pitch: channels, pixels: rows * self.to[1], channels, mean, squares }));
                }
            }
        });
        let rows = |piece: usize| height.min(self.to[0] - piece % strips * height);
        moments.then(|| combine(cpu, &pieces, channels, |piece| rows(piece) * self.to[1])).transpose()
    }
}

struct Moment<T: CpuElement>(Piece<T>);

impl<T: CpuElement> SimdKernel for Moment<T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: the promise of whoever made the piece.
        unsafe { self.0.run(simd) }
    }
}

struct Task<'a, T: CpuElement> {
    depthwise: &'a Depthwise<'a, T>,
    image: usize,
    strip: Range<usize>,
    plane: usize,
    scratch: &'a mut [T::Accum],
    y: Shared<T>,
}

impl<T: CpuElement> SimdKernel for Task<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Task { depthwise, image, strip, plane, scratch, y } = self;
        let Depthwise { from, to, channels, plan, weight, .. } = *depthwise;
        let lanes = V::<T, S>::LANES;
        let (rows, columns) = (&plan.rows, &plan.columns);
        let width = columns.source.len();
        let whole = Strip {
            rows: &rows.source[rows.reach(strip.clone())],
            columns: &columns.source,
            image,
            size: from,
            pitch: channels,
            first: 0,
            channels,
            apart: lanes,
            plane,
            word: Word::Number,
        };
        pack(simd, &depthwise.reader, whole, None, scratch);
        for (rc, lists) in rows.classes.iter().zip(plan.taps.chunks(columns.classes.len())) {
            for (cc, list) in columns.classes.iter().zip(lists) {
                for t in strip.start.min(rc.count)..strip.end.min(rc.count) {
                    for c in (0..channels).step_by(lanes) {
                        for (p, n) in split(cc.count, 4) {
                            let (oy, ox) = (rc.first + t * rc.stride, cc.first + p * cc.stride);
                            // SAFETY: the plan's taps lie within the packed rows; the classes cover each output pixel
                            // once, and no other task has these rows.
                            unsafe {
                                let from = ((t - strip.start) * rows.step * width + p) * lanes;
                                let at = ((image * to[0] + oy) * to[1] + ox) * channels + c;
                                let y = y.get().add(at);
                                let line = Line {
                                    x: scratch.as_ptr().wrapping_add(c / lanes * plane + from),
                                    taps: list,
                                    w: weight.as_ptr().add(c),
                                    pitch: channels,
                                    write: lanes.min(channels - c),
                                    y,
                                    y_pixel: cc.stride * channels,
                                    finish: match depthwise.accumulate {
                                        true => Finish::accumulate(y),
                                        false => depthwise.epilogue.at(at, c),
                                    },
                                };
                                match n {
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
        }
    }
}

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
    /// The taps of all pixels lie in the packed image; weights, y and the epilogue have `write` channels.
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

/// The gradient of the weight, `dw` \[taps, channels\]: a partial sum for each chunk of images, added up in order.
pub(super) fn weight<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    x: Reader<'_, T>,
    dy: Reader<'_, T>,
    dw: &mut [T::Accum],
) -> Result<()> {
    let (lanes, channels, batch) = (cpu.lanes(), spec.in_channels, spec.batch);
    let height = strip_rows(plan, batch, channels, size_of::<T::Accum>());
    let chunk = batch.div_ceil(FEW).max(1);
    let count = batch.div_ceil(chunk);
    let mut partial = cpu.scratch::<T::Accum>(count * dw.len())?;
    let planes = |rows: Range<usize>| {
        [plan.rows.reach(rows.clone()).len() * plan.columns.source.len(), rows.len() * spec.output[1]]
            .map(|pixels| (pixels + 1) * lanes)
    };
    let room = channels.div_ceil(lanes) * planes(0..height).iter().sum::<usize>();
    let rooms = cpu.rooms(count, [room])?;
    cpu.for_each_part(chunks(&mut partial, dw.len()), |i, dw: &mut [T::Accum]| {
        let [packed] = &mut *rooms.take();
        dw.fill(T::Accum::zero());
        for image in i * chunk..((i + 1) * chunk).min(batch) {
            for start in (0..spec.output[0]).step_by(height) {
                let rows = start..(start + height).min(spec.output[0]);
                let read = plan.rows.reach(rows.clone());
                let planes = planes(rows.clone());
                let blocks = channels.div_ceil(lanes);
                let (to_x, to_dy) = packed.split_at_mut(blocks * planes[0]);
                let strip = |rows, columns, size, plane| Strip {
                    rows,
                    columns,
                    image,
                    size,
                    pitch: channels,
                    first: 0,
                    channels,
                    apart: lanes,
                    plane,
                    word: Word::Number,
                };
                let of_x = strip(&plan.rows.source[read.clone()], &plan.columns.source, spec.input, planes[0]);
                let of_dy = strip(&plan.order[rows.clone()], &plan.order[..spec.output[1]], spec.output, planes[1]);
                cpu.run(Sum {
                    sources: [(x, of_x), (dy, of_dy)],
                    taps: &plan.taps[0],
                    step: plan.rows.step * plan.columns.source.len(),
                    to_x,
                    to_dy,
                    dw,
                });
            }
        }
    });
    let len = dw.len();
    for (i, dw) in dw.iter_mut().enumerate() {
        *dw = (0..count).map(|chunk| partial[chunk * len + i]).fold(T::Accum::zero(), |sum, part| sum + part);
    }
    Ok(())
}

/// Adds the products of some rows of one image to `dw`.
struct Sum<'a, T: CpuElement> {
    /// x and dy.
    sources: [(Reader<'a, T>, Strip<'a>); 2],
    taps: &'a [Tap],
    /// Scratch pixels of x from one output row to the next.
    step: usize,
    to_x: &'a mut [T::Accum],
    to_dy: &'a mut [T::Accum],
    dw: &'a mut [T::Accum],
}

impl<T: CpuElement> SimdKernel for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sum { sources: [(x, of_x), (dy, of_dy)], taps, step, to_x, to_dy, dw } = self;
        let lanes = V::<T, S>::LANES;
        pack(simd, &x, of_x, None, to_x);
        pack(simd, &dy, of_dy, None, to_dy);
        let channels = of_x.channels;
        let (rows, columns) = (of_dy.rows.len(), of_dy.columns.len());
        for c in (0..channels).step_by(lanes) {
            for tap in taps {
                let mut sums = [V::<T, S>::zero(simd); 2];
                // SAFETY: the plan's taps of these output rows lie within the packed rows of x.
                unsafe {
                    let x = to_x.as_ptr().add(c / lanes * of_x.plane + tap.x);
                    let dy = to_dy.as_ptr().add(c / lanes * of_dy.plane);
                    for row in 0..rows {
                        for column in 0..columns {
                            let x = V::<T, S>::load(simd, x.add((row * step + column) * lanes));
                            let dy = V::<T, S>::load(simd, dy.add((row * columns + column) * lanes));
                            sums[column % 2] = x.mul_add(dy, sums[column % 2]);
                        }
                    }
                }
                let dw = &mut dw[tap.w * channels + c..][..lanes.min(channels - c)];
                V::<T, S>::read(simd, dw).add(sums[0].add(sums[1])).write(dw);
            }
        }
    }
}
