//! 3x3 kernels to their 36 points, and the gradients of these points back to those of the kernels.

use std::ops::Range;

use super::matrices::{self, POINTS, TAPS};
use super::tiling::Stride;
use super::{PLANES, panels};
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::machine::{F32, L3};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::Shared;

/// A 3x3 weight.
#[derive(Clone, Copy)]
pub(in super::super) enum Kernel3x3<'a, T> {
    /// \[3\]\[3\]\[read\]\[write\], as the master weight is stored.
    Master(&'a [T]),
    /// \[3\]\[3\]\[write\]\[read\]: rotated, and the roles of the channels exchanged.
    Exchanged(&'a [T]),
    /// In the order of [`panels`](super::panels): each panel in one piece, where a plain weight has 9 rows for each channel.
    Packed(&'a [T]),
    /// Transformed ahead by [`transform_ready`].
    Ready(&'a [T]),
}

impl<'a, T: CpuReal> Kernel3x3<'a, T> {
    /// Elements of the room that [`plain`](Self::plain) needs.
    pub(super) fn room(&self) -> usize {
        if let Kernel3x3::Exchanged(weights) = self { weights.len() } else { 0 }
    }

    /// The weight as its kernels are read, for a convolution of this stride. `room` holds one that has to be exchanged.
    pub(super) fn plain<E: CpuElement<Number = T>>(
        self,
        cpu: &Cpu<E>,
        [read, write]: [usize; 2],
        stride: Stride,
        room: &'a mut [T],
    ) -> Kernels<'a, T> {
        let strided = stride != Stride::One;
        match self {
            Kernel3x3::Master(weights) => Kernels { weights, read, write, packed: false, rotated: false, strided },
            Kernel3x3::Packed(weights) => Kernels { weights, read, write, packed: true, rotated: false, strided },
            Kernel3x3::Exchanged(weights) => {
                exchange(cpu, weights, write, read, room);
                Kernels { weights: room, read, write, packed: false, rotated: true, strided }
            }
            Kernel3x3::Ready(_) => unreachable!("a transformed weight is used as it is"),
        }
    }
}

/// Kernels \[9\]\[read\]\[write\] (or in panels) to be transformed.
#[derive(Clone, Copy)]
pub(in super::super) struct Kernels<'a, T> {
    pub(in super::super) weights: &'a [T],
    pub(in super::super) read: usize,
    pub(in super::super) write: usize,
    /// In panels.
    pub(in super::super) packed: bool,
    /// Rotated by 180 degrees.
    pub(in super::super) rotated: bool,
    /// For a stride that is not one.
    pub(in super::super) strided: bool,
}

/// Elements of a transformed weight that is made at once, as it stays in the last cache beside what passes through.
const AT_ONCE: usize = L3 * 3 / 8 / F32;

/// Elements between two points of a panel of transformed weights.
pub(super) fn panel_point(read: usize, lanes: usize) -> usize {
    (read * 2 + 1) * lanes
}

/// Elements of a whole transformed weight, `[panels][36][read][vectors]`; none for a shape of which each panel is
/// transformed when it is needed.
pub(in super::super) fn ready_len(read: usize, write: usize, lanes: usize) -> Option<usize> {
    let panels = panels(read, write, lanes).count();
    (PLANES * read * write <= AT_ONCE).then_some(panels * PLANES * panel_point(read, lanes))
}

/// Transforms a whole weight, as [`Kernel3x3::Ready`] holds it.
pub(in super::super) fn transform_ready<T: CpuElement>(
    cpu: &Cpu<T>,
    kernels: Kernels<'_, T::Accum>,
    u: &mut [T::Accum],
) {
    const CHANNELS: usize = 16; // of a task
    let Kernels { read, write, .. } = kernels;
    let lanes = cpu.lanes();
    let panels = panels(read, write, lanes).count();
    assert_eq!(u.len(), panels * PLANES * panel_point(read, lanes));
    let (parts, u) = (read.div_ceil(CHANNELS), Shared::new(u));
    cpu.for_each(panels * parts, |task| {
        let (panel, part) = (task / parts, task % parts);
        let channels = part * CHANNELS..read.min((part + 1) * CHANNELS);
        cpu.run(Ready::<T::Accum> { kernels, panel, channels, u });
    });
}

/// Some channels of a panel of a weight that is transformed ahead.
struct Ready<'a, T> {
    kernels: Kernels<'a, T>,
    panel: usize,
    channels: Range<usize>,
    u: Shared<T>,
}

impl<T: CpuReal> SimdKernel for Ready<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Ready { kernels, panel, channels, u } = self;
        let u_point = panel_point(kernels.read, V::<T, S>::LANES);
        // SAFETY: `transform_ready` has checked that u holds all panels; no other task has these channels of this one.
        unsafe {
            let vectors = panels(kernels.read, kernels.write, V::<T, S>::LANES).vectors(panel);
            let u = u.get().add(panel * PLANES * u_point + channels.start * vectors * V::<T, S>::LANES);
            Weights { kernels, panel, channels, u, u_point }.run(simd);
        }
    }
}

/// \[9\]\[rows\]\[columns\] to \[9\]\[columns\]\[rows\].
fn exchange<T: CpuElement>(cpu: &Cpu<T>, weights: &[T::Accum], rows: usize, columns: usize, to: &mut [T::Accum]) {
    const SIDE: usize = 32; // of a square that stays in the cache
    assert!(weights.len() == TAPS * TAPS * rows * columns && to.len() == weights.len());
    let strips = columns.div_ceil(SIDE);
    let to = Shared::new(to);
    cpu.for_each(TAPS * TAPS * strips, |task| {
        let (tap, first) = (task / strips, task % strips * SIDE);
        let from = &weights[tap * rows * columns..][..rows * columns];
        for row in (0..rows).step_by(SIDE) {
            for column in first..columns.min(first + SIDE) {
                // SAFETY: this task alone writes these columns of this tap, which are rows of the result.
                let line = unsafe {
                    let at = (tap * columns + column) * rows + row;
                    std::slice::from_raw_parts_mut(to.get().add(at), SIDE.min(rows - row))
                };
                for (i, value) in line.iter_mut().enumerate() {
                    *value = from[(row + i) * columns + column];
                }
            }
        }
    });
}

/// Transforms the kernels of some channels that are read, for a panel of channels that are written:
/// `[36][channels][vectors]`.
pub(super) struct Weights<'a, T> {
    pub(super) kernels: Kernels<'a, T>,
    pub(super) panel: usize,
    pub(super) channels: Range<usize>,
    pub(super) u: *mut T,
    pub(super) u_point: usize,
}

impl<T: CpuReal> Weights<'_, T> {
    /// # Safety
    /// Nobody else uses these channels of `u`, which has room for all of their points.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        let Kernels { weights, read, write, packed, strided, .. } = self.kernels;
        let panels = panels(read, write, V::<T, S>::LANES);
        assert_eq!(weights.len(), if packed { panels.len() } else { TAPS * TAPS * read * write });
        assert!(self.channels.end <= read && self.panel < panels.count());
        if strided { simd.outline(Forth::<T, true>(self)) } else { simd.outline(Forth::<T, false>(self)) }
    }
}

/// For a stride that is one, or not.
struct Forth<'a, T, const STRIDED: bool>(Weights<'a, T>);

impl<T: CpuReal, const STRIDED: bool> SimdKernel for Forth<'_, T, STRIDED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Weights { kernels, panel, channels, u, u_point } = self.0;
        let Kernels { weights, read, write, packed, rotated, .. } = kernels;
        let (lanes, panels) = (V::<T, S>::LANES, panels(read, write, V::<T, S>::LANES));
        let (first, vectors) = (panel * 2 * lanes, panels.vectors(panel));
        for c in channels.clone() {
            // The first of this channel's kernels, elements to the next tap, and to one that is transformed soon: rows of a
            // plain weight are far apart, and the hardware does not foresee them.
            let (at, tap_step, soon) = if packed {
                let (block, row) = (c / lanes * lanes, c % lanes);
                let (width, n) = (vectors * lanes, lanes.min(read - block));
                let at = panels.start(0, panel) + block * TAPS * TAPS * width + row * width;
                (at, n * width, lanes * TAPS * TAPS * width)
            } else {
                (c * write + first, read * write, 8 * write)
            };
            for v in 0..vectors {
                let n = if packed { lanes } else { lanes.min(write - first - v * lanes) };
                // SAFETY: the indices are inside of the weights, whose length was checked; the caller of Weights::run
                // promises u.
                unsafe {
                    let from = weights.as_ptr().add(at + v * lanes);
                    let mut half = [[V::<T, S>::zero(simd); TAPS]; POINTS];
                    for j in 0..TAPS {
                        let mut d = [V::<T, S>::zero(simd); TAPS];
                        for i in 0..TAPS {
                            let tap = if rotated { TAPS * TAPS - 1 - (i * TAPS + j) } else { i * TAPS + j };
                            let at = from.add(tap * tap_step);
                            simd.prefetch(at.wrapping_add(soon));
                            d[i] =
                                if n == lanes { V::<T, S>::load(simd, at) } else { V::<T, S>::load_head(simd, at, n) };
                        }
                        let points = matrices::weight::<T, S, STRIDED>(simd, d);
                        for i in 0..POINTS {
                            half[i][j] = points[i];
                        }
                    }
                    for i in 0..POINTS {
                        let points = matrices::weight::<T, S, STRIDED>(simd, half[i]);
                        for j in 0..POINTS {
                            let point = i * POINTS + j;
                            points[j].store(u.add(point * u_point + ((c - channels.start) * vectors + v) * lanes));
                        }
                    }
                }
            }
        }
    }
}

/// Writes (or adds) the gradients of some kernels from their transform `du`, `[36][channels][vectors]`, to `dw`,
/// `[channels][9][vectors]`: a panel of the gradient in one piece.
pub(super) struct WeightsBack<T> {
    pub(super) du: *const T,
    pub(super) du_point: usize,
    pub(super) dw: *mut T,
    pub(super) channels: usize,
    pub(super) vectors: usize,
    /// For a stride that is not one.
    pub(super) strided: bool,
    pub(super) accumulate: bool,
}

impl<T: CpuReal> WeightsBack<T> {
    /// # Safety
    /// `du` holds the transform, and nobody else uses these channels of `dw`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        if self.strided { simd.outline(Back::<T, true>(self)) } else { simd.outline(Back::<T, false>(self)) }
    }
}

/// For a stride that is one, or not.
struct Back<T, const STRIDED: bool>(WeightsBack<T>);

impl<T: CpuReal, const STRIDED: bool> SimdKernel for Back<T, STRIDED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let WeightsBack { du, du_point, dw, channels, vectors, accumulate, .. } = self.0;
        let lanes = V::<T, S>::LANES;
        for c in 0..channels {
            for v in 0..vectors {
                // SAFETY: the caller of WeightsBack::run promises du and dw at these channels.
                unsafe {
                    let du = du.add((c * vectors + v) * lanes);
                    let dw = dw.add((c * TAPS * TAPS * vectors + v) * lanes);
                    let mut half = [[V::<T, S>::zero(simd); POINTS]; TAPS];
                    for j in 0..POINTS {
                        let mut d = [V::<T, S>::zero(simd); POINTS];
                        for i in 0..POINTS {
                            let at = du.add((i * POINTS + j) * du_point);
                            d[i] = V::<T, S>::load(simd, at);
                        }
                        let taps = matrices::weight_gradient::<T, S, STRIDED>(simd, d);
                        for i in 0..TAPS {
                            half[i][j] = taps[i];
                        }
                    }
                    for i in 0..TAPS {
                        let taps = matrices::weight_gradient::<T, S, STRIDED>(simd, half[i]);
                        for j in 0..TAPS {
                            let to = dw.add((i * TAPS + j) * vectors * lanes);
                            let value = if accumulate { V::<T, S>::load(simd, to).add(taps[j]) } else { taps[j] };
                            value.store(to);
                        }
                    }
                }
            }
        }
    }
}
