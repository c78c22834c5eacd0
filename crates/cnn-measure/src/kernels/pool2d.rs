//! The step-by-step network's maximum, the ImageNet stem's, and the average of ResNet's head.

use cnn_core::backend::Backend;
use cnn_core::{Pool2dOptions, Pool2dSpec, Result};

use super::{Kernel, Visit, bytes, noise};

/// Every pooling, each way.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn pool2d<B: Backend>(backend: &B, batch: usize, visit: Visit<'_>) -> Result<()> {
    let stepwise = Pool2dSpec::new([batch, 30, 30, 32], &Pool2dOptions::square(2))?;
    let stem = Pool2dSpec::new([batch, 32, 32, 64], &Pool2dOptions::square(3).stride(2).padding(1))?;
    let head = Pool2dSpec::global([batch, 4, 4, 512])?;
    for (kind, spec) in [("max pool", stepwise), ("max pool", stem), ("average pool", head)] {
        let [inputs, outputs]: [usize; 2] =
            [spec.input_shape(), spec.output_shape()].map(|shape| shape.iter().product());
        let (x, dy) = (noise(backend, inputs)?, noise(backend, outputs)?);
        let Pool2dSpec { channels, input, window, stride, .. } = spec;
        let name = format!("{kind} {channels}x{}x{} k{} s{}", input[0], input[1], window[0], stride[0]);
        let mut pass = |pass: &str, run: &mut dyn FnMut() -> Result<()>| {
            visit(Kernel { name: format!("{name} {pass}"), work: bytes::<B>(inputs + outputs), run })
        };
        if kind == "max pool" {
            let (_, places) = backend.max_pool2d(&spec, &x)?;
            pass("forward", &mut || backend.max_pool2d(&spec, &x).map(drop))?;
            pass("backward", &mut || backend.max_pool2d_backward(&spec, &dy, &places).map(drop))?;
        } else {
            pass("forward", &mut || backend.avg_pool2d(&spec, &x).map(drop))?;
            pass("backward", &mut || backend.avg_pool2d_backward(&spec, &dy).map(drop))?;
        }
    }
    Ok(())
}
