//! Optimiser steps.

use cnn_core::backend::{AdamParam, AdamStep, Backend, Device, SgdParam, SgdStep};

use crate::{agree, data, normal, read, read_u32, wide};

/// Parameters small and large.
const LENGTHS: [usize; 6] = [1, 0, 40_000, 16, 17, 16_385];

#[test]
fn the_norm_and_its_health() {
    let gradients = LENGTHS.map(|n| normal(n, 1));
    for (loss, bad) in [(0.5, None), (f64::NAN, None), (f64::INFINITY, None), (0.5, Some(f64::NAN))] {
        agree!((loss, bad), [1e-7, 1e-12], |b| {
            let mut gradients = gradients.clone();
            gradients[2][39_999] = bad.unwrap_or(1.0);
            let gradients = gradients.map(|g| wide(b, &g));
            let health = b.gradient_health(Some(&wide(b, &[loss])), &gradients.each_ref()).unwrap();
            vec![read(b, &health.norm), read_u32(b, &health.finite)]
        });
    }
    // Squares that f32 does not hold.
    agree!("large", [1e-7, 1e-12], |b| {
        let health = b.gradient_health(None, &[&wide(b, &[3e30, 4e30]), &wide(b, &[])]).unwrap();
        vec![read(b, &health.norm), read_u32(b, &health.finite)]
    });
    agree!("nothing", [0.0; 2], |b| {
        let health = b.gradient_health(None, &[]).unwrap();
        vec![read(b, &health.norm), read_u32(b, &health.finite)]
    });
}

#[test]
fn sgd() {
    const NEVER: f64 = f64::INFINITY;
    for (nesterov, momentum, max_norm, loss) in
        [(false, 0.9, NEVER, 0.0), (true, 0.9, 100.0, 0.0), (false, 0.0, 1000.0, 0.0), (true, 0.9, NEVER, f64::NAN)]
    {
        agree!((nesterov, momentum, max_norm, loss), [3e-7, 1e-13], |b| {
            let step = SgdStep { lr: 0.1, momentum, nesterov, max_norm };
            let mut values = LENGTHS.map(|n| wide(b, &normal(n, 1)));
            let mut velocities = LENGTHS.map(|n| wide(b, &vec![0.0; n]));
            let before = values.clone(); // shared: must stay
            for seed in 2..5 {
                let gradients = LENGTHS.map(|n| wide(b, &normal(n, seed)));
                let health = b.gradient_health(Some(&wide(b, &[loss])), &gradients.each_ref()).unwrap();
                let state = values.iter_mut().zip(&mut velocities).zip(&gradients).enumerate();
                let mut parameters: Vec<_> = state
                    .map(|(i, ((value, velocity), gradient))| {
                        let (lr_scale, weight_decay) = (1.0 + i as f64 / 8.0, 0.01 * i as f64);
                        SgdParam { value, gradient, velocity, lr_scale, weight_decay }
                    })
                    .collect();
                b.sgd(&step, &mut parameters, &health).unwrap();
            }
            values.iter().chain(&velocities).chain(&before).map(|of| read(b, of)).collect()
        });
    }
}

#[test]
fn adam() {
    for (decoupled, max_norm, loss) in [(false, f64::INFINITY, 0.0), (true, 50.0, 0.0), (true, 50.0, f64::INFINITY)] {
        agree!((decoupled, max_norm, loss), [3e-7, 1e-13], |b| {
            let mut values = LENGTHS.map(|n| wide(b, &normal(n, 1)));
            let (mut ms, mut vs) = (LENGTHS.map(|n| wide(b, &vec![0.0; n])), LENGTHS.map(|n| wide(b, &vec![0.0; n])));
            let mut steps = LENGTHS.map(|_| b.fill(1, 0u32).unwrap());
            for t in 1..4 {
                let (lr, beta1, beta2, eps) = (0.01, 0.9, 0.99, 1e-6);
                let step = AdamStep { lr, beta1, beta2, eps, decoupled, max_norm };
                let gradients = LENGTHS.map(|n| wide(b, &normal(n, t as u32 + 1)));
                let health = b.gradient_health(Some(&wide(b, &[loss])), &gradients.each_ref()).unwrap();
                let state = values.iter_mut().zip(&mut ms).zip(&mut vs).zip(&mut steps).zip(&gradients).enumerate();
                let mut parameters: Vec<_> = state
                    .map(|(i, ((((value, m), v), steps), gradient))| {
                        let (lr_scale, weight_decay) = (1.0 + i as f64 / 8.0, 0.01 * i as f64);
                        AdamParam { value, gradient, m, v, steps, lr_scale, weight_decay }
                    })
                    .collect();
                b.adam(&step, &mut parameters, &health).unwrap();
            }
            let counts = steps.iter().map(|of| read_u32(b, of));
            values.iter().chain(&ms).chain(&vs).map(|of| read(b, of)).chain(counts).collect()
        });
    }
}

#[test]
fn blend() {
    for n in LENGTHS {
        let (a, b) = (normal(n, 1), normal(n, 2));
        agree!(n, [3e-7, 1e-15], |backend| {
            let (mut into, from) = (wide(backend, &a), wide(backend, &b));
            let before = into.clone(); // shared: must stay
            backend.blend(&mut into, 0.75, &from, -0.3).unwrap();
            backend.blend(&mut into, 1.0, &from, 1.0).unwrap(); // not shared: in place
            vec![read(backend, &into), read(backend, &from), read(backend, &before)]
        });
    }
    let b = &crate::cpus().f32[0][0];
    let error = b.blend(&mut wide(b, &[0.0; 2]), 1.0, &wide(b, &[0.0; 3]), 1.0).unwrap_err().to_string();
    assert_eq!(error, "length of a blended buffer 3: must be 2, that of the one it is blended into");
}

#[test]
fn state_of_another_length_is_refused() {
    let b = &crate::cpus().f32[0][0];
    let step = SgdStep { lr: 1.0, momentum: 0.0, nesterov: false, max_norm: 1.0 };
    let (mut value, mut velocity, gradient) = (data(b, &[0.0; 2]), data(b, &[0.0; 3]), data(b, &[0.0; 2]));
    let health = b.gradient_health(None, &[&gradient]).unwrap();
    let p =
        SgdParam { value: &mut value, gradient: &gradient, velocity: &mut velocity, lr_scale: 1.0, weight_decay: 0.0 };
    let error = b.sgd(&step, &mut [p], &health).unwrap_err().to_string();
    assert!(error.contains("must be as long as the gradient, which has 2"), "{error}");
}
