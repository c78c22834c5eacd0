//! The products of a block of tiles with a panel of the transformed weight, one for each of the 36 points.
//!
//! ```text
//! m[e][tile][0..2L] = sum over channels c of v[e][c / L][tile][c % L] * u[e][c][0..2L]
//! ```
//!
//! Where a point has several values of a tile, these are as many rows of its product. A register block is some rows by two
//! vectors; every operand that is broadcast lies at a constant offset from the one before it. Points with as many values
//! run in one call, so that a call costs nothing.

use std::ops::Range;

use super::PLANES;
use super::ahead::Ahead;
use super::tiling::Planes;
use crate::element::{CpuReal, V};
use crate::kernel::block::split;
use crate::simd::{Simd, SimdKernel, Vector};

/// Channels whose transformed weights are asked for ahead: they come from the third-level cache or from memory, and what the
/// hardware foresees ends with a page.
const AHEAD: usize = 96;

/// The operands.
#[derive(Clone, Copy)]
pub(super) struct Product<F: CpuReal> {
    pub(super) tiles: usize,
    /// Channels that are summed over, and whole blocks of those before them, whose sums are in `m`.
    pub(super) channels: usize,
    pub(super) summed: usize,
    /// Transformed inputs, all of their points.
    pub(super) v: *const F,
    pub(super) planes: Planes,
    /// The panel of the transformed weight, from the first of the channels on.
    pub(super) u: *const F,
    pub(super) u_point: usize,
    /// The results, all of their points.
    pub(super) m: *mut F,
    pub(super) products: Planes,
    /// Asked for in 36 pieces.
    pub(super) ahead: Ahead,
}

impl<F: CpuReal> Product<F> {
    /// Computes all points of `vectors` (1 or 2) vectors of output channels.
    ///
    /// # Safety
    /// `v` holds `tiles` tiles of all channels for each point, those before the first too, and `u` a panel of `vectors`
    /// vectors; nobody else uses the `tiles` tiles of `m`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S, vectors: usize) {
        let mut points = 0..PLANES;
        while !points.is_empty() {
            // Points with as many values run together, and so do register blocks of one size.
            let values = self.planes.values(points.start);
            let end = points.clone().find(|&point| self.planes.values(point) != values).unwrap_or(points.end);
            let mut blocks = split(self.tiles * values, S::PIXELS).peekable();
            while let Some((first, size)) = blocks.next() {
                let mut count = 1;
                while blocks.next_if(|&(_, next)| next == size).is_some() {
                    count += 1;
                }
                let points = points.start..end;
                macro_rules! go {
                    ($($r:literal)*) => {
                        match (vectors, size) {
                            $(
                                (2, $r) if const { $r <= S::PIXELS } => {
                                    simd.outline(SizedProduct::<F, 2, $r> { of: self, points, first, count });
                                }
                                (1, $r) if const { $r <= S::PIXELS } => {
                                    simd.outline(SizedProduct::<F, 1, $r> { of: self, points, first, count });
                                }
                            )*
                            _ => unreachable!("a register block of {size} tiles"),
                        }
                    };
                }
                go!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            }
            points.start = end;
        }
    }
}

/// `count` register blocks of R values of tiles, from value `first` on.
struct SizedProduct<F: CpuReal, const NV: usize, const R: usize> {
    of: Product<F>,
    points: Range<usize>,
    first: usize,
    count: usize,
}

impl<F: CpuReal, const NV: usize, const R: usize> SimdKernel for SizedProduct<F, NV, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SizedProduct { of: p, points, first, count } = self;
        let lanes = V::<F, S>::LANES;
        for point in points {
            if first == 0 {
                p.ahead.piece(simd, point);
            }
            let v_block = p.planes.block(point);
            // SAFETY: the caller of Product::run promises these operands.
            let (v_point, u_point, m_point) = unsafe {
                let (v, m) = (p.v.add(p.planes.start(point)), p.m.add(p.products.start(point)));
                (v.add(p.summed * v_block + first * lanes), p.u.add(point * p.u_point), m.add(first * 2 * lanes))
            };
            for block in 0..count {
                let mut acc = [[V::<F, S>::zero(simd); NV]; R];
                // SAFETY: the caller of Product::run promises these operands; blocks of channels are whole in v.
                unsafe {
                    let mut v = v_point.add(block * R * lanes);
                    let mut u = u_point;
                    let mut left = p.channels;
                    let m = m_point.add(block * R * 2 * lanes);
                    if p.summed > 0 {
                        for r in 0..R {
                            for i in 0..NV {
                                acc[r][i] = V::<F, S>::load(simd, m.add((r * 2 + i) * lanes));
                            }
                        }
                    }
                    while left > 0 {
                        let n = left.min(lanes);
                        // The next channels' tiles: lines too short and too far apart for the hardware to foresee.
                        for r in 0..R {
                            simd.prefetch(v.wrapping_add(v_block + r * lanes));
                        }
                        for c in 0..n {
                            let mut w = [V::<F, S>::zero(simd); NV];
                            for i in 0..NV {
                                w[i] = V::<F, S>::load(simd, u.add((c * NV + i) * lanes));
                                simd.prefetch(u.wrapping_add(((c + AHEAD) * NV + i) * lanes));
                            }
                            for r in 0..R {
                                let x = V::<F, S>::splat(simd, *v.add(r * lanes + c));
                                for i in 0..NV {
                                    acc[r][i] = x.mul_add(w[i], acc[r][i]);
                                }
                            }
                        }
                        v = v.add(v_block);
                        u = u.add(n * NV * lanes);
                        left -= n;
                    }
                    for r in 0..R {
                        for i in 0..NV {
                            acc[r][i].store(m.add((r * 2 + i) * lanes));
                        }
                    }
                }
            }
        }
    }
}

/// The products of V and D, summed over tiles: `du[e][c][0..2L] = sum over tiles of v[e][tile][c] * d[e][tile][0..2L]`.
///
/// A register block is some channels of v by two vectors of d; a last block of channels is computed whole, v being 0 there.
#[derive(Clone, Copy)]
pub(super) struct Outer<F: CpuReal> {
    pub(super) tiles: usize,
    /// Blocks of channels of v.
    pub(super) blocks: usize,
    /// V and D from their first channel on, all of their points.
    pub(super) v: *const F,
    pub(super) d: *const F,
    pub(super) planes: [Planes; 2],
    /// Blocks of channels before the first, of V and of D.
    pub(super) first: [usize; 2],
    /// `[36][blocks][L][vectors]`.
    pub(super) du: *mut F,
    pub(super) du_point: usize,
    /// Asked for in 36 pieces.
    pub(super) ahead: [Ahead; 2],
}

impl<F: CpuReal> Outer<F> {
    /// Computes `vectors` (1 or 2) vectors of the channels of d.
    ///
    /// # Safety
    /// `v` and `d` hold `tiles` tiles of these channels for all points, and nobody else uses `du`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S, vectors: usize) {
        let lanes = V::<F, S>::LANES;
        let rows = lanes / lanes.div_ceil(S::PIXELS);
        macro_rules! go {
            ($($r:literal)*) => {
                match (vectors, rows) {
                    $(
                        (2, $r) if const { $r <= S::PIXELS } => simd.outline(SizedOuter::<F, 2, $r>(self)),
                        (1, $r) if const { $r <= S::PIXELS } => simd.outline(SizedOuter::<F, 1, $r>(self)),
                    )*
                    _ => unreachable!("a register block of {rows} channels"),
                }
            };
        }
        go!(2 4 8);
    }

    /// The first elements of V and of D that are read at a point.
    #[inline(always)]
    fn first(&self, point: usize) -> [usize; 2] {
        let first = |i: usize| self.planes[i].start(point) + self.first[i] * self.planes[i].block(point);
        [first(0), first(1)]
    }
}

/// In register blocks of R channels, of which a block of channels has a whole number.
struct SizedOuter<F: CpuReal, const NV: usize, const R: usize>(Outer<F>);

impl<F: CpuReal, const NV: usize, const R: usize> SimdKernel for SizedOuter<F, NV, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let o = self.0;
        let lanes = V::<F, S>::LANES;
        for point in 0..PLANES {
            for ahead in &o.ahead {
                ahead.piece(simd, point);
            }
            let values = o.planes[0].values(point);
            let [v_block, d_block] = [0, 1].map(|i| o.planes[i].block(point));
            // The first elements of V and of D, at this point and at the next.
            let [v_first, d_first] = o.first(point);
            let [v_next, d_next] = o.first(point + 1);
            for unit in 0..o.blocks * (lanes / R) {
                let (block, row) = (unit * R / lanes, unit * R % lanes);
                let mut acc = [[V::<F, S>::zero(simd); NV]; R];
                // SAFETY: the caller of Outer::run promises these operands; a prefetch may go anywhere.
                unsafe {
                    let mut v = o.v.add(v_first + block * v_block + row);
                    let mut d = o.d.add(d_first);
                    // Each register block brings near one line of tiles of the next point.
                    let mut next = if unit < NV {
                        o.d.wrapping_add(d_next + unit * d_block)
                    } else {
                        o.v.wrapping_add(v_next + (unit - NV) * v_block)
                    };
                    for _ in 0..o.tiles * values {
                        let mut w = [V::<F, S>::zero(simd); NV];
                        for i in 0..NV {
                            w[i] = V::<F, S>::load(simd, d.add(i * d_block));
                        }
                        simd.prefetch(next);
                        for r in 0..R {
                            let x = V::<F, S>::splat(simd, *v.add(r));
                            for i in 0..NV {
                                acc[r][i] = x.mul_add(w[i], acc[r][i]);
                            }
                        }
                        v = v.add(lanes);
                        d = d.add(lanes);
                        next = next.wrapping_add(lanes);
                    }
                    let du = o.du.add(point * o.du_point + unit * R * NV * lanes);
                    for r in 0..R {
                        for i in 0..NV {
                            acc[r][i].store(du.add((r * NV + i) * lanes));
                        }
                    }
                }
            }
        }
    }
}
