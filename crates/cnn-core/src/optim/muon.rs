//! Muon: the step of a matrix is its momentum, made orthogonal.
//!
//! Everything is products of matrices, which the operations of dense layers are, and steps of SGD, which alone may ask the
//! device whether a step is to be refused: no backend has a kernel for Muon.

use num_traits::Zero;

use crate::Result;
use crate::backend::{Accum, Backend, Epilogue, Health, LinearSpec, SgdParam, SgdStep, Wide};
use crate::shape::Shape;

/// Coefficients of the polynomial `a x + b x^3 + c x^5` that each iteration applies to the singular values: five of them take
/// every value from 0.01 to 1 into about \[0.7, 1.2\], which is near enough to 1 (K. Jordan et al., "Muon", 2024).
const POLYNOMIAL: [f64; 3] = [3.4445, -4.775, 2.0315];

/// A norm that no gradient worth a step is below: to divide by a norm, numbers are clipped to this one, and multiplied by its
/// reciprocal. Norms of up to 1e28 leave a factor that f32 has in full.
const TINY: f64 = 1.0 / 1_073_741_824.0;

/// The numbers of one step of Muon. With `u` as SGD's step for the momentum, and `O` the orthogonal matrix nearest to it,
/// `w -= lr * lr_scale * (O + weight_decay * w)`, as PyTorch's `Muon` defines it where `lr_scale` has the factor
/// `sqrt(max(1, out / in))`, and `weight_decay` its reciprocal.
#[derive(Clone, Copy, Debug)]
pub(super) struct MuonStep {
    pub(super) lr: f64,
    pub(super) momentum: f64,
    pub(super) nesterov: bool,
    pub(super) ns_steps: u32,
    /// The weights are brought to a norm of sqrt(out) before.
    pub(super) rescale: bool,
    pub(super) max_norm: f64,
}

/// One matrix in a step.
#[derive(Debug)]
pub(super) struct MuonParam<'a, B: Backend> {
    pub(super) value: &'a mut Wide<B>,
    pub(super) gradient: &'a Wide<B>,
    pub(super) velocity: &'a mut Wide<B>,
    /// Inputs, and for a convolution the pixels of its filters.
    pub(super) rows: usize,
    /// Outputs.
    pub(super) columns: usize,
    pub(super) lr_scale: f64,
    pub(super) weight_decay: f64,
}

/// Rows and columns of the matrix that a weight's numbers are: inputs, and for a convolution the pixels of its filters; outputs.
pub(super) fn matrix(shape: Shape) -> [usize; 2] {
    let columns = shape.dims().last().copied().unwrap_or(1);
    [shape.numel() / columns.max(1), columns]
}

/// One step for each of `parameters`; nothing changes when `health` says the step is not finite.
pub(super) fn step<B: Backend>(
    backend: &B,
    step: &MuonStep,
    parameters: Vec<MuonParam<'_, B>>,
    health: &Health<B>,
) -> Result<()> {
    let MuonStep { lr, momentum, nesterov, ns_steps, rescale, max_norm } = *step;
    for MuonParam { value, gradient, velocity, rows, columns, lr_scale, weight_decay } in parameters {
        let mut direction = zeros(backend, value)?;
        // From 0 at a rate of -1: the step itself, and 0 where it is refused.
        let sgd = SgdStep { lr: -1.0, momentum, nesterov, max_norm };
        let moved = SgdParam { value: &mut direction, gradient, velocity, lr_scale: 1.0, weight_decay: 0.0 };
        backend.sgd(&sgd, &mut [moved], health)?;
        let orthogonal = orthogonal(backend, &direction, rows, columns, ns_steps)?;

        let plain = |lr: f64| SgdStep { lr, momentum: 0.0, nesterov: false, max_norm: f64::INFINITY };
        // These steps have no momentum: what they leave for a velocity is of no use, but 0 times what was there must be 0.
        let mut unused = zeros(backend, value)?;
        if rescale {
            let mut change = unit(backend, value, (columns as f64).sqrt())?;
            backend.blend(&mut change, 1.0, value, -1.0)?;
            let param = SgdParam {
                value: &mut *value,
                gradient: &change,
                velocity: &mut unused,
                lr_scale: 1.0,
                weight_decay: 0.0,
            };
            backend.sgd(&plain(-1.0), &mut [param], health)?;
        }
        let param = SgdParam { value, gradient: &orthogonal, velocity: &mut unused, lr_scale, weight_decay };
        backend.sgd(&plain(lr), &mut [param], health)?;
    }
    Ok(())
}

/// About the orthogonal matrix \[rows, columns\] nearest to `x`: its singular vectors, with values near 1. By Newton and
/// Schulz's iteration, with products of the smaller of `x' x` and `x x'`.
fn orthogonal<B: Backend>(backend: &B, x: &Wide<B>, rows: usize, columns: usize, iterations: u32) -> Result<Wide<B>> {
    let mut x = unit(backend, x, 1.0)?;
    let tall = rows >= columns;
    let side = rows.min(columns);
    // `x` times a matrix of that side behind it, or such a matrix times `x`.
    let whole = LinearSpec { rows, inputs: side, outputs: columns };
    let square = LinearSpec { rows: side, inputs: side, outputs: side };
    let times = |spec: &LinearSpec, left: &Wide<B>, right: &Wide<B>| {
        let product = backend.linear(spec, &backend.narrow(left)?, right, Epilogue::bias(None))?;
        backend.widen(&product)
    };
    let [a, b, c] = POLYNOMIAL;
    for _ in 0..iterations {
        let narrow = backend.narrow(&x)?;
        let mut gram = match tall {
            true => backend.linear_backward_weight(&whole, &narrow, &narrow)?,
            false => backend.widen(&backend.linear_backward_data(&whole, &narrow, &x)?)?,
        };
        let gram_squared = times(&square, &gram, &gram)?;
        backend.blend(&mut gram, b, &gram_squared, c)?;
        let product = if tall { times(&whole, &x, &gram)? } else { times(&whole, &gram, &x)? };
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
