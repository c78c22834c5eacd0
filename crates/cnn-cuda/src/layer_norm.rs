//! Layer normalisation: rows by their own mean and deviation.

use cnn_core::backend::{Affine, Data, LayerNormBackward, Wide, check};
use cnn_core::{Error, LayerNormSpec, Result};

use crate::channels::Pass;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::THREADS;
use crate::sums::combined;

pub(crate) const SOURCE: Source = source!("layer_norm");

/// The most blocks of the way forward: each takes rows in steps of the grid.
const MOST_BLOCKS: usize = 1 << 14;

pub(crate) fn layer_norm<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LayerNormSpec,
    x: &Data<Cuda<T>>,
    affine: Affine<'_, Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let rows = check::whole_rows("the input", x.len(), spec.channels)?;
    check::length("the scale", affine.gamma.len(), spec.channels)?;
    check::length("the shift", affine.beta.len(), spec.channels)?;
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "layer_norm")?.buffer(x).buffer(affine.gamma).buffer(affine.beta).buffer(&y);
    let launch = launch.value(rows as u64).value(channels(spec)?).value(spec.eps as f32);
    let blocks = rows.div_ceil(THREADS / 32).min(MOST_BLOCKS);
    // SAFETY: x and y have as many rows of as many channels, and the coefficients the channels; y is new. A warp has a row.
    unsafe { launch.on([blocks, 1, 1], THREADS) }?;
    Ok(y)
}

/// As the kernels take them.
fn channels(spec: &LayerNormSpec) -> Result<u32> {
    let rule = "must be below 2^32 on this backend";
    u32::try_from(spec.channels).map_err(|_| Error::invalid("channels", spec.channels, rule))
}

pub(crate) fn layer_norm_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LayerNormSpec,
    mut dy: Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
    gamma: &Wide<Cuda<T>>,
) -> Result<LayerNormBackward<Cuda<T>>> {
    let rows = check::whole_rows("the gradient", dy.len(), spec.channels)?;
    check::length("the input", x.len(), dy.len())?;
    check::length("the scale", gamma.len(), spec.channels)?;
    channels(spec)?;
    let (pass, by_one_block) = Pass::sums_of_whole_rows::<T>(rows, spec.channels);
    let dx = if by_one_block { cuda.in_place(&mut dy)? } else { cuda.alloc(dy.len())? };
    let sums = || cuda.alloc::<f32>(check::numel(pass.parts(), spec.channels)?);
    let (dy_sums, dy_x_sums) = (sums()?, sums()?);
    let kernel = pass.kernel(["layer_norm_backward", "layer_norm_backward_any"]);
    let launch = cuda.kernel(SOURCE, kernel)?.buffer(&dy).buffer(x).buffer(gamma).buffer(&dx);
    let launch = launch.buffer(&dy_sums).buffer(&dy_x_sums).value(spec.eps as f32);
    // SAFETY: the activations have the pass's rows and channels, gamma the channels; the sums are new and have the channels of each
    // part. dx is new; or dy, which was given away, and the block that has a row reads all of it before it writes there.
    unsafe { pass.run(launch) }?;
    let dbeta = combined(cuda, dy_sums, pass.parts(), spec.channels)?;
    let dgamma = combined(cuda, dy_x_sums, pass.parts(), spec.channels)?;
    Ok(LayerNormBackward { dx, dgamma, dbeta })
}
