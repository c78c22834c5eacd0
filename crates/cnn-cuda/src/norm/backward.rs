//! The gradient through a normalisation, as coefficients that give that of its input:
//!
//! ```text
//! xhat   = (x - mean) * inv_std                        dy counts as 0 where the mask says so
//! dbeta  = sum(dy)
//! dgamma = sum(dy * xhat)
//! dx     = scale * (dy - dbeta / rows - xhat * dgamma / rows)      by batch statistics
//! dx     = scale * dy                                              by running statistics
//! ```
//!
//! One pass takes both sums, and writes the masked dy only when the mask could not be computed again from `norm`.

use cnn_core::backend::{Data, Norm, NormBackward, NormGradient, NormStats, Rectifier, check};
use cnn_core::{BatchNormSpec, Result};

use super::SOURCE;
use super::apply::read_mask;
use crate::channels::{self, Pass};
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) fn batch_norm_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &BatchNormSpec,
    mut dy: Data<Cuda<T>>,
    norm: &Norm<Cuda<T>>,
    stats: &NormStats<Cuda<T>>,
    output: Option<&Data<Cuda<T>>>,
    batch: bool,
) -> Result<NormBackward<Cuda<T>>> {
    let BatchNormSpec { rows, channels, .. } = *spec;
    let len = check::numel(rows, channels)?;
    check::length("the gradient", dy.len(), len)?;
    check::length("the activation", norm.x.len(), len)?;
    if let Some(y) = output {
        check::length("the output", y.len(), len)?;
    }
    for list in [&norm.scale, &norm.shift, &stats.mean, &stats.inv_std, &stats.scale, &stats.shift] {
        check::length("a coefficient", list.len(), channels)?;
    }
    let output = output.filter(|_| norm.rectifier != Rectifier::Open);
    let mask = norm.mask().filter(|_| output.is_none());

    let pass = Pass::sums::<T>(rows, channels);
    let numbers = pass.parts() * channels;
    let (dy_sums, dy_x_sums) = (cuda.alloc::<f32>(numbers)?, cuda.alloc::<f32>(numbers)?);
    let kernel = pass.kernel(match output {
        None => ["gradient_sums", "gradient_sums_any"],
        Some(_) => ["masked_gradient_sums", "masked_gradient_sums_any"],
    });
    let launch = cuda.kernel(SOURCE, kernel)?.buffer(&dy).buffer(&norm.x).buffer(&stats.mean);
    let (launch, dy) = match output {
        None => (read_mask(launch, mask.as_ref()), dy),
        Some(y) => {
            let masked = cuda.in_place(&mut dy)?;
            let [_, greatest] = norm.rectifier.passes::<f32>();
            (launch.buffer(y).value(greatest).buffer(&masked), masked)
        }
    };
    // SAFETY: the activations have the pass's rows and channels, the coefficients the channels; the sums are new and have
    // the channels of each part. The masked dy is new, or dy, which was given away, and each of its elements is read before
    // it is written, by the same thread.
    unsafe { pass.run(launch.buffer(&dy_sums).buffer(&dy_x_sums)) }?;

    let list = || cuda.alloc::<f32>(channels);
    let (dgamma, dbeta, x_scale, shift) = (list()?, list()?, list()?, list()?);
    let launch = cuda.kernel(SOURCE, "combine_gradient_sums")?.buffer(&dy_sums).buffer(&dy_x_sums);
    let launch = launch.buffer(&stats.mean).buffer(&stats.inv_std).buffer(&stats.scale);
    let launch = launch.buffer(&dgamma).buffer(&dbeta).buffer(&x_scale).buffer(&shift);
    // SAFETY: the sums have the channels of each part, the statistics the channels; the results are new and have them too.
    unsafe { channels::combine(launch.value(rows as u64).value(i32::from(batch)), pass.parts(), channels) }?;
    let dy_scale = stats.scale.clone();
    let dx = NormGradient { dy, x: norm.x.clone(), dy_scale, x_scale, shift, mask, channels };
    Ok(NormBackward { dx, dgamma, dbeta })
}
