//! The points of products back to tiles of the output, with what is wanted of them while they are in registers.

use std::ops::Range;

use cnn_core::Real;
use num_traits::One;

use super::super::epilogue::Finish;
use super::matrices::{self, POINTS, SIDE};
use super::{Place, Tiling};
use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};

/// Writes the outputs of `tiles` from one panel of products `m`, `[36][tiles][vectors]`.
pub(super) struct Outputs<T: CpuElement> {
    pub(super) tiling: Tiling,
    pub(super) tiles: Range<usize>,
    pub(super) vectors: usize,
    pub(super) m: *const T::Accum,
    pub(super) m_point: usize,
    /// The output from the panel's first channel on, its channels, and how many of them are written.
    pub(super) y: *mut T,
    pub(super) channels: usize,
    pub(super) write: usize,
    /// What follows, from `y` on.
    pub(super) finish: Finish<T>,
    /// Where the means of what was written go, and the sums of squared deviations from them.
    pub(super) moments: Option<[*mut T::Accum; 2]>,
}

impl<T: CpuElement> Outputs<T> {
    /// # Safety
    /// `m` holds the products; nobody else uses these tiles and channels of the output or the moments.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(self, simd: S) {
        simd.outline(self);
    }
}

impl<T: CpuElement> Kernel for Outputs<T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = V::<T, S>::LANES;
        let [height, width] = self.tiling.to;
        let zero = V::<T, S>::zero(simd);
        for v in 0..self.vectors {
            let n = lanes.min(self.write - v * lanes);
            // SAFETY: the caller of Outputs::run promises products, outputs and moments; what lies outside of the image
            // or past the last channel is not touched.
            unsafe {
                let bias = match self.finish.bias {
                    Some(bias) => V::<T, S>::load_head(simd, bias.add(v * lanes), n),
                    None => zero,
                };
                let mut m = self.m.add(v * lanes);
                let mut place = self.tiling.place(self.tiles.start);
                // Sums of deviations from the first pixel: near enough to the mean for one pass to be exact enough.
                let mut moments = Sums::<T, S> { origin: zero, sum: zero, squares: zero, pixels: 0 };
                for _ in self.tiles.clone() {
                    let mut half = [[zero; POINTS]; SIDE];
                    for j in 0..POINTS {
                        let mut d = [zero; POINTS];
                        for i in 0..POINTS {
                            d[i] = V::<T, S>::load(simd, m.add((i * POINTS + j) * self.m_point));
                        }
                        let line = matrices::output::<T, S>(simd, d);
                        for i in 0..SIDE {
                            half[i][j] = line[i];
                        }
                    }
                    let mut tile = [[zero; SIDE]; SIDE];
                    for i in 0..SIDE {
                        let line = matrices::output::<T, S>(simd, half[i]);
                        for j in 0..SIDE {
                            tile[i][j] = line[j].add(bias);
                        }
                    }
                    let Place { image, at: [top, left] } = place;
                    let pixel = (image * height + top) * width + left;
                    let at = pixel * self.channels + v * lanes;
                    let (rows, columns) = (SIDE.min(height - top), SIDE.min(width - left));
                    // The element of y, and of the residual, in row i and column j.
                    macro_rules! at {
                        ($i:expr, $j:expr) => {
                            at + ($i * width + $j) * self.channels
                        };
                    }
                    // Loops over constant ranges for a whole tile, which then stays in registers.
                    if rows == SIDE && columns == SIDE && n == lanes {
                        for i in 0..SIDE {
                            for j in 0..SIDE {
                                if let Some(residual) = self.finish.residual {
                                    tile[i][j] = T::load(simd, residual.add(at!(i, j))).add(tile[i][j]);
                                }
                                if self.finish.relu {
                                    tile[i][j] = tile[i][j].max(zero);
                                }
                                T::store::<S>(tile[i][j], self.y.add(at!(i, j)));
                            }
                        }
                        if self.moments.is_some() {
                            for i in 0..SIDE {
                                for j in 0..SIDE {
                                    if const { size_of::<T>() < size_of::<T::Accum>() } {
                                        tile[i][j] = T::load(simd, self.y.add(at!(i, j))); // as it was rounded
                                    }
                                }
                            }
                            moments.add(tile);
                        }
                    } else {
                        let copy = tile;
                        for i in 0..rows {
                            for j in 0..columns {
                                let mut value = copy[i][j];
                                if let Some(residual) = self.finish.residual {
                                    value = T::load_head(simd, residual.add(at!(i, j)), n).add(value);
                                }
                                if self.finish.relu {
                                    value = value.max(zero);
                                }
                                T::store_head::<S>(value, self.y.add(at!(i, j)), n);
                                moments.add_one(T::load_head(simd, self.y.add(at!(i, j)), n));
                            }
                        }
                    }
                    m = m.add(self.vectors * lanes);
                    place = self.tiling.next(place);
                }
                if let Some([mean, squares]) = self.moments {
                    let [m, s] = moments.finish(simd);
                    m.store_head(mean.add(v * lanes), n);
                    s.store_head(squares.add(v * lanes), n);
                }
            }
        }
    }
}

/// Sums of deviations from the first of some values, and of their squares.
struct Sums<T: CpuElement, S: Simd> {
    origin: V<T, S>,
    sum: V<T, S>,
    squares: V<T, S>,
    pixels: usize,
}

impl<T: CpuElement, S: Simd> Sums<T, S> {
    /// Adds the pixels of a whole tile.
    #[inline(always)]
    fn add(&mut self, tile: [[V<T, S>; SIDE]; SIDE]) {
        if self.pixels == 0 {
            self.origin = tile[0][0];
        }
        for line in tile {
            let mut d = line;
            for j in 0..SIDE {
                d[j] = line[j].sub(self.origin);
            }
            self.sum = self.sum.add(d[0].add(d[1]).add(d[2].add(d[3])));
            let squares = d[0].mul_add(d[0], d[1].mul(d[1])).add(d[2].mul_add(d[2], d[3].mul(d[3])));
            self.squares = self.squares.add(squares);
        }
        self.pixels += SIDE * SIDE;
    }

    /// Adds one pixel.
    #[inline(always)]
    fn add_one(&mut self, value: V<T, S>) {
        if self.pixels == 0 {
            self.origin = value;
        }
        let d = value.sub(self.origin);
        self.sum = self.sum.add(d);
        self.squares = d.mul_add(d, self.squares);
        self.pixels += 1;
    }

    /// The mean, and the sum of squared deviations from it.
    #[inline(always)]
    fn finish(self, simd: S) -> [V<T, S>; 2] {
        let mean =
            self.sum.mul(V::<T, S>::splat(simd, T::Accum::one() / T::Accum::from_f64(self.pixels.max(1) as f64)));
        // Not below 0 by rounding.
        let squares = mean.neg_mul_add(self.sum, self.squares).max(V::<T, S>::zero(simd));
        [self.origin.add(mean), squares]
    }
}
