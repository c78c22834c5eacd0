//! The passes over memory of ResNet-18's normalisations.

use cnn_core::backend::{Affine, Backend, Input, Norm, Rectifier};
use cnn_core::{BatchNormSpec, Result};

use super::{Kernel, Visit, bytes, noise, wide_fill};

/// Channels and image side of every different normalisation.
const SHAPES: [[usize; 2]; 4] = [[64, 32], [128, 16], [256, 8], [512, 4]];

/// Every normalisation: the moments, the activation with its ReLU, the same plus a shortcut, and the way back in its two
/// passes, the sums and the input's gradient.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn norm<B: Backend>(backend: &B, batch: usize, visit: Visit<'_>) -> Result<()> {
    for [channels, side] in SHAPES {
        let rows = batch * side * side;
        let spec = BatchNormSpec { rows, channels, eps: 1e-5 };
        let (x, dy) = (noise(backend, rows * channels)?, noise(backend, rows * channels)?);
        let shortcut = Input::Plain(noise(backend, rows * channels)?);
        let (beta, gamma) = (wide_fill(backend, channels, 0.0)?, wide_fill(backend, channels, 1.0)?);
        let stats = backend.batch_norm_eval(&spec, Affine { gamma: &gamma, beta: &beta }, &beta, &gamma)?;
        let (scale, shift) = (stats.scale.clone(), stats.shift.clone());
        let norm = Norm { x: x.clone(), scale, shift, channels, rectifier: Rectifier::Relu };
        let output = backend.normalise(&norm, Some(&shortcut))?;
        let back = backend.batch_norm_backward(&spec, dy.clone(), &norm, &stats, None, true)?.dx;

        // How often each pass goes over an activation, read or written.
        let mut pass = |name: &str, times: usize, run: &mut dyn FnMut() -> Result<()>| {
            let name = format!("batch norm {channels} x {rows} {name}");
            visit(Kernel { name, work: bytes::<B>(times * rows * channels), run })
        };
        pass("moments", 1, &mut || backend.channel_moments(&x, &spec).map(drop))?;
        pass("apply", 2, &mut || backend.normalise(&norm, None).map(drop))?;
        pass("apply + shortcut", 3, &mut || backend.normalise(&norm, Some(&shortcut)).map(drop))?;
        let sums = |output| backend.batch_norm_backward(&spec, dy.clone(), &norm, &stats, output, true).map(drop);
        pass("sums", 2, &mut || sums(None))?;
        pass("sums + shortcut", 4, &mut || sums(Some(&output)))?;
        pass("gradient", 3, &mut || backend.normalise_backward(back.clone()).map(drop))?;
    }
    Ok(())
}
