//! The forward pass of narrow groups, and the gradient of their input, which is one with the weights' roles exchanged.

use std::ops::Range;

use cnn_core::backend::{Activation, Moments};
use cnn_core::{Conv2dSpec, Result};

use super::geometry::{Geometry, Tile, pack_planes};
use crate::activation::Activate;
use crate::conv2d::plans::Plan;
use crate::conv2d::reader::Reader;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::Tap;
use crate::kernel::block::split;
use crate::kernel::epilogue::{Epilogue, Finish};
use crate::kernel::moments::{Piece, combine};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

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
    /// What follows it.
    late: Option<Activation>,
    /// Add to what is there, in place of the epilogue.
    accumulate: bool,
}

pub(in super::super) fn forward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    reader: Reader<'_, T>,
    weight: &[T::Accum],
    epilogue: (Epilogue<'_, T>, Option<Activation>),
    y: &mut [T],
    moments: bool,
) -> Result<Option<Moments<Cpu<T>>>> {
    let geometry = Geometry::of(spec, plan, spec.input, spec.output);
    run(cpu, geometry, reader, weight, epilogue, false, y, moments)
}

pub(in super::super) fn data<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    reader: Reader<'_, T>,
    transposed: &[T::Accum],
    dx: &mut [T],
    accumulate: bool,
) -> Result<()> {
    let geometry = Geometry::of(spec, plan, spec.output, spec.input);
    run(cpu, geometry, reader, transposed, (Epilogue::none(), None), accumulate, dx, false).map(drop)
}

fn run<T: CpuElement>(
    cpu: &Cpu<T>,
    geometry: Geometry<'_>,
    reader: Reader<'_, T>,
    weight: &[T::Accum],
    (epilogue, late): (Epilogue<'_, T>, Option<Activation>),
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
    let narrow = Narrow { geometry, tile, reader, taps, weight, epilogue, late, accumulate };
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
            // A forward pass has one class of rows and one of columns, of stride 1.
            let first = (image * to[0] + strip.start) * to[1] * channels + c;
            if let Some(activation) = narrow.late {
                // SAFETY: this task has just written these channels of these pixels, and no other task uses them.
                let written =
                    unsafe { Activate::rows(activation, y.get().add(first), strip.len() * to[1], channels, n) };
                simd.outline(written);
            }
            let Some(pieces) = pieces else { continue };
            // SAFETY: as above, and nobody else writes them in this piece.
            unsafe {
                let mean = pieces.get().add(piece * 2 * channels + c);
                let y = y.get().add(first).cast_const();
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
