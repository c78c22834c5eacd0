//! Sums over the rows of a \[rows, channels\] matrix.

use cnn_core::Result;
use cnn_core::backend::{Data, Wide, check};

use crate::buffer::Buffer;
use crate::channels::{self, Pass};
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("sums");

pub(crate) fn sum_rows<T: CudaElement>(cuda: &Cuda<T>, x: &Data<Cuda<T>>, channels: usize) -> Result<Wide<Cuda<T>>> {
    let rows = check::whole_rows("the summed rows", x.len(), channels)?;
    let pass = Pass::sums::<T>(rows, channels);
    let sums = cuda.alloc(pass.parts() * channels)?;
    let launch = cuda.kernel(SOURCE, pass.kernel(["sum_parts", "sum_parts_any"]))?.buffer(x).buffer(&sums);
    // SAFETY: x has the pass's rows and channels, the sums are new and have the channels of each part.
    unsafe { pass.run(launch) }?;
    combined(cuda, sums, pass.parts(), channels)
}

/// The sums \[parts, channels\] that a pass left, over its parts.
pub(crate) fn combined<T: CudaElement>(
    cuda: &Cuda<T>,
    sums: Buffer<f32>,
    parts: usize,
    channels: usize,
) -> Result<Buffer<f32>> {
    check::length("the sums of parts", sums.len(), check::numel(parts, channels)?)?;
    if parts == 1 {
        return Ok(sums);
    }
    let total = cuda.alloc(channels)?;
    let launch = cuda.kernel(SOURCE, "combine_sums")?.buffer(&sums).buffer(&total);
    // SAFETY: the sums have the channels of each part; the total is new and has the channels.
    unsafe { channels::combine(launch, parts, channels) }?;
    Ok(total)
}
