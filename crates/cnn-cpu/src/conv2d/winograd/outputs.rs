//! The points of products back to tiles of the output, with what is wanted of them while they are in registers.

use std::ops::Range;

use cnn_core::Real;
use num_traits::One;

use super::matrices::{self, ColumnsDone, SIDE};
use super::tiling::{Planes, Stride, TilePosition, Tiling};
use crate::element::{CpuElement, V};
use crate::kernel::epilogue::Finish;
use crate::machine::LINE;
use crate::simd::{Simd, SimdKernel, Vector};

/// Writes the outputs of `tiles` from one panel of products.
pub(super) struct Outputs<T: CpuElement> {
    pub(super) tiling: Tiling,
    pub(super) tiles: Range<usize>,
    pub(super) vectors: usize,
    pub(super) m: *const T::Accum,
    pub(super) products: Planes,
    /// The output from the panel's first channel on, its channels, and how many of them are written.
    pub(super) y: *mut T,
    pub(super) channels: usize,
    pub(super) write: usize,
    /// Whether the output is too large to stay in a cache.
    pub(super) large: bool,
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
        match self.tiling.stride {
            Stride::One => simd.outline(Tiles::<T, 6, 4>(self)),
            Stride::Two => simd.outline(Tiles::<T, 9, 4>(self)),
            Stride::Half => simd.outline(Tiles::<T, 9, 8>(self)),
        }
    }

    /// The first element of a tile in the first of the channels.
    #[inline(always)]
    fn first(&self, TilePosition { image, at: [top, left] }: TilePosition) -> usize {
        let [height, width] = self.tiling.to;
        ((image * height + top) * width + left) * self.channels
    }
}

/// Tiles of O x O outputs, of P x P values.
struct Tiles<T: CpuElement, const P: usize, const O: usize>(Outputs<T>);

impl<T: CpuElement, const P: usize, const O: usize> Tiles<T, P, O> {
    /// Lines of 16 outputs.
    const LINES: usize = 16 / O;
}

impl<T: CpuElement, const P: usize, const O: usize> SimdKernel for Tiles<T, P, O> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tiles(of) = self;
        let lanes = V::<T, S>::LANES;
        let [height, width] = of.tiling.to;
        let zero = V::<T, S>::zero(simd);
        // Whole lines only: the other half of a line would be written much later.
        let lines = lanes * size_of::<T>() == LINE && of.y.addr() % LINE == 0 && of.channels % lanes == 0;
        let stream = of.large && lines;
        for v in 0..of.vectors {
            let n = lanes.min(of.write - v * lanes);
            // SAFETY: the caller of Outputs::run promises products, outputs and moments; what lies outside of the image
            // or past the last channel is not touched.
            unsafe {
                let bias = match of.finish.bias {
                    Some(bias) => V::<T, S>::load_head(simd, bias.add(v * lanes), n),
                    None => zero,
                };
                let mut place = of.tiling.position(of.tiles.start);
                // Sums of deviations from the first pixel: near enough to the mean for one pass to be exact enough.
                let mut moments = Sums::<T, S> { origin: zero, sum: zero, squares: zero, pixels: 0 };
                for tile in 0..of.tiles.len() {
                    // The lines that the next tile writes; what is near is stored without waiting.
                    let following = of.tiling.next(place);
                    let soon = of.first(following) + v * lanes;
                    for i in 0..if stream { 0 } else { O } {
                        for j in 0..O {
                            simd.prefetch(of.y.wrapping_add(soon + (i * width + j) * of.channels));
                        }
                    }
                    let mut half = ColumnsDone::new();
                    for j in 0..P {
                        let mut d = [zero; P];
                        for i in 0..P {
                            let at = of.products.at(P, i, j, tile) + v * lanes;
                            d[i] = V::<T, S>::load(simd, of.m.add(at));
                        }
                        half.set(j, matrices::outputs::<T, S, P, O>(simd, d));
                    }
                    let [top, left] = place.at;
                    let at = of.first(place) + v * lanes;
                    let (rows, columns) = (O.min(height - top), O.min(width - left));
                    let whole = rows == O && columns == O && n == lanes;
                    // Some lines at a time, which stay in registers.
                    for first in (0..O).step_by(Self::LINES) {
                        let mut tile = [[zero; O]; SIDE];
                        for i in 0..Self::LINES {
                            let line = matrices::outputs::<T, S, P, O>(simd, half.row(first + i));
                            for j in 0..O {
                                tile[i][j] = line[j].add(bias);
                            }
                        }
                        // The element of y, and of the residual, in line i and column j.
                        macro_rules! at {
                            ($i:expr, $j:expr) => {
                                at + ((first + $i) * width + $j) * of.channels
                            };
                        }
                        // A whole tile is stored by loops over constants, and all at once.
                        if whole {
                            for i in 0..Self::LINES {
                                for j in 0..O {
                                    if let Some(residual) = of.finish.residual {
                                        tile[i][j] = T::load(simd, residual.add(at!(i, j))).add(tile[i][j]);
                                    }
                                    if of.finish.relu {
                                        tile[i][j] = tile[i][j].max(zero);
                                    }
                                    if stream {
                                        T::stream::<S>(tile[i][j], of.y.add(at!(i, j)));
                                    } else {
                                        T::store::<S>(tile[i][j], of.y.add(at!(i, j)));
                                    }
                                }
                            }
                            if of.moments.is_some() {
                                for i in 0..Self::LINES {
                                    for j in 0..O {
                                        if const { size_of::<T>() < size_of::<T::Accum>() } {
                                            tile[i][j] = T::load(simd, of.y.add(at!(i, j))); // as it was rounded
                                        }
                                    }
                                    moments.add(tile[i]);
                                }
                            }
                            continue;
                        }
                        let copy = tile;
                        for i in 0..Self::LINES.min(rows.saturating_sub(first)) {
                            for j in 0..columns {
                                let mut value = copy[i][j];
                                if let Some(residual) = of.finish.residual {
                                    value = T::load_head(simd, residual.add(at!(i, j)), n).add(value);
                                }
                                if of.finish.relu {
                                    value = value.max(zero);
                                }
                                T::store_head::<S>(value, of.y.add(at!(i, j)), n);
                                moments.add_one(T::load_head(simd, of.y.add(at!(i, j)), n));
                            }
                        }
                    }
                    place = following;
                }
                if let Some([mean, squares]) = of.moments {
                    let [m, s] = moments.finish(simd);
                    m.store_head(mean.add(v * lanes), n);
                    s.store_head(squares.add(v * lanes), n);
                }
            }
        }
        if stream {
            simd.fence();
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
    /// Adds a line of pixels, of which there is an even number.
    #[inline(always)]
    fn add<const O: usize>(&mut self, line: [V<T, S>; O]) {
        if self.pixels == 0 {
            self.origin = line[0];
        }
        for j in (0..O).step_by(2) {
            let [d, e] = [line[j].sub(self.origin), line[j + 1].sub(self.origin)];
            self.sum = self.sum.add(d.add(e));
            self.squares = self.squares.add(d.mul_add(d, e.mul(e)));
        }
        self.pixels += O;
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
