//! Maximum and average pooling.

use cnn_core::backend::{Data, check};
use cnn_core::{AdaptivePool2dSpec, Error, Padding, Pool2dSpec, Result, Windows};

use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, THREADS};

pub(crate) const SOURCE: Source = source!("pool2d");

/// The most pixels of an image: kernels count them, and the padding around them, with 32 bits.
const MOST_PIXELS: usize = 1 << 30;
/// From so many pixels of a window on a block's threads share it: one thread waits for memory pixel after pixel, which for the 16 of
/// a ResNet's last image made 10 us of 8 MB on an H200.
const LARGE_WINDOW: usize = 16;

/// `kernels/pool2d.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Pooling {
    input: [i32; 2],
    output: [i32; 2],
    /// 0 where the output's size makes the windows.
    window: [i32; 2],
    stride: [i32; 2],
    padding_before: [i32; 2],
    padding_after: [i32; 2],
    channels: i32,
    count_include_pad: i32,
}

// SAFETY: 14 numbers of four bytes.
unsafe impl Argument for Pooling {}

/// A pooling whose numbers belong together, and what its kernels are given.
struct Checked {
    pooling: Pooling,
    /// Elements of the input and of the output.
    lengths: [usize; 2],
    /// Elements that a thread has: neighbouring channels.
    lanes: usize,
}

impl Checked {
    fn sliding<T: CudaElement>(spec: &Pool2dSpec) -> Result<Self> {
        let Checked { pooling, lengths, lanes } = Checked::new::<T>(spec)?;
        let Padding { top, left, bottom, right } = spec.padding;
        // Windows, strides and padding are far below what was refused.
        let numbers = |sizes: [usize; 2]| sizes.map(|size| size as i32);
        let pooling = Pooling {
            window: numbers(spec.window),
            stride: numbers(spec.stride),
            padding_before: numbers([top, left]),
            padding_after: numbers([bottom, right]),
            count_include_pad: i32::from(spec.count_include_pad),
            ..pooling
        };
        Ok(Checked { pooling, lengths, lanes })
    }

    fn adaptive<T: CudaElement>(spec: &AdaptivePool2dSpec) -> Result<Self> {
        let checked = Checked::new::<T>(spec)?;
        let both = [0, 1].map(|axis| spec.input[axis] * spec.output[axis]); // neither is above MOST_PIXELS
        if both.into_iter().any(|product| i32::try_from(product).is_err()) {
            let rule = "times the input's must be below 2^31 on either axis on this backend";
            return Err(Error::invalid("size of a pooling's output", format!("{:?}", spec.output), rule));
        }
        Ok(checked)
    }

    /// The sizes alone, as if those of the output made the windows.
    fn new<T: CudaElement>(spec: &impl Windows) -> Result<Self> {
        spec.check()?;
        let lengths = [spec.input_shape(), spec.output_shape()].map(|shape| shape.iter().product::<usize>());
        let sides = [spec.input_shape(), spec.output_shape()].map(|[_, rows, columns, _]| [rows, columns]);
        let [.., channels] = spec.input_shape();
        let lanes = 16 / size_of::<T>();
        let lanes = if channels.is_multiple_of(lanes) { lanes } else { 1 };
        if sides.iter().any(|&[rows, columns]| rows.checked_mul(columns).is_none_or(|pixels| pixels > MOST_PIXELS)) {
            let rule = format!("must have at most {MOST_PIXELS} pixels on this backend");
            return Err(Error::invalid("image of a pooling", format!("{sides:?}"), rule));
        }
        let most = lengths[0].max(lengths[1]) / lanes;
        if u32::try_from(most).is_err() || i32::try_from(channels).is_err() {
            let rule = format!("must be at most {} vectors of channels on this backend", u32::MAX);
            return Err(Error::invalid("size of a pooling", format!("{most} vectors of {lanes}"), rule));
        }
        let [input, output] = sides.map(|sizes| sizes.map(|size| size as i32));
        let pooling = Pooling {
            input,
            output,
            window: [0; 2],
            stride: [0; 2],
            padding_before: [0; 2],
            padding_after: [0; 2],
            channels: channels as i32,
            count_include_pad: 0,
        };
        Ok(Checked { pooling, lengths, lanes })
    }
}

pub(crate) fn max_pool2d<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Pool2dSpec,
    x: &Data<Cuda<T>>,
) -> Result<(Data<Cuda<T>>, Buffer<u32>)> {
    let Checked { pooling, lengths: [read, len], lanes } = Checked::sliding::<T>(spec)?;
    check::length("the input", x.len(), read)?;
    let (y, places) = (cuda.alloc(len)?, cuda.alloc(len)?);
    let launch = cuda.kernel(SOURCE, "max_pool2d")?.buffer(x).buffer(&y).buffer(&places);
    let launch = launch.value(pooling).value(len as u64);
    // SAFETY: the input and what is written, which is new, have as many elements as the pooling says.
    unsafe { launch.over(len / lanes) }?;
    Ok((y, places))
}

/// Places that no window of theirs has, which [`max_pool2d`] does not return, are in no sum.
pub(crate) fn max_pool2d_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Pool2dSpec,
    dy: &Data<Cuda<T>>,
    indices: &Buffer<u32>,
) -> Result<Data<Cuda<T>>> {
    let Checked { pooling, lengths: [len, read], lanes } = Checked::sliding::<T>(spec)?;
    check::length("the gradient", dy.len(), read)?;
    check::length("the indices", indices.len(), read)?;
    let dx = cuda.alloc(len)?;
    let launch = cuda.kernel(SOURCE, "max_pool2d_backward")?.buffer(dy).buffer(indices).buffer(&dx);
    let launch = launch.value(pooling).value(len as u64);
    // SAFETY: what is read and what is written, which is new, have as many elements as the pooling says; indices are compared
    // and not followed.
    unsafe { launch.over(len / lanes) }?;
    Ok(dx)
}

pub(crate) fn avg_pool2d<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Pool2dSpec,
    x: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    average(cuda, Checked::sliding::<T>(spec)?, spec.window, x)
}

pub(crate) fn adaptive_avg_pool2d<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &AdaptivePool2dSpec,
    x: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let checked = Checked::adaptive::<T>(spec)?;
    average(cuda, checked, [0, 1].map(|axis| spec.input[axis].div_ceil(spec.output[axis])), x)
}

/// Averages over windows of about this size.
fn average<T: CudaElement>(
    cuda: &Cuda<T>,
    checked: Checked,
    window: [usize; 2],
    x: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let Checked { pooling, lengths: [read, len], lanes } = checked;
    check::length("the input", x.len(), read)?;
    let y = cuda.alloc(len)?;
    if window[0] * window[1] < LARGE_WINDOW {
        let launch = cuda.kernel(SOURCE, "avg_pool2d")?.buffer(x).buffer(&y).value(pooling).value(len as u64);
        // SAFETY: the input and what is written, which is new, have as many elements as the pooling says.
        unsafe { launch.over(len / lanes) }?;
        return Ok(y);
    }
    let channels = pooling.channels as usize;
    let vectors = channels / lanes;
    let windows = len.checked_div(channels).unwrap_or(0);
    // Vectors that a block has side by side: those of a warp, or all.
    let side_by_side = vectors.next_power_of_two().min(32);
    let grid = [windows, vectors.div_ceil(side_by_side), 1];
    let launch = cuda.kernel(SOURCE, "avg_pool2d_large")?.buffer(x).buffer(&y).value(pooling);
    let launch = launch.value(side_by_side as u32);
    // SAFETY: as above; a block for each window, and for each 32 of its vectors.
    unsafe { launch.on(grid, THREADS) }?;
    Ok(y)
}

pub(crate) fn avg_pool2d_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Pool2dSpec,
    dy: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    average_backward(cuda, Checked::sliding::<T>(spec)?, dy)
}

pub(crate) fn adaptive_avg_pool2d_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &AdaptivePool2dSpec,
    dy: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    average_backward(cuda, Checked::adaptive::<T>(spec)?, dy)
}

fn average_backward<T: CudaElement>(cuda: &Cuda<T>, checked: Checked, dy: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    let Checked { pooling, lengths: [len, read], lanes } = checked;
    check::length("the gradient", dy.len(), read)?;
    let dx = cuda.alloc(len)?;
    let launch = cuda.kernel(SOURCE, "avg_pool2d_backward")?.buffer(dy).buffer(&dx).value(pooling).value(len as u64);
    // SAFETY: the gradient and what is written, which is new, have as many elements as the pooling says.
    unsafe { launch.over(len / lanes) }?;
    Ok(dx)
}
