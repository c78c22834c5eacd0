//! Mean and squared deviations of every channel, of parts of the rows: a convolution can also leave them behind.

use cnn_core::backend::{Data, check};
use cnn_core::{BatchNormSpec, Error, Result};

use crate::buffer::Buffer;
use crate::channels::Pass;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("moments");

/// The moments of parts of a batch's rows, \[parts, channels\]. The normalisation that reads them combines them.
#[derive(Debug)]
pub struct PartMoments {
    pub(crate) means: Buffer<f32>,
    /// Sums of squared deviations from the part's own mean.
    pub(crate) m2s: Buffer<f32>,
    pub(crate) rows: usize,
    /// Of every part but the last, which has the rest.
    pub(crate) rows_per_part: usize,
    pub(crate) parts: usize,
}

impl PartMoments {
    /// Those of `rows` rows, to be written.
    pub(crate) fn new<T: CudaElement>(
        cuda: &Cuda<T>,
        rows: usize,
        rows_per_part: usize,
        channels: usize,
    ) -> Result<Self> {
        let parts = rows.div_ceil(rows_per_part);
        let list = || cuda.alloc(check::numel(parts, channels)?);
        Ok(PartMoments { means: list()?, m2s: list()?, rows, rows_per_part, parts })
    }

    /// Refuses moments of another batch, and of one without rows, which has none.
    pub(crate) fn check(&self, spec: &BatchNormSpec) -> Result<()> {
        if self.rows != spec.rows || self.rows == 0 {
            let rule = format!("must be the {} of the normalisation, and at least 1", spec.rows);
            return Err(Error::invalid("rows of the moments", self.rows, rule));
        }
        for list in [&self.means, &self.m2s] {
            check::length("the moments of the parts", list.len(), check::numel(self.parts, spec.channels)?)?;
        }
        Ok(())
    }
}

pub(crate) fn channel_moments<T: CudaElement>(
    cuda: &Cuda<T>,
    x: &Data<Cuda<T>>,
    spec: &BatchNormSpec,
) -> Result<PartMoments> {
    let BatchNormSpec { rows, channels, .. } = *spec;
    check::length("the activation", x.len(), check::numel(rows, channels)?)?;
    let pass = Pass::sums::<T>(rows, channels);
    let moments = PartMoments::new(cuda, rows, pass.rows_per_part(), channels)?;
    let launch = cuda.kernel(SOURCE, pass.kernel(["moments_of_parts", "moments_of_parts_any"]))?;
    let launch = launch.buffer(x).buffer(&moments.means).buffer(&moments.m2s);
    // SAFETY: x has the pass's rows and channels, the moments are new and have the channels of each part.
    unsafe { pass.run(launch) }?;
    Ok(moments)
}
