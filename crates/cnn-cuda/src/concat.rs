//! Channels side by side, some of them, and in another order.

use cnn_core::backend::{Data, SliceSpec, check, check_concat, check_groups};
use cnn_core::{Error, Result};

use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Argument;

pub(crate) const SOURCE: Source = source!("concat");

/// Neighbouring channels that are copied from row to row: `kernels/concat.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Copied {
    /// Of a row of each.
    from_channels: u32,
    to_channels: u32,
    /// Where they begin.
    from_first: u32,
    to_first: u32,
    count: u32,
}

// SAFETY: five numbers of four bytes.
unsafe impl Argument for Copied {}

/// The numbers as kernels take them.
fn narrow<const N: usize>(sizes: [usize; N]) -> Result<[u32; N]> {
    if let Some(size) = sizes.into_iter().find(|&size| i32::try_from(size).is_err()) {
        return Err(Error::invalid("channels", size, "must be below 2^31 on this backend"));
    }
    Ok(sizes.map(|size| size as u32))
}

/// Copies channels of `rows` rows, which both have.
fn copy<T: CudaElement>(cuda: &Cuda<T>, rows: usize, copied: Copied, from: &Buffer<T>, to: &Buffer<T>) -> Result<()> {
    let count = check::numel(rows, copied.count as usize)?;
    let launch = cuda.kernel(SOURCE, "copy_channels")?.buffer(from).buffer(to).value(copied).value(count as u64);
    // SAFETY: every caller has found both buffers to have as many rows, and the channels to lie within each; `to` is new.
    unsafe { launch.over_vectors::<T>(count) }
}

pub(crate) fn concat<T: CudaElement>(cuda: &Cuda<T>, parts: &[(&Data<Cuda<T>>, usize)]) -> Result<Data<Cuda<T>>> {
    let [rows, channels] = check_concat(parts.iter().map(|(part, channels)| (part.len(), *channels)))?;
    let y = cuda.alloc(check::numel(rows, channels)?)?;
    let mut before = 0;
    for &(part, own) in parts {
        let [from_channels, to_channels, to_first] = narrow([own, channels, before])?;
        let copied = Copied { from_channels, to_channels, from_first: 0, to_first, count: from_channels };
        copy(cuda, rows, copied, part, &y)?;
        before += own;
    }
    Ok(y)
}

pub(crate) fn slice_channels<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &SliceSpec,
    x: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    spec.check()?;
    let rows = check::whole_rows("the input", x.len(), spec.channels)?;
    let [from_channels, from_first, count] = narrow([spec.channels, spec.first, spec.count])?;
    let y = cuda.alloc(check::numel(rows, spec.count)?)?;
    copy(cuda, rows, Copied { from_channels, to_channels: count, from_first, to_first: 0, count }, x, &y)?;
    Ok(y)
}

pub(crate) fn slice_channels_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &SliceSpec,
    dy: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    spec.check()?;
    let rows = check::whole_rows("the gradient", dy.len(), spec.count)?;
    let [to_channels, to_first, count] = narrow([spec.channels, spec.first, spec.count])?;
    let len = check::numel(rows, spec.channels)?;
    let dx = cuda.alloc(len)?;
    let spread = Copied { from_channels: count, to_channels, from_first: 0, to_first, count };
    let launch = cuda.kernel(SOURCE, "spread_channels")?.buffer(dy).buffer(&dx).value(spread).value(len as u64);
    // SAFETY: both have as many rows, and the channels lie within them; dx is new.
    unsafe { launch.over_vectors::<T>(len) }?;
    Ok(dx)
}

pub(crate) fn shuffle_channels<T: CudaElement>(
    cuda: &Cuda<T>,
    x: &Data<Cuda<T>>,
    channels: usize,
    groups: usize,
) -> Result<Data<Cuda<T>>> {
    check_groups(channels, groups)?;
    check::whole_rows("the input", x.len(), channels)?;
    let [of_row, apart] = narrow([channels, groups])?;
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "shuffle_channels")?.buffer(x).buffer(&y).value(of_row).value(apart);
    // SAFETY: both have as many elements, whole rows of these channels; y is new.
    unsafe { launch.value(x.len() as u64).over(x.len()) }?;
    Ok(y)
}
