//! The dense layers of the step-by-step network and of ResNet-18.

use cnn_core::Result;
use cnn_core::backend::{Backend, Epilogue, LinearSpec};

use super::{Kernel, Visit, Work, noise, wide_noise};

/// Inputs and outputs.
const SHAPES: [[usize; 2]; 3] = [[7200, 128], [128, 10], [512, 10]];

/// The three passes of every dense layer.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn linear<B: Backend>(backend: &B, batch: usize, visit: Visit<'_>) -> Result<()> {
    for [inputs, outputs] in SHAPES {
        let spec = LinearSpec { rows: batch, inputs, outputs };
        let (x, dy) = (noise(backend, batch * inputs)?, noise(backend, batch * outputs)?);
        let (weight, bias) = (wide_noise(backend, inputs * outputs)?, wide_noise(backend, outputs)?);
        let mut pass = |pass: &str, run: &mut dyn FnMut() -> Result<()>| {
            let work = Work::Flops(2 * (batch * inputs * outputs) as u64);
            visit(Kernel { name: format!("linear {inputs} -> {outputs} {pass}"), work, run })
        };
        pass("forward", &mut || backend.linear(&spec, &x, &weight, Epilogue::bias(Some(&bias))).map(drop))?;
        pass("backward data", &mut || backend.linear_backward_data(&spec, &dy, &weight).map(drop))?;
        pass("backward weight", &mut || backend.linear_backward_weight(&spec, &dy, &x).map(drop))?;
    }
    Ok(())
}
