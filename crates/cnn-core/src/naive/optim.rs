//! Blends of parameters, optimiser steps and the check that allows them.

use std::sync::Arc;

use num_traits::{Float, One, Zero};

use super::Naive;
use crate::backend::{AdamParam, AdamStep, Health, SgdParam, SgdStep, Wide};
use crate::element::{Element, Real};

/// `into = a * into + b * from`.
pub(super) fn blend<E: Element>(into: &mut Wide<Naive<E>>, a: f64, from: &Wide<Naive<E>>, b: f64) {
    let [a, b] = [a, b].map(E::Accum::from_f64);
    for (into, &from) in Arc::make_mut(into).iter_mut().zip(from.iter()) {
        *into = a * *into + b * from;
    }
}

/// The norm of all gradients, and whether it and the loss are finite, and it is no larger than `largest`. The squares are
/// summed in f64: that of a large f32 would overflow.
pub(super) fn health<E: Element>(
    loss: Option<&Wide<Naive<E>>>,
    gradients: &[&Wide<Naive<E>>],
    largest: f64,
) -> Health<Naive<E>> {
    let squares: f64 = gradients.iter().flat_map(|gradient| gradient.iter()).map(|g| g.as_f64() * g.as_f64()).sum();
    let norm = E::Accum::from_f64(squares.sqrt());
    let finite = norm.is_finite()
        && norm.as_f64() <= largest
        && loss.iter().all(|loss| loss.iter().all(|loss| loss.is_finite()));
    Health { norm: Arc::new(vec![norm]), finite: Arc::new(vec![u32::from(finite)]) }
}

/// The factor on all gradients, or none when the step must not be taken.
fn clip<E: Element>(max_norm: f64, health: &Health<Naive<E>>) -> Option<E::Accum> {
    let (max_norm, norm) = (E::Accum::from_f64(max_norm), health.norm[0]);
    let factor = if norm > max_norm { max_norm / norm } else { E::Accum::one() };
    (health.finite[0] != 0).then_some(factor)
}

/// One step of SGD, see [`SgdStep`].
pub(super) fn sgd<E: Element>(step: &SgdStep, parameters: &mut [SgdParam<'_, Naive<E>>], health: &Health<Naive<E>>) {
    let Some(clip) = clip(step.max_norm, health) else { return };
    let momentum = E::Accum::from_f64(step.momentum);
    for p in parameters {
        let lr = E::Accum::from_f64(step.lr * p.lr_scale);
        let weight_decay = E::Accum::from_f64(p.weight_decay);
        let (value, velocity) = (Arc::make_mut(p.value), Arc::make_mut(p.velocity));
        for i in 0..value.len() {
            let g = p.gradient[i] * clip + weight_decay * value[i];
            velocity[i] = momentum * velocity[i] + g;
            value[i] -= lr * if step.nesterov { g + momentum * velocity[i] } else { velocity[i] };
        }
    }
}

/// One step of Adam or AdamW, see [`AdamStep`].
pub(super) fn adam<E: Element>(step: &AdamStep, parameters: &mut [AdamParam<'_, Naive<E>>], health: &Health<Naive<E>>) {
    let Some(clip) = clip(step.max_norm, health) else { return };
    let number = E::Accum::from_f64;
    let (beta1, beta2, eps) = (number(step.beta1), number(step.beta2), number(step.eps));
    let (rest1, rest2) = (number(1.0 - step.beta1), number(1.0 - step.beta2));
    for p in parameters {
        Arc::make_mut(p.steps).iter_mut().for_each(|steps| *steps = steps.saturating_add(1));
        // Both moments start at zero; this undoes the bias of their first steps.
        let t = f64::from(p.steps[0]);
        let correction1 = 1.0 - step.beta1.powf(t);
        let correction2 = number((1.0 - step.beta2.powf(t)).sqrt());
        let lr = step.lr * p.lr_scale;
        let (decay, penalty) = match step.decoupled {
            true => (number(1.0 - lr * p.weight_decay), E::Accum::zero()),
            false => (E::Accum::one(), number(p.weight_decay)),
        };
        let lr = number(lr / correction1);
        let (value, m, v) = (Arc::make_mut(p.value), Arc::make_mut(p.m), Arc::make_mut(p.v));
        for i in 0..value.len() {
            let g = p.gradient[i] * clip + penalty * value[i];
            m[i] = beta1 * m[i] + rest1 * g;
            v[i] = beta2 * v[i] + rest2 * g * g;
            value[i] = decay * value[i] - lr * m[i] / (v[i].sqrt() / correction2 + eps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    const GRADIENTS: [[f64; 3]; 3] = [[0.5, -1.0, 0.25], [-0.75, 0.5, 1.5], [0.1, 0.2, -0.3]];

    fn close(got: &[f64], expected: &[f64]) {
        let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-15 * 4.0);
        assert!(near, "got {got:?}, expected {expected:?}");
    }

    fn healthy() -> Health<Naive<f64>> {
        health(None, &[&Arc::new(vec![1.0])], f64::INFINITY)
    }

    // p = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))                 # float64
    // o = torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov)
    // for g in GRADIENTS: p.grad = torch.tensor(g); o.step()
    #[test]
    fn sgd_like_pytorch() {
        for (nesterov, expected) in [
            (false, [0.991_509_749, -1.833_119_498, 2.660_679_372]),
            (true, [1.004_508_708_191, -1.814_378_416_382, 2.541_218_481_948]),
        ] {
            let step = SgdStep { lr: 0.1, momentum: 0.9, nesterov, max_norm: f64::INFINITY };
            let (mut value, mut velocity) = (Arc::new(vec![1.0, -2.0, 3.0]), Arc::new(vec![0.0; 3]));
            for gradient in GRADIENTS {
                let gradient = Arc::new(gradient.to_vec());
                let (value, velocity) = (&mut value, &mut velocity);
                let p = SgdParam { value, gradient: &gradient, velocity, lr_scale: 1.0, weight_decay: 0.01 };
                Naive::<f64>::new().sgd(&step, &mut [p], &healthy()).unwrap();
            }
            close(&value, &expected);
        }
    }

    // The same with torch.optim.Adam and AdamW([p], lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.05)
    #[test]
    fn adam_like_pytorch() {
        for (decoupled, expected) in [
            (false, [0.920_518_073_663_129_7, -1.839_896_410_091_445_7, 2.750_194_297_795_913]),
            (true, [0.922_695_566_959_630_5, -1.835_573_369_806_576, 2.720_767_388_591_832_4]),
        ] {
            let mut value = Arc::new(vec![1.0, -2.0, 3.0]);
            let (mut m, mut v, mut steps) = (Arc::new(vec![0.0; 3]), Arc::new(vec![0.0; 3]), Arc::new(vec![0]));
            for gradient in GRADIENTS {
                let (lr, beta1, beta2, eps) = (0.1, 0.9, 0.99, 1e-6);
                let step = AdamStep { lr, beta1, beta2, eps, decoupled, max_norm: f64::INFINITY };
                let gradient = Arc::new(gradient.to_vec());
                let (value, m, v, steps) = (&mut value, &mut m, &mut v, &mut steps);
                let p = AdamParam { value, gradient: &gradient, m, v, steps, lr_scale: 1.0, weight_decay: 0.05 };
                Naive::<f64>::new().adam(&step, &mut [p], &healthy()).unwrap();
            }
            close(&value, &expected);
        }
    }

    #[test]
    fn gradients_are_clipped_and_a_bad_step_changes_nothing() {
        let gradient = Arc::new(vec![3.0, 4.0]);
        let step = SgdStep { lr: 1.0, momentum: 0.0, nesterov: false, max_norm: 1.0 };
        for (loss, expected) in [(0.5, [-0.6, -0.8]), (f64::NAN, [0.0, 0.0])] {
            let (mut value, mut velocity) = (Arc::new(vec![0.0; 2]), Arc::new(vec![0.0; 2]));
            let health = health(Some(&Arc::new(vec![loss])), &[&gradient], f64::INFINITY);
            assert_eq!((health.norm[0], health.finite[0]), (5.0, u32::from(loss == 0.5)));
            let velocity = &mut velocity;
            let p = SgdParam { value: &mut value, gradient: &gradient, velocity, lr_scale: 1.0, weight_decay: 0.0 };
            sgd::<f64>(&step, &mut [p], &health);
            close(&value, &expected);
        }
    }
}
