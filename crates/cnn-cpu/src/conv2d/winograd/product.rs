//! The products of a block of tiles with a panel of the transformed weight, one for each of the 36 points.
//!
//! ```text
//! m[e][tile][0..2L] = sum over channels c of v[e][c / L][tile][c % L] * u[e][c][0..2L]
//! ```
//!
//! A register block is some tiles by two vectors; every operand that is broadcast lies at a constant offset from the one
//! before it. All points run in one call, so that a call costs nothing.

use super::super::block::split;
use super::PLANES;
use super::ahead::Ahead;
use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};

/// The operands for `points` points.
#[derive(Clone, Copy)]
pub(super) struct Product<T: CpuElement> {
    pub(super) points: usize,
    pub(super) tiles: usize,
    pub(super) channels: usize,
    /// Transformed inputs: elements from one point to the next and from one block of channels to the next.
    pub(super) v: *const T::Accum,
    pub(super) v_point: usize,
    pub(super) v_block: usize,
    /// The panel of the transformed weight.
    pub(super) u: *const T::Accum,
    pub(super) u_point: usize,
    /// The result.
    pub(super) m: *mut T::Accum,
    pub(super) m_point: usize,
    /// Asked for in `points` pieces.
    pub(super) ahead: Ahead<T>,
}

impl<T: CpuElement> Product<T> {
    /// Computes `vectors` (1 or 2) vectors of output channels.
    ///
    /// # Safety
    /// `v` holds `tiles` tiles of all channels for each point, `u` a panel of `vectors` vectors, and nobody else uses
    /// the `tiles` rows of `vectors` vectors of `m`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S, vectors: usize) {
        let lanes = V::<T, S>::LANES;
        // Register blocks of one size run together; a schedule whose tiles divide evenly has but one size.
        let mut blocks = split(self.tiles, S::PIXELS).peekable();
        while let Some((first, size)) = blocks.next() {
            let mut count = 1;
            while blocks.next_if(|&(_, next)| next == size).is_some() {
                count += 1;
            }
            // SAFETY: the blocks are tiles of the operands.
            let (v, m) = unsafe { (self.v.add(first * lanes), self.m.add(first * vectors * lanes)) };
            let ahead = if first == 0 { self.ahead } else { Ahead::NONE };
            let product = Product { v, m, ahead, ..self };
            macro_rules! go {
                ($($r:literal)*) => {
                    match (vectors, size) {
                        $(
                            (2, $r) if const { $r <= S::PIXELS } => simd.outline(Sized::<T, 2, $r>(product, count)),
                            (1, $r) if const { $r <= S::PIXELS } => simd.outline(Sized::<T, 1, $r>(product, count)),
                        )*
                        _ => unreachable!("a register block of {size} tiles"),
                    }
                };
            }
            go!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }
}

/// `count` register blocks of R tiles.
struct Sized<T: CpuElement, const NV: usize, const R: usize>(Product<T>, usize);

impl<T: CpuElement, const NV: usize, const R: usize> Kernel for Sized<T, NV, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sized(p, count) = self;
        let lanes = V::<T, S>::LANES;
        for point in 0..p.points {
            p.ahead.piece(simd, point);
            for block in 0..count {
                let mut acc = [[V::<T, S>::zero(simd); NV]; R];
                // SAFETY: the caller of Product::run promises these operands; blocks of channels are whole in v.
                unsafe {
                    let mut v = p.v.add(point * p.v_point + block * R * lanes);
                    let mut u = p.u.add(point * p.u_point);
                    let mut left = p.channels;
                    while left > 0 {
                        let n = left.min(lanes);
                        // The next channels' tiles: lines too short and too far apart for the hardware to foresee.
                        for r in 0..R {
                            simd.prefetch(v.wrapping_add(p.v_block + r * lanes));
                        }
                        for c in 0..n {
                            let mut w = [V::<T, S>::zero(simd); NV];
                            for i in 0..NV {
                                w[i] = V::<T, S>::load(simd, u.add((c * NV + i) * lanes));
                            }
                            for r in 0..R {
                                let x = V::<T, S>::splat(simd, *v.add(r * lanes + c));
                                for i in 0..NV {
                                    acc[r][i] = x.mul_add(w[i], acc[r][i]);
                                }
                            }
                        }
                        v = v.add(p.v_block);
                        u = u.add(n * NV * lanes);
                        left -= n;
                    }
                    let m = p.m.add(point * p.m_point + block * R * NV * lanes);
                    for r in 0..R {
                        for i in 0..NV {
                            acc[r][i].store(m.add((r * NV + i) * lanes));
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
pub(super) struct Outer<T: CpuElement> {
    pub(super) tiles: usize,
    /// Blocks of channels of v.
    pub(super) blocks: usize,
    pub(super) v: *const T::Accum,
    pub(super) v_point: usize,
    pub(super) v_block: usize,
    pub(super) d: *const T::Accum,
    pub(super) d_point: usize,
    pub(super) d_block: usize,
    /// `[36][blocks][L][vectors]`.
    pub(super) du: *mut T::Accum,
    pub(super) du_point: usize,
    /// Asked for in 36 pieces.
    pub(super) ahead: [Ahead<T>; 2],
}

impl<T: CpuElement> Outer<T> {
    /// Computes `vectors` (1 or 2) vectors of the channels of d.
    ///
    /// # Safety
    /// `v` and `d` hold `tiles` tiles of these channels for all points, and nobody else uses `du`.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S, vectors: usize) {
        let lanes = V::<T, S>::LANES;
        let rows = lanes / lanes.div_ceil(S::PIXELS);
        macro_rules! go {
            ($($r:literal)*) => {
                match (vectors, rows) {
                    $(
                        (2, $r) if const { $r <= S::PIXELS } => simd.outline(SizedOuter::<T, 2, $r>(self)),
                        (1, $r) if const { $r <= S::PIXELS } => simd.outline(SizedOuter::<T, 1, $r>(self)),
                    )*
                    _ => unreachable!("a register block of {rows} channels"),
                }
            };
        }
        go!(2 4 8);
    }
}

/// In register blocks of R channels, of which a block of channels has a whole number.
struct SizedOuter<T: CpuElement, const NV: usize, const R: usize>(Outer<T>);

impl<T: CpuElement, const NV: usize, const R: usize> Kernel for SizedOuter<T, NV, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let o = self.0;
        let lanes = V::<T, S>::LANES;
        for point in 0..PLANES {
            for ahead in &o.ahead {
                ahead.piece(simd, point);
            }
            for unit in 0..o.blocks * (lanes / R) {
                let (block, row) = (unit * R / lanes, unit * R % lanes);
                let mut acc = [[V::<T, S>::zero(simd); NV]; R];
                // SAFETY: the caller of Outer::run promises these operands; a prefetch may go anywhere.
                unsafe {
                    let mut v = o.v.add(point * o.v_point + block * o.v_block + row);
                    let mut d = o.d.add(point * o.d_point);
                    // Each register block brings near one line of tiles of the next point.
                    let mut next = if unit < NV {
                        d.wrapping_add(o.d_point + unit * o.d_block)
                    } else {
                        o.v.wrapping_add((point + 1) * o.v_point + (unit - NV) * o.v_block)
                    };
                    for _ in 0..o.tiles {
                        let mut w = [V::<T, S>::zero(simd); NV];
                        for i in 0..NV {
                            w[i] = V::<T, S>::load(simd, d.add(i * o.d_block));
                        }
                        simd.prefetch(next);
                        for r in 0..R {
                            let x = V::<T, S>::splat(simd, *v.add(r));
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
