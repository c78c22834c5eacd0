//! The forward pass and the gradient of the input, in tiles of `kernels/conv2d_halo.cu`.

use cnn_core::{Element, Result};

use super::line::{Direction, Line, Pass};
use crate::buffer::Buffer;
use crate::compiler::{Precision, Source, source};
use crate::conv2d::operands::EpilogueArgument;
use crate::conv2d::shape::Shape;
use crate::conv2d::split::{Blocks, Cut};
use crate::conv2d::tile::Tile;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("conv2d_halo");

/// Fewer taps read a pixel too seldom for a halo to be worth its copy; and the next slice comes with the steps of one.
const FEWEST_TAPS: usize = 3;

/// Steps of the sum whose weight is in shared memory at once: as in the kernel, by warps and by warpgroups.
const STAGES: [usize; 2] = [3, 4];

/// A pass with its tile.
#[derive(Clone, Copy, Debug)]
pub(in crate::conv2d) struct Halo {
    line: Line,
    pass: Pass,
    direction: Direction,
    /// The tile: of pixels with their halo.
    pub(in crate::conv2d) tile: Tile,
    shared: usize,
    /// How many nanoseconds it is estimated to take.
    pub(in crate::conv2d) ns: f64,
}

impl Halo {
    /// The pass in the tile that suits it. None where it has to be computed otherwise: without tensor cores, of channels that
    /// are no whole chunks, with strides or few taps, or where the pixels do not fit in this GPU's shared memory.
    ///
    /// # Errors
    /// What the driver says.
    pub(in crate::conv2d) fn new<T: CudaElement>(
        cuda: &Cuda<T>,
        shape: &Shape,
        direction: Direction,
    ) -> Result<Option<Self>> {
        let Some(pass) = Pass::new(shape, direction).filter(|_| cuda.numbers() != Precision::F32) else {
            return Ok(None);
        };
        let tile = match cuda.tile() {
            Some(wanted @ (Tile::Halo | Tile::NarrowHalo)) => wanted,
            None if pass.width > 64 => Tile::Halo,
            None => Tile::NarrowHalo,
            Some(_) => return Ok(None),
        };
        let (stages, most) = (STAGES[usize::from(cuda.has_warpgroups())], cuda.about().shared_memory);
        let Some(mut halo) = Self::laid_out::<T>(pass, direction, tile, stages, most) else {
            return Ok(None);
        };
        let (step, step_ns) = (Tile::step::<T>(), tile.step_ns(cuda.numbers()));
        let steps = pass.depth.div_ceil(step) * pass.taps[0] * pass.taps[1];
        let blocks = tile.blocks(pass.pixels(), pass.width) * pass.groups;
        let sum = Cut { steps, step, blocks, len: 0, step_ns };
        let threads = tile.threads(T::DTYPE);
        halo.ns = sum.whole_ns(cuda, Blocks { source: SOURCE, name: halo.kernel(), shared: halo.shared, threads })?;
        Ok(Some(halo))
    }

    fn laid_out<T: Element>(
        pass: Pass,
        direction: Direction,
        tile: Tile,
        stages: usize,
        most_shared: usize,
    ) -> Option<Self> {
        let line = Line::new::<T>(&pass, tile.sides().0)?;
        let operands = line.rooms as usize * line.room_bytes() + stages * tile.stage_bytes() + line.table_bytes();
        let shared = operands.max(tile.tile_bytes::<T>());
        let few = pass.taps[0] * pass.taps[1] < FEWEST_TAPS;
        (!few && shared <= most_shared).then_some(Halo { line, pass, direction, tile, shared, ns: 0.0 })
    }

    fn kernel(&self) -> &'static str {
        match (self.direction, self.tile) {
            (Direction::Forward, Tile::Halo) => "halo_forward_large",
            (Direction::Forward, _) => "halo_forward_narrow",
            (Direction::Data, Tile::Halo) => "halo_data_large",
            (Direction::Data, _) => "halo_data_narrow",
        }
    }

    /// Computes it.
    ///
    /// # Safety
    /// `x` and `weight` are what the pass reads, `y` is what it computes and nobody expects it unchanged, and the epilogue's
    /// operands are those of `y`: the lengths are the shape's.
    ///
    /// # Errors
    /// What the driver says.
    pub(in crate::conv2d) unsafe fn run<T: CudaElement>(
        &self,
        cuda: &Cuda<T>,
        x: &Buffer<T>,
        weight: &Buffer<T>,
        epilogue: EpilogueArgument,
        y: &Buffer<T>,
    ) -> Result<()> {
        let (name, pass) = (self.kernel(), self.pass);
        let launch = cuda.kernel_with(SOURCE, name, self.shared)?.value(self.line).buffer(x).buffer(weight);
        let launch = launch.value(epilogue).buffer(y).value(pass.width as i32);
        let blocks = self.tile.blocks(pass.pixels(), pass.width);
        // SAFETY: the caller's promise; places beyond an image are not read, and those of a tile fit in its shared memory.
        unsafe { launch.on([blocks, 1, pass.groups], self.tile.threads(T::DTYPE)) }
    }
}
