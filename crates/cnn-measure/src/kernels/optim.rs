//! The optimisers' passes over as many parameters as ResNet-18 has.

use cnn_core::Result;
use cnn_core::backend::{Accum, AdamParam, AdamStep, Backend, Health, SgdParam, SgdStep, Wide};

use super::{Kernel, Visit, Work, wide_fill, wide_noise};

/// Arrays of the size of ResNet-18's largest; five of them have as many numbers as all of its parameters.
const ARRAYS: usize = 5;
const EACH: usize = 9 * 512 * 512;

/// A parameter with its gradient and two arrays of state.
struct Parameter<B: Backend> {
    value: Wide<B>,
    gradient: Wide<B>,
    m: Wide<B>,
    v: Wide<B>,
    steps: B::Buffer<u32>,
}

/// One step of each optimiser, and the norm of the gradients.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn optim<B: Backend>(backend: &B, visit: Visit<'_>) -> Result<()> {
    let make = |_| {
        let (value, gradient) = (wide_noise(backend, EACH)?, wide_noise(backend, EACH)?);
        let (m, v, steps) = (wide_fill(backend, EACH, 0.0)?, wide_fill(backend, EACH, 0.0)?, backend.fill(1, 9)?);
        Ok(Parameter { value, gradient, m, v, steps })
    };
    let mut all = (0..ARRAYS).map(make).collect::<Result<Vec<Parameter<B>>>>()?;
    let health: Health<B> = Health { norm: wide_fill(backend, 1, 1.0)?, finite: backend.fill(1, 1)? };
    let (lr, lr_scale, weight_decay, max_norm) = (1e-4, 1.0, 5e-4, f64::INFINITY);
    // How often a number of each parameter is read or written.
    let mut pass = |name: &str, times: usize, run: &mut dyn FnMut() -> Result<()>| {
        let work = Work::Bytes((times * ARRAYS * EACH * size_of::<Accum<B>>()) as u64);
        visit(Kernel { name: format!("{name}, 11.8 M parameters"), work, run })
    };

    let sgd = SgdStep { lr, momentum: 0.9, nesterov: true, max_norm };
    pass("SGD", 5, &mut || {
        let parameters = all.iter_mut().map(|Parameter { value, gradient, m: velocity, .. }| SgdParam {
            value,
            gradient,
            velocity,
            lr_scale,
            weight_decay,
        });
        backend.sgd(&sgd, &mut parameters.collect::<Vec<_>>(), &health)
    })?;
    let adam = AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: true, max_norm };
    pass("AdamW", 7, &mut || {
        let parameters = all.iter_mut().map(|Parameter { value, gradient, m, v, steps }| AdamParam {
            value,
            gradient,
            m,
            v,
            steps,
            lr_scale,
            weight_decay,
        });
        backend.adam(&adam, &mut parameters.collect::<Vec<_>>(), &health)
    })?;
    let (loss, gradients) = (wide_fill(backend, 1, 0.5)?, all.iter().map(|p| &p.gradient).collect::<Vec<_>>());
    pass("gradient norm", 1, &mut || backend.gradient_health(Some(&loss), &gradients, f64::INFINITY).map(drop))
}
