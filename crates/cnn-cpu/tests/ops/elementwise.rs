//! Activations, dropout, addition.

use cnn_core::backend::Activation;
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Backend, Inference};

use crate::{agree, cpus, data, normal, read, whole};

/// Lengths around those of vectors and of parts.
const LENGTHS: [usize; 8] = [0, 1, 7, 16, 17, 129, 16_384, 40_001];

#[test]
fn relu_and_addition_are_exact() {
    for n in LENGTHS {
        let (a, b) = (whole(n, 9, 1), whole(n, 9, 2));
        agree!(n, [0.0; 2], |backend| {
            let (x, y) = (data(backend, &a), data(backend, &b));
            let mut out = vec![read(backend, &backend.activate(Activation::Relu, x.clone()).unwrap())];
            out.push(read(backend, &backend.activate_backward(Activation::Relu, &y, x.clone()).unwrap())); // shared: x must stay
            out.push(read(backend, &backend.add(x.clone(), &y).unwrap()));
            out.push(read(backend, &x));
            out.push(read(backend, &backend.add(x, &y).unwrap())); // not shared: in place
            out
        });
    }
}

#[test]
fn nan_passes_and_zero_has_no_slope() {
    let x = [f64::NAN, -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY, -1.0, 2.0];
    agree!("specials", [0.0; 2], |b| {
        let dx = b.activate_backward(Activation::Relu, &data(b, &x), data(b, &[3.0; 7])).unwrap();
        let y = b.activate(Activation::Relu, data(b, &x)).unwrap();
        vec![read(b, &y).iter().map(|y| y + 0.0).collect(), read(b, &dx)] // -0 is 0 here
    });
}

#[test]
fn gelu() {
    for n in LENGTHS {
        let (x, dy) = (normal(n, 3), normal(n, 4));
        agree!(n, [3e-7, 1e-15], |b| {
            let (x, dy) = (data(b, &x), data(b, &dy));
            vec![
                read(b, &b.activate(Activation::Gelu, x.clone()).unwrap()),
                read(b, &b.activate_backward(Activation::Gelu, &x, dy).unwrap()),
            ]
        });
    }
}

/// Digit by digit, as finite differences and the tails need it.
#[test]
fn gelu_is_accurate_everywhere() {
    let x: Vec<f64> = (-3200..3200).map(|i| f64::from(i) / 256.0).chain([0.0, 1e-20, 60.0, -60.0, 3e4]).collect();
    let both = |b: &dyn Fn(&[f64]) -> [Vec<f64>; 2]| b(&x);
    fn run<B: Backend>(b: &B, x: &[f64]) -> [Vec<f64>; 2] {
        let (x, ones) = (data(b, x), data(b, &vec![1.0; x.len()]));
        [
            read(b, &b.activate(Activation::Gelu, x.clone()).unwrap()),
            read(b, &b.activate_backward(Activation::Gelu, &x, ones).unwrap()),
        ]
    }
    let expected = both(&|x| run(&cnn_core::Naive::<f64>::new(), x));
    for (i, (f32, f64)) in cpus().f32.iter().zip(&cpus().f64).enumerate() {
        let check = |got: [Vec<f64>; 2], (near, far): (f64, f64)| {
            for (of, (got, expected)) in got.iter().zip(&expected).enumerate() {
                for ((got, expected), x) in got.iter().zip(expected).zip(&x) {
                    let error = (got - expected).abs();
                    // Relative to the value, more so in the tail; the slope crosses zero near -0.75.
                    let scale = if of == 1 && *x > -2.0 { 1.0 } else { expected.abs() };
                    let limit = scale * (near + far * x * x) + 1e-37;
                    assert!(error <= limit, "isa {i}, result {of} at {x}: got {got:e}, expected {expected:e}");
                }
            }
        };
        check(both(&|x| run(&f32[0], x)), (6e-7, 1e-7));
        check(both(&|x| run(&f64[0], x)), (1e-15, 2e-16));
    }
}

#[test]
fn dropout_draws_the_words_of_its_mask() {
    let mask = Philox::new(5, Purpose::Dropout, 6, 7);
    for n in LENGTHS {
        let x = normal(n, 8);
        for probability in [0.0, 0.3, 0.5, 1.0] {
            agree!((n, probability), [1e-7, 0.0], |b| {
                let x = data(b, &x);
                let shared = b.dropout(x.clone(), probability, &mask).unwrap();
                vec![read(b, &x), read(b, &shared), read(b, &b.dropout(x, probability, &mask).unwrap())]
            });
        }
    }
}
