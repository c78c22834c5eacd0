//! What a recorded pass promises, and what it refuses, on the readable backend.

use cnn_core::nn::{BatchNorm2d, Gelu, Init, Linear, Module, Sequential, name_fields, parameters, parameters_mut};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Device, Gradients, Naive, Pass, Tensor, Var};

type N = Naive<f64>;

fn enter(pass: &Pass<N>, shape: &[usize]) -> Var<N> {
    let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| (i % 11) as f64 / 5.0 - 1.0).collect();
    pass.input(Tensor::from_slice(pass.backend(), shape, &values).unwrap()).unwrap()
}

#[test]
fn a_parameter_with_a_use_that_no_gradient_reaches_is_ready_when_the_others_are_in() {
    let mut model = Sequential::new().push(Linear::new(&mut Init::new(&N::new(), 0), 4, 3).unwrap());
    name_fields(&mut model);
    // Whether the live use is recorded before the dead one, and whether the dead one is behind the start or beside it.
    for live_first in [true, false] {
        let pass = Pass::train(&N::new(), 0);
        let (x, z) = (enter(&pass, &[2, 4]), enter(&pass, &[2, 4]));
        let (first, second) = (model.call(&x).unwrap(), model.call(&z).unwrap());
        let y = if live_first { first } else { second };
        let mut ready = Vec::new();
        let gradients = y.backward_with(y.ones().unwrap(), &mut |key, gradient| {
            ready.push((key, gradient.to_vec()));
            Ok(())
        });
        let gradients = gradients.unwrap();
        ready.sort_by_key(|(key, _)| *key);
        let expected: Vec<_> = gradients.parameters().map(|(key, gradient)| (key, gradient.to_vec())).collect();
        assert_eq!(expected.len(), 2);
        assert_eq!(ready, expected, "live_first {live_first}: each gradient is reported once, when it is complete");
    }
}

#[test]
fn a_model_without_names_is_not_recorded() {
    let backend = N::new();
    let linear = |seed| Linear::new(&mut Init::new(&backend, seed), 3, 3).unwrap();
    let mut model = Sequential::new().push(linear(1)).push(linear(2));
    let pass = Pass::train(&backend, 0);
    let error = model.call(&enter(&pass, &[2, 3])).unwrap_err().to_string();
    let rule = "]: has no name yet: a model's constructor ends with name_fields(&mut model)";
    assert!(error.starts_with("parameter [3") && error.ends_with(rule), "{error}");
    let options = OptimizerOptions::new(Method::NESTEROV);
    let error = Optimizer::new(&backend, &model, options).unwrap_err().to_string();
    assert!(error.contains("name_fields(&mut model)"), "{error}");
    // It can be evaluated, and trained once it is named.
    model.call(&enter(&Pass::eval(&backend), &[2, 3])).unwrap();
    name_fields(&mut model);
    let pass = Pass::train(&backend, 0);
    let y = model.call(&enter(&pass, &[2, 3])).unwrap();
    assert_eq!(y.backward_from(y.ones().unwrap()).unwrap().parameters().count(), 4);
}

#[test]
fn models_that_were_named_apart_do_not_share_a_recorded_pass() {
    let backend = N::new();
    let named = |seed| {
        let mut model = Linear::new(&mut Init::new(&backend, seed), 3, 3).unwrap();
        name_fields(&mut model);
        model
    };
    let (mut encoder, mut head) = (named(1), named(2));
    let pass = Pass::train(&backend, 0);
    let code = encoder.call(&enter(&pass, &[2, 3])).unwrap();
    let error = head.call(&code).unwrap_err().to_string();
    assert!(error.starts_with("parameter ") && error.contains("name_fields"), "{error}");
    // Nothing is shared with a model that is not trained.
    parameters_mut(&mut head).into_iter().for_each(|p| p.set_requires_grad(false));
    head.call(&code).unwrap();
    // Nor does one optimiser serve both.
    let mut both = Sequential::new().push(encoder).push(head);
    let options = OptimizerOptions::new(Method::NESTEROV);
    assert!(Optimizer::new(&backend, &both, options.clone()).is_err());
    name_fields(&mut both);
    Optimizer::new(&backend, &both, options).unwrap();
}

#[test]
fn values_of_two_passes_do_not_mix() {
    let backend = N::new();
    let (pass, other) = (Pass::train(&backend, 0), Pass::train(&backend, 0));
    let (x, foreign) = (enter(&pass, &[2, 3]).keep_gradient(), enter(&other, &[2, 3]).keep_gradient());
    let error = x.add(&foreign).unwrap_err().to_string();
    assert_eq!(
        error,
        "input 1 of Add [2, 3]: is a value of another pass: bring it in with pass.input(value.tensor()?)"
    );
    // An evaluation's value too: the teacher's, in a distillation.
    let teacher = enter(&Pass::eval(&backend), &[2, 3]);
    assert!(x.add(&teacher).is_err());
    x.add(&pass.input(teacher.tensor().unwrap()).unwrap()).unwrap();

    let mut norm = BatchNorm2d::new(&mut Init::new(&backend, 0), 3).unwrap();
    name_fields(&mut norm);
    let (image, shortcut) = (enter(&pass, &[1, 2, 2, 3]), enter(&other, &[1, 2, 2, 3]));
    let error = norm.add_relu(&image, &shortcut).unwrap_err().to_string();
    assert!(error.contains("input 1 of BatchNorm2d + add + ReLU"), "{error}");
}

/// The gradients of a small model on some rows of a batch, their mean loss being differentiated.
fn gradients_of(model: &mut Sequential<N>, rows: std::ops::Range<usize>) -> Gradients<N> {
    let backend = N::new();
    let values: Vec<f64> = (rows.start * 3..rows.end * 3).map(|i| (i * i % 17) as f64 / 8.0 - 1.0).collect();
    let labels: Vec<u32> = rows.clone().map(|row| row as u32 % 2).collect();
    let pass = Pass::train(&backend, 0);
    let x = pass.input(Tensor::from_slice(&backend, [rows.len(), 3], &values).unwrap()).unwrap();
    model.call(&x).unwrap().cross_entropy(&labels, 0.1).unwrap().backward().unwrap()
}

#[test]
fn gradients_accumulated_over_small_batches_are_those_of_the_large_one() {
    let backend = N::new();
    let init = &mut Init::new(&backend, 5);
    let mut model = Sequential::new().push(Linear::new(init, 3, 5).unwrap()).push(Gelu::default());
    model = model.push(Linear::new(init, 5, 2).unwrap());
    name_fields(&mut model);
    let large = gradients_of(&mut model, 0..8);
    let mut sum = gradients_of(&mut model, 0..2);
    let first = sum.by_key(0).unwrap().clone();
    for start in [2, 4, 6] {
        sum.accumulate(&backend, &gradients_of(&mut model, start..start + 2)).unwrap();
    }
    sum.scale(&backend, 0.25).unwrap();
    assert_eq!(first, gradients_of(&mut model, 0..2).by_key(0).unwrap().clone(), "a shared handle was written to");
    assert_eq!(sum.parameters().count(), 4);
    for ((key, sum), (_, large)) in sum.parameters().zip(large.parameters()) {
        for (sum, large) in sum.iter().zip(large.iter()) {
            assert!((sum - large).abs() < 1e-15, "parameter {key}: {sum}, in one batch {large}");
        }
    }
    // What only one of both has is kept, and what does not fit is refused.
    let mut part = gradients_of(&mut Sequential::new(), 0..1);
    part.accumulate(&backend, &large).unwrap();
    assert_eq!(part.parameters().count(), 4);
    *sum.parameter_mut(parameters(&model)[0]).unwrap() = backend.upload(&[0.0; 7]).unwrap();
    let error = sum.accumulate(&backend, &large).unwrap_err().to_string();
    assert_eq!(error, "length of a blended buffer 15: must be 7, that of the one it is blended into");
}

#[test]
fn gradients_are_of_one_model_and_one_pass() {
    let backend = N::new();
    let built = || {
        let mut model = Sequential::new().push(Linear::new(&mut Init::new(&backend, 5), 3, 2).unwrap());
        name_fields(&mut model);
        model
    };
    let (mut model, mut other) = (built(), built());
    let (mut sum, foreign) = (gradients_of(&mut model, 0..2), gradients_of(&mut other, 0..2));
    let before = sum.by_key(0).unwrap().clone();
    let error = sum.accumulate(&backend, &foreign).unwrap_err().to_string();
    assert_eq!(error, "gradients of 2 parameters: must be those of the model whose gradients they are added to");
    assert_eq!(*sum.by_key(0).unwrap(), before, "nothing was added");
    assert!(foreign.parameter(parameters(&model)[0]).is_none() && sum.parameter(parameters(&model)[0]).is_some());
    assert!(sum.parameter_mut(parameters(&other)[0]).is_none());
    // Of no model at first, then of one.
    let mut none = gradients_of(&mut Sequential::new(), 0..1);
    none.accumulate(&backend, &foreign).unwrap();
    assert!(none.accumulate(&backend, &sum).is_err());

    let run = || {
        let pass = Pass::train(&backend, 0);
        let x = enter(&pass, &[2, 3]).keep_gradient();
        let y = x.relu().unwrap();
        let gradients = y.backward_from(y.ones().unwrap()).unwrap();
        (x, gradients)
    };
    let ((x, gradients), (foreign, _)) = (run(), run());
    gradients.of(&x).unwrap();
    let error = gradients.of(&foreign).unwrap_err().to_string();
    assert_eq!(error, "value 0: is of another pass than the gradients");
}

#[test]
fn a_callback_may_change_a_gradient() {
    let mut model = Linear::new(&mut Init::new(&N::new(), 0), 3, 3).unwrap();
    name_fields(&mut model);
    let pass = Pass::train(&N::new(), 0);
    let y = model.call(&enter(&pass, &[2, 3])).unwrap();
    let changed = y.backward_with(y.ones().unwrap(), &mut |key, gradient| {
        std::sync::Arc::make_mut(gradient).iter_mut().for_each(|g| *g = key as f64);
        Ok(())
    });
    assert_eq!(changed.unwrap().parameter(&model.weight).unwrap()[..], [0.0; 9]);
}

/// The thing, then its value: never a number beside a number.
#[test]
fn a_label_and_a_layer_of_a_number_are_told_apart_from_their_values() {
    let backend = N::new();
    let y = enter(&Pass::train(&backend, 0), &[2, 2]);
    let error = y.cross_entropy(&[0, 7], 0.0).map(drop).unwrap_err().to_string();
    assert_eq!(error, "label 7 of row 1: must be below 2, the classes");

    let init = &mut Init::new(&backend, 0);
    let inner = Sequential::new().push(Linear::new(init, 3, 3).unwrap()).push(Linear::new(init, 4, 3).unwrap());
    let mut model = Sequential::new().push(Gelu::default()).push(inner);
    name_fields(&mut model);
    let error = model.call(&enter(&Pass::eval(&backend), &[2, 3])).map(drop).unwrap_err().to_string();
    assert_eq!(error, "layer 1.1: input [2, 3]: has 3 features, weight expects 4");
}
