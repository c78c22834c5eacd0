//! Muon: steps that are orthogonal, whatever the matrix; which parameters it moves; what is refused and resumed.

use cnn_core::archive::Archive;
use cnn_core::nn::{Init, Linear, Module, name_fields, parameters, parameters_mut};
use cnn_core::optim::{Group, Method, Optimizer, OptimizerOptions};
use cnn_core::{Device, Element, Gradients, Naive, Pass, Real, Tensor, bf16};

type N = Naive<f64>;

/// What `steps` iterations make of a singular value.
fn polynomial(value: f64, steps: u32) -> f64 {
    (0..steps).fold(value, |s, _| 3.4445 * s - 4.775 * s.powi(3) + 2.0315 * s.powi(5))
}

/// A rotation of `size` dimensions: a turn in each plane of neighbours, and of the first and the last.
fn rotation(size: usize, seed: f64) -> Vec<Vec<f64>> {
    let mut matrix: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for turn in 0..2 * size {
        let (i, j) = (turn % size, (turn + 1) % size);
        let (sin, cos) = (seed + turn as f64).sin_cos();
        if i != j {
            for row in &mut matrix {
                (row[i], row[j]) = (cos * row[i] - sin * row[j], sin * row[i] + cos * row[j]);
            }
        }
    }
    matrix
}

/// `sum of values[k] * left[.][k] * right[.][k]`, row by row.
fn compose(left: &[Vec<f64>], values: &[f64], right: &[Vec<f64>]) -> Vec<f64> {
    let entry = |a: &Vec<f64>, b: &Vec<f64>| values.iter().enumerate().map(|(k, value)| value * a[k] * b[k]).sum();
    left.iter().flat_map(|a| right.iter().map(move |b| entry(a, b))).collect()
}

/// A dense layer with these weights, and gradients of which that of the weights is the given one.
fn layer<E: Element>(rows: usize, columns: usize, weights: &[f64], gradient: &[f64]) -> Case<E> {
    let backend = Naive::<E>::new();
    let upload =
        |values: &[f64]| backend.upload(&values.iter().map(|&v| Real::from_f64(v)).collect::<Vec<_>>()).unwrap();
    let mut layer = Linear::new(&mut Init::new(&backend, 3), rows, columns).unwrap();
    name_fields(&mut layer);
    *parameters_mut(&mut layer)[0].value_mut() = upload(weights);
    let x = Tensor::from_slice(&backend, [1, rows], &vec![Real::from_f64(0.5); rows]).unwrap();
    let loss = layer.call(&Pass::train(&backend, 0).input(x).unwrap()).unwrap().cross_entropy(&[0], 0.0).unwrap();
    let mut gradients = loss.backward().unwrap();
    *gradients.by_key_mut(0).unwrap() = upload(gradient);
    Case { layer, gradients }
}

struct Case<E: Element> {
    layer: Linear<Naive<E>>,
    gradients: Gradients<Naive<E>>,
}

impl<E: Element> Case<E> {
    fn optimizer(&self, options: OptimizerOptions) -> Optimizer<Naive<E>> {
        Optimizer::new(&Naive::new(), &self.layer, options).unwrap()
    }

    /// Weights, then the bias.
    fn values(&self) -> [Vec<f64>; 2] {
        let parameters = parameters(&self.layer);
        [0, 1].map(|i| parameters[i].value().iter().map(|v| v.as_f64()).collect())
    }
}

fn muon(momentum: f64, ns_steps: u32, rescale: bool) -> OptimizerOptions {
    OptimizerOptions::new(Method::Muon { momentum, nesterov: true, ns_steps, rescale })
}

fn close(what: &str, got: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= bound, "{what}, number {i}: {got}, not {expected}");
    }
}

/// A gradient of known singular values, and what becomes of it.
fn known(rows: usize, columns: usize, ns_steps: u32) -> [Vec<f64>; 2] {
    let side = rows.min(columns);
    let (left, right) = (rotation(rows, 0.3), rotation(columns, 1.7));
    let values: Vec<f64> = (0..side).map(|k| 5.0 / (k + 1) as f64).collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let after: Vec<f64> = values.iter().map(|value| polynomial(value / norm, ns_steps)).collect();
    [compose(&left, &values, &right), compose(&left, &after, &right)]
}

#[test]
fn singular_values_follow_the_polynomial_and_vectors_stay() {
    for (rows, columns) in [(6, 6), (9, 4), (4, 9), (1, 5), (5, 1), (2, 3)] {
        for ns_steps in [1, 3, 5] {
            let [gradient, direction] = known(rows, columns, ns_steps);
            let factor = (columns as f64 / rows as f64).max(1.0).sqrt();
            let expected: Vec<f64> = direction.iter().map(|d| 2.0 * 0.9 - 0.1 * factor * d).collect();
            let mut case = layer::<f64>(rows, columns, &vec![2.0; rows * columns], &gradient);
            let mut optimizer = case.optimizer(muon(0.9, ns_steps, false).weight_decay(1.0));
            optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap();
            close(&format!("{rows}x{columns} by {ns_steps}"), &case.values()[0], &expected, 1e-12);
        }
    }
}

#[test]
fn five_iterations_leave_values_near_one_however_long_the_gradient_is() {
    // Also in f32, and in bf16, which has 8 bits.
    fn step<E: Element>(length: f64) -> Vec<f64> {
        let [gradient, _] = known(8, 5, 5);
        let gradient: Vec<f64> = gradient.iter().map(|g| g * length).collect();
        let mut case = layer::<E>(8, 5, &[0.0; 40], &gradient);
        let mut optimizer = case.optimizer(muon(0.0, 5, false));
        assert_eq!(optimizer.step(1.0, &mut case.layer, &case.gradients).unwrap().finite[0], 1);
        case.values()[0].iter().map(|w| -w).collect()
    }
    let [_, expected] = known(8, 5, 5);
    for length in [1e-6, 1.0, 1e6, 1e20] {
        close("f64", &step::<f64>(length), &expected, 1e-9);
        close("f32", &step::<f32>(length), &expected, 1e-5);
        close("bf16", &step::<bf16>(length), &expected, 0.05);
    }
    for value in [0, 1, 2, 3, 4].map(|k| polynomial(f64::from(k).exp2() * 0.01, 5)) {
        assert!((0.65..1.25).contains(&value), "{value}");
    }
    // No direction at all, and none that is lost in the length of another.
    assert_eq!(step::<f32>(0.0), vec![0.0; 40]);
}

#[test]
fn weights_are_rescaled_before_the_step() {
    let [gradient, direction] = known(6, 4, 3);
    let weights: Vec<f64> = (0..24).map(|i| f64::from(i % 7) - 2.5).collect();
    let norm = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
    let expected: Vec<f64> = weights.iter().zip(&direction).map(|(w, d)| w * 4.0_f64.sqrt() / norm - 0.2 * d).collect();
    let mut case = layer::<f64>(6, 4, &weights, &gradient);
    let mut optimizer = case.optimizer(muon(0.6, 3, true));
    optimizer.step(0.2, &mut case.layer, &case.gradients).unwrap();
    close("rescaled", &case.values()[0], &expected, 1e-12);
    // Weights of 0 have no direction to keep.
    let mut case = layer::<f64>(6, 4, &[0.0; 24], &gradient);
    case.optimizer(muon(0.6, 3, true)).step(0.2, &mut case.layer, &case.gradients).unwrap();
    close("from 0", &case.values()[0], &direction.iter().map(|d| -0.2 * d).collect::<Vec<_>>(), 1e-12);
}

#[test]
fn a_refused_step_leaves_weights_and_momentum() {
    let [gradient, _] = known(6, 4, 5);
    let mut case = layer::<f64>(6, 4, &[1.0; 24], &gradient);
    let mut optimizer = case.optimizer(muon(0.9, 5, true).weight_decay(0.1));
    optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap();
    let state = |optimizer: &Optimizer<N>, layer: &Linear<N>| {
        let mut archive = Archive::default();
        optimizer.save(layer, &mut archive).unwrap();
        archive.arrays.remove("steps");
        format!("{:?}", archive.arrays)
    };
    let before = (case.values(), state(&optimizer, &case.layer));
    *case.gradients.by_key_mut(1).unwrap() = N::new().upload(&[f64::NAN, 0.0, 0.0, 0.0]).unwrap();
    assert_eq!(optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap().finite[0], 0);
    assert_eq!((case.values(), state(&optimizer, &case.layer)), before);
}

#[test]
fn what_is_no_matrix_and_what_a_group_says_is_moved_by_sgd() {
    let [gradient, _] = known(6, 4, 5);
    let after = |options: OptimizerOptions| {
        let mut case = layer::<f64>(6, 4, &[1.0; 24], &gradient);
        let mut optimizer = case.optimizer(options);
        for _ in 0..2 {
            optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap();
        }
        case.values()
    };
    let all @ [muon_weight, muon_bias] = &after(muon(0.9, 5, false));
    let [sgd_weight, sgd_bias] = after(OptimizerOptions::new(Method::NESTEROV));
    assert_eq!(*muon_bias, sgd_bias);
    assert_ne!(*muon_weight, sgd_weight);
    let group = |method| Group { method: Some(method), ..Group::new("weight", 1.0) };
    assert_eq!(after(muon(0.9, 5, false).group(group(Method::NESTEROV))), [sgd_weight.clone(), sgd_bias]);
    // What is no matrix is none in a group either.
    assert_eq!(
        after(
            OptimizerOptions::new(Method::ADAM)
                .group(Group { method: Some(muon(0.9, 5, false).method), ..Group::new("*", 1.0) })
        ),
        *all
    );
    // The other way round, and a third method beside.
    assert_eq!(after(OptimizerOptions::new(Method::ADAM).group(group(muon(0.9, 5, false).method)))[0], *muon_weight);
    let [weight, adam_bias] = after(OptimizerOptions::new(Method::ADAM).group(group(Method::NESTEROV)));
    assert_eq!(weight, sgd_weight);
    assert_ne!(adam_bias, *muon_bias);
}

#[test]
fn a_resumed_run_goes_on_in_the_same_bits() {
    let [gradient, _] = known(6, 4, 5);
    let options = || muon(0.9, 5, true).group(Group { method: Some(Method::ADAM), ..Group::new("bias", 1.0) });
    let mut case = layer::<f32>(6, 4, &[1.0; 24], &gradient);
    let mut optimizer = case.optimizer(options());
    for step in 0..6 {
        if step == 3 {
            let mut archive = Archive::default();
            optimizer.save(&case.layer, &mut archive).unwrap();
            let mut resumed = case.optimizer(options());
            resumed.load(&case.layer, &archive).unwrap();
            optimizer = resumed;
        }
        optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap();
    }
    let resumed = case.values();
    let mut case = layer::<f32>(6, 4, &[1.0; 24], &gradient);
    let mut optimizer = case.optimizer(options());
    (0..6).for_each(|_| drop(optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap()));
    assert_eq!(case.values(), resumed);
}

#[test]
fn a_rate_that_is_infinite_by_the_shape_is_refused_and_long_gradients_end_in_no_nan() {
    let mut case = layer::<f32>(1, 100, &[1.0; 100], &[1.0; 100]);
    let mut optimizer = case.optimizer(muon(0.9, 5, false));
    let error = optimizer.step(1e38, &mut case.layer, &case.gradients).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("learning rate 1"), "{error}");
    // The velocity passes the largest number of f32, the step is refused or stays finite.
    let mut case = layer::<f32>(4, 3, &[1.0; 12], &[2e38; 12]);
    let mut optimizer = case.optimizer(muon(0.9, 5, true));
    for _ in 0..4 {
        optimizer.step(0.1, &mut case.layer, &case.gradients).unwrap();
        assert!(case.values()[0].iter().all(|w| w.is_finite()), "{:?}", case.values());
    }
}

#[test]
fn options_that_no_step_can_be_made_with_are_refused() {
    let case = layer::<f64>(2, 3, &[1.0; 6], &[1.0; 6]);
    let refused =
        |options| Optimizer::new(&N::new(), &case.layer, options).map(drop).expect_err("accepted").to_string();
    assert_eq!(refused(muon(1.0, 5, false)), "momentum 1: must be at least 0 and below 1");
    for ns_steps in [0, 101, u32::MAX] {
        assert_eq!(refused(muon(0.9, ns_steps, false)), format!("ns_steps {ns_steps}: must be from 1 to 100"));
    }
    let group = Group { method: Some(Method::Sgd { momentum: -1.0, nesterov: false }), ..Group::new("bias", 1.0) };
    let error = refused(muon(0.9, 5, false).group(group));
    assert_eq!(error, "method of the parameter group bias: momentum -1: must be at least 0 and below 1");
}
