//! Optimisers: one pass over weights, gradients and state.

use cnn_core::backend::{AdamParam, AdamStep, Health, SgdParam, SgdStep, Wide};
use cnn_core::{Real, Result};

use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};
use crate::threads::{CHUNK, chunks};
use crate::{Buffer, Cpu};

pub(crate) fn gradient_health<T: CpuElement>(
    cpu: &Cpu<T>,
    loss: &Wide<Cpu<T>>,
    gradients: &[&Wide<Cpu<T>>],
) -> Result<Health<Cpu<T>>> {
    let mut squares = 0.0;
    for gradient in gradients {
        let gradient = gradient.as_slice();
        let mut sums = cpu.scratch::<f64>(gradient.len().div_ceil(CHUNK));
        cpu.for_each_part(chunks(&mut sums, 1), |i, sum: &mut [f64]| {
            let end = gradient.len().min((i + 1) * CHUNK);
            sum[0] = cpu.run(SquaredNorm(&gradient[i * CHUNK..end]));
        });
        squares += sums.iter().sum::<f64>();
    }
    let norm = squares.sqrt();
    let finite = norm.is_finite() && loss.as_slice().iter().all(|loss| loss.is_finite());
    Ok(Health { norm: cpu.filled(1, T::from_f64(norm)), finite: cpu.filled(1, u32::from(finite)) })
}

/// The sum of squares: rows of lanes in the element's precision, each row's sum in f64.
struct SquaredNorm<'a, T>(&'a [T]);

impl<T: CpuElement> Kernel for SquaredNorm<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        /// Elements that are summed in their own precision.
        const ROW: usize = 512;
        let mut sum = 0.0;
        for row in self.0.chunks(ROW) {
            let mut squares = V::<T, S>::zero(simd);
            for i in (0..row.len()).step_by(V::<T, S>::LANES) {
                let x = V::<T, S>::read(simd, &row[i..]);
                squares = x.mul_add(x, squares);
            }
            sum += squares.reduce_sum().as_f64();
        }
        sum
    }
}

/// The factor that brings gradients of this norm down to `max_norm`, as `torch.nn.utils.clip_grad_norm_` has it; none
/// when the step must not be made.
fn clip<T: CpuElement>(health: &Health<Cpu<T>>, max_norm: f64) -> Option<f64> {
    let norm = health.norm.as_slice().first()?.as_f64();
    let finite = health.finite.as_slice().first() == Some(&1);
    finite.then(|| if norm > max_norm { max_norm / (norm + 1e-6) } else { 1.0 })
}

pub(crate) fn sgd<T: CpuElement>(
    cpu: &Cpu<T>,
    step: &SgdStep,
    parameters: &mut [SgdParam<'_, Cpu<T>>],
    health: &Health<Cpu<T>>,
) -> Result<()> {
    let Some(clip) = clip(health, step.max_norm) else { return Ok(()) };
    for SgdParam { value, gradient, velocity, lr_scale, weight_decay } in parameters {
        let numbers = Sgd {
            rate: -step.lr * *lr_scale,
            momentum: step.momentum,
            nesterov: step.nesterov,
            weight_decay: *weight_decay,
            clip,
        };
        let parts = (chunks(value.make_mut(), CHUNK), chunks(velocity.make_mut(), CHUNK));
        cpu.for_each_part(parts, |i, (value, velocity)| {
            let gradient = part(gradient, i, value.len());
            cpu.run(SgdPart { value, velocity, gradient, numbers });
        });
    }
    Ok(())
}

/// The part of `buffer` that belongs to part `i` of parameters cut into chunks.
fn part<T: CpuElement>(buffer: &Buffer<T>, i: usize, len: usize) -> &[T] {
    &buffer.as_slice()[i * CHUNK..][..len]
}

#[derive(Clone, Copy)]
struct Sgd {
    rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    clip: f64,
}

struct SgdPart<'a, T> {
    value: &'a mut [T],
    velocity: &'a mut [T],
    gradient: &'a [T],
    numbers: Sgd,
}

impl<T: CpuElement> Kernel for SgdPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SgdPart { value, velocity, gradient, numbers } = self;
        let number = |x: f64| V::<T, S>::splat(simd, T::from_f64(x));
        let (rate, momentum) = (number(numbers.rate), number(numbers.momentum));
        let (decay, clip) = (number(numbers.weight_decay), number(numbers.clip));
        for i in (0..value.len()).step_by(V::<T, S>::LANES) {
            let w = V::<T, S>::read(simd, &value[i..]);
            let g = V::<T, S>::read(simd, &gradient[i..]).mul(clip);
            let g = decay.mul_add(w, g);
            let v = momentum.mul_add(V::<T, S>::read(simd, &velocity[i..]), g);
            let direction = if numbers.nesterov { momentum.mul_add(v, g) } else { v };
            v.write(&mut velocity[i..]);
            rate.mul_add(direction, w).write(&mut value[i..]);
        }
    }
}

pub(crate) fn adam<T: CpuElement>(
    cpu: &Cpu<T>,
    step: &AdamStep,
    parameters: &mut [AdamParam<'_, Cpu<T>>],
    health: &Health<Cpu<T>>,
) -> Result<()> {
    let Some(clip) = clip(health, step.max_norm) else { return Ok(()) };
    let AdamStep { lr, beta1, beta2, eps, t, decoupled, .. } = *step;
    let correction = |beta: f64| 1.0 - beta.powf(t as f64);
    for AdamParam { value, gradient, m, v, lr_scale, weight_decay } in parameters {
        let lr = lr * *lr_scale;
        let numbers = Adam {
            rate: -lr / correction(beta1),
            betas: [beta1, beta2],
            root: 1.0 / correction(beta2).sqrt(),
            eps,
            keep: if decoupled { 1.0 - lr * *weight_decay } else { 1.0 },
            weight_decay: if decoupled { 0.0 } else { *weight_decay },
            clip,
        };
        let parts = (chunks(value.make_mut(), CHUNK), chunks(m.make_mut(), CHUNK), chunks(v.make_mut(), CHUNK));
        cpu.for_each_part(parts, |i, (value, m, v)| {
            let gradient = part(gradient, i, value.len());
            cpu.run(AdamPart { value, m, v, gradient, numbers });
        });
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Adam {
    /// Minus the learning rate, over the first moment's bias correction.
    rate: f64,
    betas: [f64; 2],
    /// One over the root of the second moment's bias correction.
    root: f64,
    eps: f64,
    /// What decoupled decay leaves of a weight.
    keep: f64,
    weight_decay: f64,
    clip: f64,
}

struct AdamPart<'a, T> {
    value: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
    gradient: &'a [T],
    numbers: Adam,
}

impl<T: CpuElement> Kernel for AdamPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AdamPart { value, m, v, gradient, numbers } = self;
        let number = |x: f64| V::<T, S>::splat(simd, T::from_f64(x));
        let [beta1, beta2] = numbers.betas.map(number);
        let [rest1, rest2] = numbers.betas.map(|beta| number(1.0 - beta));
        let (rate, root, eps) = (number(numbers.rate), number(numbers.root), number(numbers.eps));
        let (keep, decay, clip) = (number(numbers.keep), number(numbers.weight_decay), number(numbers.clip));
        for i in (0..value.len()).step_by(V::<T, S>::LANES) {
            let w = V::<T, S>::read(simd, &value[i..]);
            let g = decay.mul_add(w, V::<T, S>::read(simd, &gradient[i..]).mul(clip));
            let first = beta1.mul_add(V::<T, S>::read(simd, &m[i..]), rest1.mul(g));
            let second = beta2.mul_add(V::<T, S>::read(simd, &v[i..]), rest2.mul(g).mul(g));
            first.write(&mut m[i..]);
            second.write(&mut v[i..]);
            let direction = first.div(root.mul_add(second.sqrt(), eps));
            rate.mul_add(direction, w.mul(keep)).write(&mut value[i..]);
        }
    }
}
