//! Muon: the step of a matrix is its momentum, made orthogonal.
//!
//! Everything is products of matrices, which the operations of dense layers are, and steps of SGD, which alone may ask the
//! device whether a step is to be refused: no backend has a kernel for Muon.

use num_traits::Zero;

use crate::Result;
use crate::backend::{Accum, Backend, Data, Epilogue, Health, LinearSpec, SgdParam, SgdStep, Wide};
use crate::shape::Shape;

/// Coefficients of the polynomial `a x + b x^3 + c x^5` that each iteration applies to the singular values: five of them take
/// every value from 0.01 to 1 into about \[0.7, 1.2\], which is near enough to 1 (K. Jordan et al., "Muon", 2024).
const POLYNOMIAL: [f64; 3] = [3.4445, -4.775, 2.0315];

/// A norm that no gradient worth a step is below: to divide by a norm, numbers are clipped to this one, and multiplied by its
/// reciprocal. Norms of up to 1e28 leave a factor that f32 has in full.
const TINY: f64 = 1.0 / 1_073_741_824.0;

/// Rows and columns of the matrix that a weight's numbers are: inputs, and for a convolution the pixels of its filters; outputs.
pub(super) fn matrix(shape: Shape) -> [usize; 2] {
    let columns = shape.dims().last().copied().unwrap_or(1);
    [shape.numel() / columns.max(1), columns]
}

/// One step for each of these weights; nothing changes when `health` says the step is not finite. With `u` as SGD's `step` for the
/// momentum, and `O` the orthogonal matrix nearest to it in about `ns_steps` iterations, `w -= lr * lr_scale * (O + weight_decay * w)`:
/// as PyTorch's `Muon` defines it where `lr_scale` has the factor `sqrt(max(1, out / in))`, and `weight_decay` its reciprocal. When
/// `rescale`, `w` is brought to a norm of sqrt(out) before.
pub(super) fn step<'a, B: Backend>(
    backend: &B,
    step: &SgdStep,
    (ns_steps, rescale): (u32, bool),
    weights: impl Iterator<Item = (SgdParam<'a, B>, Shape)>,
    health: &Health<B>,
) -> Result<()> {
    for (SgdParam { value, gradient, velocity, lr_scale, weight_decay }, shape) in weights {
        let sides @ [_, columns] = matrix(shape);
        let mut direction = zeros(backend, value)?;
        // From 0 at a rate of -1: the step itself, and 0 where it is refused.
        let moved = SgdParam { value: &mut direction, gradient, velocity, lr_scale: 1.0, weight_decay: 0.0 };
        backend.sgd(&SgdStep { lr: -1.0, ..*step }, &mut [moved], health)?;
        let orthogonal = orthogonal(backend, &direction, sides, ns_steps)?;

        let plain = |lr: f64| SgdStep { lr, momentum: 0.0, nesterov: false, max_norm: f64::INFINITY };
        // These steps have no momentum: what they leave for a velocity is of no use, but 0 times what was there must be 0.
        let mut unused = zeros(backend, value)?;
        if rescale {
            let mut change = unit(backend, value, (columns as f64).sqrt())?;
            backend.blend(&mut change, 1.0, value, -1.0)?;
            let (gradient, velocity) = (&change, &mut unused);
            let param = SgdParam { value: &mut *value, gradient, velocity, lr_scale: 1.0, weight_decay: 0.0 };
            backend.sgd(&plain(-1.0), &mut [param], health)?;
        }
        let param = SgdParam { value, gradient: &orthogonal, velocity: &mut unused, lr_scale, weight_decay };
        backend.sgd(&plain(step.lr), &mut [param], health)?;
    }
    Ok(())
}

/// About the orthogonal matrix \[rows, columns\] nearest to `x`: its singular vectors, with values near 1. By Newton and
/// Schulz's iteration, with products of the smaller of `x' x` and `x x'`.
fn orthogonal<B: Backend>(backend: &B, x: &Wide<B>, [rows, columns]: [usize; 2], iterations: u32) -> Result<Wide<B>> {
    let mut x = unit(backend, x, 1.0)?;
    let tall = rows >= columns;
    let side = rows.min(columns);
    // `x` times a matrix of that side behind it, or such a matrix times `x`.
    let whole = LinearSpec { rows, inputs: side, outputs: columns };
    let square = LinearSpec { rows: side, inputs: side, outputs: side };
    let times = |spec: &LinearSpec, left: &Data<B>, right: &Wide<B>| {
        backend.widen(&backend.linear(spec, left, right, Epilogue::bias(None))?)
    };
    let [a, b, c] = POLYNOMIAL;
    for _ in 0..iterations {
        let narrow = backend.narrow(&x)?;
        let mut gram = match tall {
            true => backend.linear_backward_weight(&whole, &narrow, &narrow)?,
            false => backend.widen(&backend.linear_backward_data(&whole, &narrow, &x)?)?,
        };
        let gram_squared = times(&square, &backend.narrow(&gram)?, &gram)?;
        backend.blend(&mut gram, b, &gram_squared, c)?;
        let product = match tall {
            true => times(&whole, &narrow, &gram)?,
            false => times(&whole, &backend.narrow(&gram)?, &x)?,
        };
        backend.blend(&mut x, a, &product, 1.0)?;
    }
    Ok(x)
}

/// `x` brought to this norm; 0 stays 0.
fn unit<B: Backend>(backend: &B, x: &Wide<B>, norm: f64) -> Result<Wide<B>> {
    let health = backend.gradient_health(None, &[x], f64::INFINITY)?;
    let (mut value, mut velocity) = (zeros(backend, x)?, zeros(backend, x)?);
    let step = SgdStep { lr: -norm / TINY, momentum: 0.0, nesterov: false, max_norm: TINY };
    let param = SgdParam { value: &mut value, gradient: x, velocity: &mut velocity, lr_scale: 1.0, weight_decay: 0.0 };
    backend.sgd(&step, &mut [param], &health)?;
    Ok(value)
}

fn zeros<B: Backend>(backend: &B, like: &Wide<B>) -> Result<Wide<B>> {
    backend.fill(backend.len(like), Accum::<B>::zero())
}
