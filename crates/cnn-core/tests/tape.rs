//! What a recorded pass promises, and what it refuses, on the readable backend.

use cnn_core::nn::{BatchNorm2d, Init, Linear, Module, Sequential, name_fields, parameters_mut};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Naive, Pass, Tensor, Var};

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
    assert_eq!(error, "parameter [3, 3]: has no name yet: a model's constructor ends with name_fields(&mut model)");
    let options =
        OptimizerOptions { method: Method::NESTEROV, weight_decay: 0.0, decay_all: true, max_norm: f64::INFINITY };
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
    assert!(error.starts_with("parameter weight: ") && error.contains("name_fields"), "{error}");
    // Nothing is shared with a model that is not trained.
    parameters_mut(&mut head).into_iter().for_each(|p| p.set_trained(false));
    head.call(&code).unwrap();
    // Nor does one optimiser serve both.
    let mut both = Sequential::new().push(encoder).push(head);
    let options =
        OptimizerOptions { method: Method::NESTEROV, weight_decay: 0.0, decay_all: true, max_norm: f64::INFINITY };
    assert!(Optimizer::new(&backend, &both, options).is_err());
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
