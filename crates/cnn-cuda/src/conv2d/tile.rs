//! Which tiles a product is computed in.

use cnn_core::{DType, Element};

use crate::compiler::Precision;

/// A tile of `kernels/tiles.cuh`, or of `kernels/conv2d_halo.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// 128 rows and columns.
    Large,
    /// 128 rows, 64 columns: for few channels.
    Narrow,
    /// 64 rows and columns: for small products, which would fill few multiprocessors.
    Small,
    /// The same, element by element: for channels that are no whole chunks of 16 bytes.
    Any,
    /// 256 pixels with their halo, 128 columns: for taps one pixel apart.
    Halo,
    /// The same with 64 columns: for few channels.
    NarrowHalo,
}

/// Blocks that keep the GPUs of today busy, two on a multiprocessor. A constant: where sums are cut decides their bits.
pub(crate) const BUSY: usize = 264;

/// The most rows and columns of taps that kernels have bits for: as in `kernels/conv2d.cuh`.
const MASKED: usize = 16;

impl Tile {
    /// Rows and columns.
    pub(crate) fn sides(self) -> (usize, usize) {
        match self {
            Tile::Large => (128, 128),
            Tile::Narrow => (128, 64),
            Tile::Small | Tile::Any => (64, 64),
            Tile::Halo => (256, 128),
            Tile::NarrowHalo => (256, 64),
        }
    }

    fn is_halo(self) -> bool {
        matches!(self, Tile::Halo | Tile::NarrowHalo)
    }

    /// The tile for products of `rows` by `columns`, of which there are `products`, and that gathers its pixels under so many rows
    /// and columns of `taps`; `wanted` is one that a test has asked for.
    pub(crate) fn choose<T: Element>(
        wanted: Option<Tile>,
        products: usize,
        rows: usize,
        columns: usize,
        channels: [usize; 2],
        taps: [usize; 2],
    ) -> Self {
        let many = taps.into_iter().any(|taps| taps > MASKED);
        if many || channels.iter().any(|channels| channels % chunk::<T>() != 0) {
            return Tile::Any;
        }
        let busy = |tile: &Tile| products * tile.blocks(rows, columns) >= BUSY / 2;
        let fitting = if columns > 64 { [Tile::Large, Tile::Narrow] } else { [Tile::Narrow, Tile::Small] };
        wanted.filter(|tile| !tile.is_halo()).or_else(|| fitting.into_iter().find(busy)).unwrap_or(Tile::Small)
    }

    /// The tiles whose pixels are gathered for each tap, or the one of them that a test has asked for.
    pub(super) fn gathering(wanted: Option<Tile>) -> Vec<Tile> {
        match wanted {
            Some(tile) if !tile.is_halo() => vec![tile],
            _ => vec![Tile::Large, Tile::Narrow, Tile::Small],
        }
    }

    /// Blocks of a product.
    pub(crate) fn blocks(self, rows: usize, columns: usize) -> usize {
        let (m, n) = self.sides();
        rows.div_ceil(m) * columns.div_ceil(n)
    }

    /// Threads of a block.
    pub(crate) fn threads(self, dtype: DType) -> usize {
        match self {
            Tile::Halo => 256,
            Tile::Large if dtype == DType::F32 => 256,
            _ => 128,
        }
    }

    /// Steps of the sum whose operands are in shared memory at once.
    pub(super) const STAGES: usize = 3;

    /// Places of the sum in a step: 128 bytes of each row of an operand.
    pub(super) fn step<T: Element>() -> usize {
        128 / size_of::<T>()
    }

    /// About how long a step takes on a multiprocessor of a large GPU that has nothing else to do, by what was measured on an H200.
    pub(super) fn step_ns(self, precision: Precision) -> f64 {
        let (m, n) = self.sides();
        let (places, gflop_s) = match precision {
            Precision::Bf16 => (64, 2500.0),
            Precision::Tf32 => (32, 1000.0),
            Precision::F32 => (32, 300.0),
        };
        // A smaller tile reads more of shared memory for each product.
        let part = match self {
            Tile::Large => 1.0,
            Tile::Narrow => 0.8,
            Tile::Small | Tile::Any => 0.55,
            // By warpgroups 1.4 to 1.7 were measured, of 64 columns 1.0 (of 64 columns gathered 0.6).
            Tile::Halo => 1.4,
            Tile::NarrowHalo => 1.3,
        };
        (2 * m * n * places) as f64 / (part * gflop_s)
    }

    /// Bytes of the operands of a step that are in a stage: both, or the right one where the left one is elsewhere.
    pub(super) fn stage_bytes(self) -> usize {
        let (m, n) = self.sides();
        if self.is_halo() { n * 128 } else { (m + n) * 128 }
    }

    /// Bytes of the tile in f32, with what adds up its columns and the places of its rows.
    pub(super) fn tile_bytes<T: Element>(self) -> usize {
        let (m, n) = self.sides();
        let lines = self.threads(T::DTYPE) / (n / chunk::<T>());
        (m * (n + 8) + (lines + 1) * n) * size_of::<f32>() + m * size_of::<i64>()
    }

    /// Bytes of shared memory: the stages, and where they were the tile.
    pub(crate) fn shared_bytes<T: Element>(self) -> usize {
        (Self::STAGES * self.stage_bytes()).max(self.tile_bytes::<T>())
    }

    /// The same for the gradient of a weight, whose kernels have a table of the pixels of some steps behind the stages.
    pub(crate) fn weight_shared_bytes<T: Element>(self) -> usize {
        let table = (Self::STAGES - 1) * Self::step::<T>() * 4 * size_of::<i32>();
        (Self::STAGES * self.stage_bytes() + table).max(self.tile_bytes::<T>())
    }

    /// Its kernel of a pass.
    pub(crate) fn name(self, [large, narrow, small, any]: [&'static str; 4]) -> &'static str {
        match self {
            Tile::Large => large,
            Tile::Narrow => narrow,
            Tile::Small => small,
            Tile::Any => any,
            Tile::Halo | Tile::NarrowHalo => unreachable!("their kernels have names of their own"),
        }
    }
}

/// Elements of 16 bytes.
pub(super) fn chunk<T: Element>() -> usize {
    16 / size_of::<T>()
}
