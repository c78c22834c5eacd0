//! Mean and variance of every channel: of parts of the rows first, which a convolution can also leave behind, then of all.

use cnn_core::backend::{Data, Moments, check};
use cnn_core::{BatchNormSpec, Result};

use crate::buffer::Buffer;
use crate::channels::{self, Pass};
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("moments");

/// The moments of parts of the rows, \[parts, channels\]. Every part has `rows_per_part` rows but the last, which has the
/// rest.
pub(crate) struct Partials {
    pub(crate) mean: Buffer<f32>,
    /// Sums of squared deviations from the part's own mean.
    pub(crate) m2: Buffer<f32>,
    pub(crate) rows_per_part: usize,
    pub(crate) parts: usize,
}

impl Partials {
    /// Those of `rows` rows, to be written.
    pub(crate) fn new<T: CudaElement>(
        cuda: &Cuda<T>,
        rows: usize,
        rows_per_part: usize,
        channels: usize,
    ) -> Result<Self> {
        let parts = rows.div_ceil(rows_per_part);
        let list = || cuda.alloc(check::numel(parts, channels)?);
        Ok(Partials { mean: list()?, m2: list()?, rows_per_part, parts })
    }
}

pub(crate) fn channel_moments<T: CudaElement>(
    cuda: &Cuda<T>,
    x: &Data<Cuda<T>>,
    spec: &BatchNormSpec,
) -> Result<Moments<Cuda<T>>> {
    let BatchNormSpec { rows, channels, .. } = *spec;
    check::length("the activation", x.len(), check::numel(rows, channels)?)?;
    let pass = Pass::sums::<T>(rows, channels);
    let partials = Partials::new(cuda, rows, pass.rows_per_part(), channels)?;
    let launch = cuda.kernel(SOURCE, pass.kernel(["moments_of_parts", "moments_of_parts_any"]))?;
    let launch = launch.buffer(x).buffer(&partials.mean).buffer(&partials.m2);
    // SAFETY: x has the pass's rows and channels, the moments are new and have the channels of each part.
    unsafe { pass.run(launch) }?;
    combine(cuda, rows, channels, &partials)
}

/// The moments of `rows` rows from those of their parts.
pub(crate) fn combine<T: CudaElement>(
    cuda: &Cuda<T>,
    rows: usize,
    channels: usize,
    partials: &Partials,
) -> Result<Moments<Cuda<T>>> {
    let &Partials { rows_per_part, parts, .. } = partials;
    debug_assert_eq!(parts, rows.div_ceil(rows_per_part));
    for list in [&partials.mean, &partials.m2] {
        check::length("the moments of the parts", list.len(), check::numel(parts, channels)?)?;
    }
    let (mean, variance) = (cuda.alloc(channels)?, cuda.alloc(channels)?);
    let launch = cuda.kernel(SOURCE, "combine_moments")?.buffer(&partials.mean).buffer(&partials.m2);
    let launch = launch.buffer(&mean).buffer(&variance).value(rows as u64).value(rows_per_part as u64);
    // SAFETY: the moments of the parts have the channels of each part; the results are new and have the channels.
    unsafe { channels::combine(launch, parts, channels) }?;
    Ok(Moments { mean, variance })
}
