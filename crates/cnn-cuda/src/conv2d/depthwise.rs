//! Convolutions of each channel by itself, see `kernels/conv2d_depthwise.cu`.

use cnn_core::Result;
use cnn_core::backend::{Data, Wide};

use super::divisor::Divisor;
use super::operands::EpilogueArgument;
use super::shape::{Shape, number};
use super::split::{add_splits, cut};
use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, THREADS};

pub(crate) const SOURCE: Source = source!("conv2d_depthwise");

/// As `Places` in the kernels' file.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Places {
    channels: Divisor,
    columns: Divisor,
    rows: Divisor,
    count: u32,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Places {}

/// Channels of a thread.
fn side_by_side<T: CudaElement>(shape: &Shape) -> usize {
    let vector = 16 / size_of::<T>();
    if shape.out_channels().is_multiple_of(vector) { vector } else { 1 }
}

impl Places {
    fn new(batch: usize, [rows, columns]: [usize; 2], chunks: usize) -> Result<Self> {
        let count = number("numbers of a depthwise convolution", batch * rows * columns * chunks)?;
        Ok(Places {
            channels: Divisor::by(chunks),
            columns: Divisor::by(columns),
            rows: Divisor::by(rows),
            count: count as u32,
        })
    }
}

/// `kernel` of whole vectors of channels, or of single ones.
fn choose(vectors: bool, [whole, any]: [&'static str; 2]) -> &'static str {
    if vectors { whole } else { any }
}

/// The convolution. The lengths were compared with the shape.
pub(super) fn forward<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    x: &Buffer<T>,
    weight: &Wide<Cuda<T>>,
    epilogue: EpilogueArgument,
) -> Result<Data<Cuda<T>>> {
    let n = side_by_side::<T>(shape);
    let places = Places::new(shape.batch(), shape.output(), shape.out_channels() / n)?;
    let y = cuda.alloc(shape.lens()[2])?;
    let launch = cuda.kernel(SOURCE, choose(n > 1, ["depthwise_forward", "depthwise_forward_any"]))?;
    let launch = launch.value(*shape).value(places).buffer(x).buffer(weight).value(epilogue).buffer(&y);
    // SAFETY: the buffers have the lengths that the shape says; y is new.
    unsafe { launch.over(places.count as usize) }?;
    Ok(y)
}

/// The gradient of the input, added to `accumulate`, into `dx`, which may be the same. The lengths were compared.
pub(super) fn backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    dy: &Buffer<T>,
    weight: &Wide<Cuda<T>>,
    accumulate: Option<&Buffer<T>>,
    dx: &Buffer<T>,
) -> Result<()> {
    let n = side_by_side::<T>(shape);
    let places = Places::new(shape.batch(), shape.input(), shape.out_channels() / n)?;
    let launch = cuda.kernel(SOURCE, choose(n > 1, ["depthwise_data", "depthwise_data_any"]))?;
    let launch = launch.value(*shape).value(places).buffer(dy).buffer(weight).optional(accumulate).buffer(dx);
    // SAFETY: the buffers have the lengths that the shape says; dx is new or was given away, and each of its elements is read
    // and written by one thread.
    unsafe { launch.over(places.count as usize) }
}

/// The gradient of the weight. The lengths were compared.
pub(super) fn backward_weight<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    x: &Buffer<T>,
    dy: &Buffer<T>,
) -> Result<Wide<Cuda<T>>> {
    let n = side_by_side::<T>(shape);
    let places = Places::new(shape.batch(), shape.output(), shape.out_channels() / n)?;
    let (taps, len) = (shape.weight_rows(), shape.lens()[1]);
    let across = shape.out_channels().div_ceil(32 * n);
    let (pixels, splits) = cut(shape.output_pixels(), PIXELS, across * taps);
    let parts = cuda.alloc(splits * len)?;
    let launch = cuda.kernel(SOURCE, choose(n > 1, ["depthwise_weight", "depthwise_weight_any"]))?;
    let launch = launch.value(*shape).value(places).value(pixels as i32).buffer(x).buffer(dy).buffer(&parts);
    // SAFETY: the buffers have the lengths that the shape says; the parts are new, one for each split.
    unsafe { launch.on([across, splits, taps], THREADS) }?;
    add_splits(cuda, parts, splits, len)
}

/// Pixels that a block's warps take at once, some times over.
const PIXELS: usize = 64;
