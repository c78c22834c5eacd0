//! The gradient of the weight, see `kernels/conv2d_halo_weight.cu`.

use cnn_core::Result;

use super::line::{Direction, Line, Pass};
use crate::buffer::Buffer;
use crate::compiler::{Precision, Source, source};
use crate::conv2d::shape::Shape;
use crate::conv2d::split::{Blocks, Cut, Parts};
use crate::conv2d::tile::Tile;
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("conv2d_halo_weight");

/// Rows and columns of taps, channels of a block, pixels of a step, threads and stages: as in the kernel.
const SIDE: usize = 3;
const CHANNELS: usize = 64;
const PIXELS: usize = 128;
const THREADS: usize = 384;
const STAGES: usize = 3;

/// GFLOP/s of a multiprocessor, about: 3000 were measured on an H200, and less than half of that where pixels are gathered.
const GFLOP_S: f64 = 3500.0;

/// The pass, and how its sum is cut.
#[derive(Clone, Copy, Debug)]
pub(in crate::conv2d) struct HaloWeight {
    line: Line,
    pass: Pass,
    shared: usize,
    pub(in crate::conv2d) parts: Parts,
}

impl HaloWeight {
    /// None where it has to be computed otherwise: in another precision than bf16, with other taps than 3x3, strides, channels
    /// that are no whole chunks, or where the pixels do not fit in this GPU's shared memory.
    ///
    /// # Errors
    /// What the driver says.
    pub(in crate::conv2d) fn new<T: CudaElement>(cuda: &Cuda<T>, shape: &Shape) -> Result<Option<Self>> {
        let wanted = cuda.tile().is_none_or(|tile| matches!(tile, Tile::Halo | Tile::NarrowHalo));
        if !wanted || cuda.numbers() != Precision::Bf16 || shape.kernel() != [SIDE; 2] {
            return Ok(None);
        }
        let Some(pass) = Pass::new(shape, Direction::Forward) else { return Ok(None) };
        let Some(line) = Line::new::<T>(&pass, PIXELS) else { return Ok(None) };
        let tables = (STAGES + 1) * (line.table_bytes() + PIXELS * size_of::<i32>());
        let shared = STAGES * (line.room_bytes() + PIXELS * CHANNELS * size_of::<T>()) + tables;
        if shared > cuda.about().shared_memory {
            return Ok(None);
        }
        let [_, len, _] = shape.lens();
        let step_ns = (2 * SIDE * SIDE * CHANNELS * CHANNELS * PIXELS) as f64 / GFLOP_S;
        let blocks = Self::blocks(&pass) * pass.groups;
        let sum = Cut { steps: pass.pixels().div_ceil(PIXELS), step: PIXELS, blocks, len, step_ns };
        let kernel = Blocks { source: SOURCE, name: "halo_weight", shared, threads: THREADS };
        Ok(Some(HaloWeight { line, pass, shared, parts: sum.quickest(cuda, kernel)? }))
    }

    fn blocks(pass: &Pass) -> usize {
        pass.depth.div_ceil(CHANNELS) * pass.width.div_ceil(CHANNELS)
    }

    /// Computes the sums of each part.
    ///
    /// # Safety
    /// `x` and `dy` are what the pass reads, `sums` has room for as many weights as there are parts, and nobody expects it
    /// unchanged: the lengths are the shape's.
    ///
    /// # Errors
    /// What the driver says.
    pub(in crate::conv2d) unsafe fn run<T: CudaElement>(
        &self,
        cuda: &Cuda<T>,
        x: &Buffer<T>,
        dy: &Buffer<T>,
        sums: &Buffer<f32>,
    ) -> Result<()> {
        let (pass, steps) = (&self.pass, self.parts.places / PIXELS);
        let launch = cuda.kernel_with(SOURCE, "halo_weight", self.shared)?.value(self.line).value(steps as i32);
        let launch = launch.buffer(x).buffer(dy).buffer(sums).value(pass.width as i32);
        // SAFETY: the caller's promise; the parts cover the pixels, and those of a step fit in shared memory.
        unsafe { launch.on([Self::blocks(pass), self.parts.count, pass.groups], THREADS) }
    }
}
