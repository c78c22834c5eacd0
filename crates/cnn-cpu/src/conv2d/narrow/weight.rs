//! The gradient of the weight of narrow groups.

use cnn_core::{Conv2dSpec, Result};
use num_traits::Zero;

use super::geometry::{Geometry, pack_planes};
use crate::conv2d::pack::{Strip, pack};
use crate::conv2d::plans::Plan;
use crate::conv2d::reader::Reader;
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::kernel::Tap;
use crate::kernel::block::split;
use crate::machine::FEW;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// Pixels whose products are summed in registers before they are added to the rest, roughly.
const PIXELS: usize = 256;

/// The gradient of the weight, `dw` \[taps, channels of a group, channels\]: a partial sum for each chunk of images, added up
/// in order.
pub(in super::super) fn weight<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    plan: &Plan,
    x: Reader<'_, T>,
    dy: Reader<'_, T>,
    dw: &mut [T::Accum],
) -> Result<()> {
    let (lanes, channels, batch) = (cpu.lanes(), spec.in_channels, spec.batch);
    let geometry = Geometry::of(spec, plan, spec.input, spec.output);
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
