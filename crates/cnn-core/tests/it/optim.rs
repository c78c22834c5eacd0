//! Optimisers and averages over a whole model: what moves, what is counted, what is refused, what a resume brings back.

use std::collections::VecDeque;

use cnn_core::archive::{Archive, Array, Values};
use cnn_core::backend::Health;
use cnn_core::image::Border;
use cnn_core::nn::{BatchNorm2d, Init, Linear, Module, Sequential, name_fields, parameters, parameters_mut};
use cnn_core::optim::{Anneal, Average, Group, Method, Optimizer, OptimizerOptions, Outcome, StepOutcome};
use cnn_core::{DType, Device, Gradients, Naive, Pass, Real, Tensor, Var};

type Model<E> = Sequential<Naive<E>>;

/// Two dense layers, 2 -> 3 -> 2.
fn model<E: Real>() -> Model<E> {
    let backend = Naive::<E>::new();
    let init = &mut Init::new(&backend, 3);
    let mut model = Sequential::new().push(Linear::new(init, 2, 3).unwrap()).push(Linear::new(init, 3, 2).unwrap());
    name_fields(&mut model);
    model
}

fn optimizer<E: Real>(model: &Model<E>, options: OptimizerOptions) -> Optimizer<Naive<E>> {
    Optimizer::new(&Naive::new(), model, options).unwrap()
}

/// Gradients of the loss of `model` on two rows that `step` names, its logits multiplied by `factor`.
fn gradients<E: Real>(model: &mut Model<E>, step: u32) -> Gradients<Naive<E>> {
    let backend = Naive::<E>::new();
    let values: Vec<E> = (0..4).map(|i| E::from_f64(f64::from((i + step) % 5) / 2.0 - 1.0)).collect();
    let pass = Pass::train(&backend, 0);
    let x = pass.input(Tensor::from_slice(&backend, [2, 2], &values).unwrap()).unwrap();
    model.call(&x).unwrap().cross_entropy(&[0, 1], 0.0).unwrap().backward().unwrap()
}

/// Every parameter's numbers.
fn weights<E: Real>(model: &Model<E>) -> Vec<Vec<f64>> {
    parameters(model).iter().map(|p| p.value().iter().map(|v| v.as_f64()).collect()).collect()
}

/// The largest way that a number of each parameter has moved.
fn moves(before: &[Vec<f64>], after: &[Vec<f64>]) -> Vec<f64> {
    let largest = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    before.iter().zip(after).map(largest).collect()
}

/// Makes the gradient of the last bias no number.
fn spoil(gradients: &mut Gradients<Naive<f64>>) {
    *gradients.by_key_mut(3).unwrap() = Naive::<f64>::new().upload(&[f64::NAN, 1.0]).unwrap();
}

#[test]
fn adam_does_not_count_a_step_that_was_refused() {
    for method in [Method::ADAM, Method::ADAMW] {
        let mut model = model::<f64>();
        let mut optimizer = optimizer(&model, OptimizerOptions::new(method));
        let before = weights(&model);
        for step in 0..3 {
            let mut refused = gradients(&mut model, step);
            spoil(&mut refused);
            let health = optimizer.step(0.01, &mut model, &refused).unwrap();
            assert_eq!((health.finite[0], weights(&model)), (0, before.clone()));
        }
        // The first step moves each number by the rate.
        let first = gradients(&mut model, 4);
        assert_eq!(optimizer.step(0.01, &mut model, &first).unwrap().finite[0], 1);
        for moved in moves(&before, &weights(&model)) {
            assert!((moved - 0.01).abs() < 1e-6, "{method:?} moved by {moved}");
        }
    }
}

#[test]
fn adam_counts_for_each_parameter() {
    let mut model = model::<f64>();
    parameters_mut(&mut model)[0].set_requires_grad(false);
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::ADAM));
    let frozen = weights(&model)[0].clone();
    for step in 0..10 {
        let gradients = gradients(&mut model, step);
        optimizer.step(0.01, &mut model, &gradients).unwrap();
    }
    assert_eq!(weights(&model)[0], frozen);
    let mut archive = Archive::default();
    optimizer.save(&model, &mut archive).unwrap();
    assert!(!archive.arrays.contains_key("m.0.weight"), "state of a parameter that was never trained");
    assert_eq!(archive.arrays["steps.1.weight"].to_count().unwrap(), 10);

    parameters_mut(&mut model)[0].set_requires_grad(true);
    let gradients = gradients(&mut model, 11);
    let before = weights(&model);
    optimizer.step(0.01, &mut model, &gradients).unwrap();
    let moved = moves(&before, &weights(&model))[0];
    assert!((moved - 0.01).abs() < 1e-6, "the first step after a freeze moved by {moved}");
}

#[test]
fn an_infinite_loss_is_refused_though_its_gradient_is_finite() {
    let backend = Naive::<f64>::new();
    let mut model = model::<f64>();
    let other = gradients(&mut model, 1);
    // Class 0 is impossible, and is the label of the first row.
    *parameters_mut(&mut model)[3].value_mut() = backend.upload(&[f64::NEG_INFINITY, 0.0]).unwrap();
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::NESTEROV));
    let mut gradients = gradients(&mut model, 0);
    assert!(gradients.parameters().all(|(_, gradient)| gradient.iter().all(|g| g.is_finite())));
    assert_eq!(backend.download(gradients.loss().unwrap()).unwrap(), [f64::INFINITY]);
    let before = weights(&model);
    assert_eq!(optimizer.step(0.1, &mut model, &gradients).unwrap().finite[0], 0);
    assert_eq!(weights(&model), before);
    // It stays so when it is accumulated and scaled.
    gradients.accumulate(&backend, &other).unwrap();
    gradients.scale(&backend, 0.5).unwrap();
    assert_eq!(optimizer.step(0.1, &mut model, &gradients).unwrap().finite[0], 0);
}

#[test]
fn an_infinite_loss_of_ones_own_is_refused_too() {
    let backend = Naive::<f64>::new();
    let mut model = model::<f64>();
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::NESTEROV));
    let before = weights(&model);
    for (value, finite) in [(f64::INFINITY, 0), (1.0, 1)] {
        let pass = Pass::train(&backend, 0);
        let x = pass.input(Tensor::from_slice(&backend, [1, 2], &[0.5, 1.0]).unwrap()).unwrap();
        let loss = Var::custom(
            "OwnLoss",
            &[&model.call(&x).unwrap()],
            move |b, _| Tensor::from_slice(b, [1], &[value]),
            |b, _, _, _| Ok(vec![Tensor::from_slice(b, [1, 2], &[1.0, -1.0])?]),
        );
        let gradients = loss.unwrap().backward().unwrap();
        assert_eq!(optimizer.step(0.1, &mut model, &gradients).unwrap().finite[0], finite);
        assert_eq!(weights(&model) == before, finite == 0);
    }
}

#[test]
fn a_rate_or_a_decay_that_is_infinite_where_it_is_used_is_refused() {
    let mut model = model::<f32>();
    let before = weights(&model);
    let gradients = gradients(&mut model, 0);
    for (method, lr) in [
        (Method::NESTEROV, 1e39),
        (Method::NESTEROV, f64::NAN),
        (Method::NESTEROV, f64::INFINITY),
        (Method::ADAM, 1e38), // a tenth of it is what the first step divides by
    ] {
        let mut optimizer = optimizer(&model, OptimizerOptions::new(method));
        let error = optimizer.step(lr, &mut model, &gradients).unwrap_err().to_string();
        assert_eq!(error, format!("learning rate {lr}: must be finite in f32, and its products too"));
        assert_eq!(weights(&model), before);
    }
    let options = OptimizerOptions::new(Method::ADAMW).weight_decay(1e300);
    let error = Optimizer::new(&Naive::new(), &model, options).unwrap_err().to_string();
    assert!(error.starts_with("weight_decay 1"), "{error}");
    // In f64 both are numbers.
    let mut wide = self::model::<f64>();
    let gradients = self::gradients(&mut wide, 0);
    let options = OptimizerOptions::new(Method::NESTEROV).weight_decay(1e-300);
    optimizer(&wide, options).step(1e39, &mut wide, &gradients).unwrap();
}

/// What would make weights infinite or no numbers on the first healthy step, or climb.
#[test]
fn options_that_no_step_can_be_made_with_are_refused() {
    fn refused<E: Real>(options: OptimizerOptions) -> String {
        let made = Optimizer::new(&Naive::<E>::new(), &model(), options);
        made.map(drop).expect_err("accepted").to_string()
    }
    let adam = |beta1, beta2, eps| OptimizerOptions::new(Method::Adam { beta1, beta2, eps, decoupled: false });
    let sgd = |momentum| OptimizerOptions::new(Method::Sgd { momentum, nesterov: true });
    let plain = || OptimizerOptions::new(Method::NESTEROV);
    let fraction = "must be at least 0 and below 1";
    for value in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused::<f32>(sgd(value)), format!("momentum {value}: {fraction}"));
        assert_eq!(refused::<f64>(adam(value, 0.9, 1e-8)), format!("beta1 {value}: {fraction}"));
        assert_eq!(refused::<f64>(adam(0.9, value, 1e-8)), format!("beta2 {value}: {fraction}"));
    }
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused::<f64>(adam(0.9, 0.99, eps)), format!("eps {eps}: must be above 0 and finite in f64"));
    }
    // A gradient of 0 would be divided by it.
    assert_eq!(refused::<f32>(adam(0.9, 0.99, 1e-50)), format!("eps {}: must be above 0 and finite in f32", 1e-50));
    optimizer(&model::<f64>(), adam(0.0, 0.0, 1e-50));
    for norm in [0.0, -1.0, f64::NAN] {
        let error = refused::<f32>(plain().clip_grad_norm(norm));
        assert_eq!(error, format!("clip_grad_norm {norm}: must be above 0 in f32"));
    }
    for decay in [-0.1, f64::NAN, f64::INFINITY] {
        let rule = "must be at least 0 and finite in f32";
        assert_eq!(refused::<f32>(plain().weight_decay(decay)), format!("weight_decay {decay}: {rule}"));
        let group = Group { weight_decay: Some(decay), ..Group::new("*.bias", 1.0) };
        let what = "weight_decay of the parameter group *.bias";
        assert_eq!(refused::<f32>(plain().group(group)), format!("{what} {decay}: {rule}"));
    }
    let mut model = model::<f64>();
    let (gradients, before) = (gradients(&mut model, 0), weights(&model));
    let error = optimizer(&model, plain()).step(-0.1, &mut model, &gradients).map(drop).unwrap_err().to_string();
    assert_eq!((error.as_str(), weights(&model)), ("learning rate -0.1: must be at least 0", before));
}

#[test]
fn gradients_state_and_averages_of_another_model_are_refused() {
    let (backend, options) = (Naive::<f64>::new(), OptimizerOptions::new(Method::NESTEROV));
    let (mut student, mut teacher) = (model::<f64>(), model::<f64>());
    let before = [weights(&student), weights(&teacher)];
    let [of_student, of_teacher] = [&mut student, &mut teacher].map(|model| gradients(model, 0));
    let mut optimizer = optimizer(&student, options.clone());
    let error = optimizer.step(0.1, &mut student, &of_teacher).map(drop).unwrap_err().to_string();
    assert_eq!(error, "gradients of 4 parameters: must be those of the optimiser's model");
    let error = optimizer.step(0.1, &mut teacher, &of_teacher).map(drop).unwrap_err().to_string();
    let rule = "must be the one that the optimiser was made for, in the names that it had then";
    assert_eq!(error, format!("model with 4 parameters: {rule}"));
    let mut archive = Archive::default();
    assert_eq!(optimizer.save(&teacher, &mut archive).unwrap_err().to_string(), error);
    optimizer.save(&student, &mut archive).unwrap();
    assert_eq!(optimizer.load(&teacher, &archive).unwrap_err().to_string(), error);
    let mut average = Average::new(&backend, &student, 0.5).unwrap();
    let rule = "must be the one that the average is of, in the names that it had then";
    for error in [average.update(&teacher), average.swap(&mut teacher)] {
        assert_eq!(error.unwrap_err().to_string(), format!("model with 4 arrays: {rule}"));
    }
    assert_eq!([weights(&student), weights(&teacher)], before);

    // A model that moved is the same, and one that was built anew goes on by an optimiser of its own.
    let mut moved = Box::new(student);
    optimizer.step(0.1, &mut *moved, &of_student).unwrap();
    average.update(&moved).unwrap();
    let mut second = self::optimizer(&teacher, options);
    second.load(&teacher, &archive).unwrap();
    second.step(0.1, &mut teacher, &of_teacher).unwrap();
    assert_eq!(weights(&teacher), weights(&moved));
}

#[test]
fn an_average_is_not_swapped_into_arrays_of_other_lengths() {
    let backend = Naive::<f64>::new();
    let mut model = model::<f64>();
    let mut average = Average::new(&backend, &model, 0.5).unwrap();
    *parameters_mut(&mut model)[3].value_mut() = backend.upload(&[1.0; 7]).unwrap();
    let before = weights(&model);
    for error in [average.update(&model), average.swap(&mut model)] {
        assert_eq!(error.unwrap_err().to_string(), "length of array 3 of the model 7: must be 2, as in the average");
    }
    assert_eq!(weights(&model), before);
}

#[test]
fn an_outcome_without_numbers_is_an_error() {
    let backend = Naive::<f64>::new();
    let pass = Pass::train(&backend, 0);
    let x = pass.input(Tensor::from_slice(&backend, [1, 2], &[0.5, 1.0]).unwrap()).unwrap();
    let loss = x.cross_entropy(&[0], 0.0).unwrap();
    let one = || backend.upload(&[1.0]).unwrap();
    for finite in [vec![], vec![1, 1]] {
        let health = Health { norm: one(), finite: backend.upload(&finite).unwrap() };
        let error = Outcome::new(&backend, &loss, &health).unwrap().read().unwrap_err().to_string();
        assert_eq!(error, format!("numbers of a step's health {}: must be one", finite.len()));
    }
}

#[test]
fn groups_have_a_rate_and_a_decay_of_their_own() {
    for method in [Method::Sgd { momentum: 0.0, nesterov: false }, Method::ADAMW] {
        let options = OptimizerOptions::new(method).weight_decay(0.5);
        let groups = options.clone().group(Group { weight_decay: Some(0.0), ..Group::new("1.*", 0.25) });
        let (mut plain, mut grouped) = (model::<f64>(), model::<f64>());
        let before = weights(&plain);
        for (model, options) in [(&mut plain, options), (&mut grouped, groups)] {
            let gradients = gradients(model, 0);
            optimizer(model, options).step(0.01, model, &gradients).unwrap();
        }
        let (plain, grouped) = (weights(&plain), weights(&grouped));
        assert_eq!(plain[..2], grouped[..2], "parameters of no group");
        for key in 2..4 {
            for i in 0..before[key].len() {
                // Without decay the plain step is what AdamW and SGD without a penalty do.
                let step = plain[key][i] - before[key][i] * (1.0 - 0.01 * 0.5);
                let expected = before[key][i] + 0.25 * step;
                assert!((grouped[key][i] - expected).abs() < 1e-12, "{method:?}, parameter {key}");
            }
        }
    }
    let refused = |group| {
        let options = OptimizerOptions::new(Method::ADAM).group(group);
        Optimizer::new(&Naive::<f64>::new(), &model(), options).unwrap_err().to_string()
    };
    let rule = "must match a parameter of the model: 0.weight, 0.bias, 1.weight, 1.bias";
    assert_eq!(refused(Group::new("fc.*", 0.1)), format!("parameter group fc.*: {rule}"));
    assert_eq!(
        refused(Group::new("0.weigth", 0.1)),
        format!("parameter group 0.weigth: {rule}; did you mean 0.weight?")
    );
    assert_eq!(
        refused(Group::new("*", -1.0)),
        "lr_scale of the parameter group * -1: must be at least 0 and finite in f64"
    );
}

#[test]
fn a_saved_state_goes_on_in_the_same_bits() {
    for method in [Method::NESTEROV, Method::ADAM] {
        let run = |model: &mut Model<f64>, optimizer: &mut Optimizer<_>, steps: std::ops::Range<u32>| {
            for step in steps {
                let mut gradients = gradients(model, step);
                if step == 1 {
                    spoil(&mut gradients);
                }
                optimizer.step(0.05, model, &gradients).unwrap();
            }
        };
        let (mut whole, mut half) = (model(), model());
        parameters_mut(&mut half)[2].set_requires_grad(false);
        parameters_mut(&mut whole)[2].set_requires_grad(false);
        let mut first = optimizer(&whole, OptimizerOptions::new(method));
        run(&mut whole, &mut first, 0..6);

        let mut before = optimizer(&half, OptimizerOptions::new(method));
        run(&mut half, &mut before, 0..3);
        let mut archive = Archive::default();
        before.save(&half, &mut archive).unwrap();
        let archive = Archive::from_bytes(&archive.to_bytes().unwrap()).unwrap();
        let mut after = optimizer(&half, OptimizerOptions::new(method));
        after.load(&half, &archive).unwrap();
        run(&mut half, &mut after, 3..6);
        assert_eq!(weights(&half), weights(&whole), "{method:?}");
        assert_eq!(after.steps(), 6);
    }
}

#[test]
fn a_state_of_version_0_1_has_one_count_for_all() {
    let model = model::<f64>();
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::ADAM));
    let mut archive = Archive::default();
    optimizer.save(&model, &mut archive).unwrap();
    archive.arrays.retain(|name, _| !name.starts_with("steps."));
    archive.arrays.insert("steps".into(), Array::count(41));
    optimizer.load(&model, &archive).unwrap();
    let mut written = Archive::default();
    optimizer.save(&model, &mut written).unwrap();
    for name in ["steps", "steps.0.weight", "steps.0.bias", "steps.1.weight", "steps.1.bias"] {
        assert_eq!(written.arrays[name].to_count().unwrap(), 41, "{name}");
    }
}

#[test]
fn a_state_that_no_training_leaves_behind_is_refused() {
    let model = model::<f64>();
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::ADAM));
    let mut archive = Archive::default();
    optimizer.save(&model, &mut archive).unwrap();
    let mut refused = |change: &dyn Fn(&mut Archive)| {
        let mut changed = archive.clone();
        change(&mut changed);
        let error = optimizer.load(&model, &changed).unwrap_err().to_string();
        let mut after = Archive::default();
        optimizer.save(&model, &mut after).unwrap();
        assert_eq!(after, archive, "a refused state was taken in part");
        error
    };
    let set = |name: &'static str, value: f64| {
        move |archive: &mut Archive| {
            let Values::F64(values) = &mut archive.arrays.get_mut(name).unwrap().values else { panic!("{name}") };
            values[1] = value;
        }
    };
    assert_eq!(refused(&set("m.0.weight", f64::NAN)), "optimiser state: m.0.weight holds NaN: must be finite");
    assert_eq!(refused(&set("v.1.bias", -1.0)), "optimiser state: v.1.bias holds -1: must be at least 0");
    assert_eq!(refused(&|archive| drop(archive.arrays.remove("v.1.bias"))), "optimiser state: v.1.bias is missing");
    assert_eq!(
        refused(&|archive| drop(archive.arrays.insert("steps.1.bias".into(), Array::count(1 << 40)))),
        "optimiser state: steps.1.bias is 1099511627776: must be at most 4294967295"
    );
}

#[test]
fn what_a_step_came_to_can_be_read_later() {
    const BEHIND: usize = 2;
    let backend = Naive::<f64>::new();
    let mut model = model::<f64>();
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::NESTEROV));
    let (mut ring, mut read, mut expected) = (VecDeque::new(), Vec::new(), Vec::new());
    for step in 0..5 {
        let pass = Pass::train(&backend, 0).at_step(step);
        let x = pass.input(Tensor::from_slice(&backend, [2, 2], &[0.5, -1.0, f64::from(step), 1.0]).unwrap()).unwrap();
        let loss = model.call(&x).unwrap().cross_entropy(&[0, 1], 0.0).unwrap();
        let mut gradients = loss.backward().unwrap();
        if step == 3 {
            spoil(&mut gradients);
        }
        let health = optimizer.step(0.1, &mut model, &gradients).unwrap();
        ring.push_back(Outcome::new(&backend, &loss, &health).unwrap());
        if ring.len() > BEHIND {
            read.push(ring.pop_front().unwrap().read().unwrap());
        }
        expected.push((loss.to_f64().unwrap(), loss.correct().unwrap(), step != 3));
    }
    assert_eq!(read.len(), 3);
    read.extend(ring.iter().map(|outcome| outcome.read().unwrap()));
    let read: Vec<_> =
        read.into_iter().map(|StepOutcome { loss, correct, finite, .. }| (loss, correct, finite)).collect();
    assert_eq!(read, expected);
    assert_eq!(backend.steps_behind(), 0);
}

#[test]
fn options_are_spelled_as_in_a_recipe() {
    fn spelled<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        assert_eq!(serde_json::from_str::<T>(text).unwrap(), value);
    }
    spelled(Anneal::OneCycle { pct_start: 0.25 }, r#"{"kind":"one-cycle","pct_start":0.25}"#);
    spelled(Method::NESTEROV, r#"{"kind":"sgd","momentum":0.9,"nesterov":true}"#);
    spelled(Group::new("fc.*", 10.0), r#"{"pattern":"fc.*","lr_scale":10.0}"#);
    spelled(Border::Reflect, r#""reflect""#);
    spelled(DType::BF16, r#""bf16""#);
    // As version 0.1 said it.
    let old: Anneal = serde_json::from_str(r#"{"kind":"one-cycle","rise":0.25}"#).unwrap();
    assert_eq!(old, Anneal::OneCycle { pct_start: 0.25 });
    let group: Group = serde_json::from_str(r#"{"pattern":"*.bias","weight_decay":0.0}"#).unwrap();
    assert_eq!(group, Group { weight_decay: Some(0.0), ..Group::new("*.bias", 1.0) });
}

#[test]
fn a_gradient_of_another_length_is_refused() {
    let mut model = model::<f64>();
    let mut optimizer = optimizer(&model, OptimizerOptions::new(Method::NESTEROV));
    let mut gradients = gradients(&mut model, 0);
    *gradients.by_key_mut(1).unwrap() = Naive::<f64>::new().upload(&[1.0]).unwrap();
    let error = optimizer.step(0.1, &mut model, &gradients).unwrap_err().to_string();
    assert_eq!(error, "gradient of 0.bias with elements 1: must have 3");
}

#[test]
fn an_average_follows_weights_and_statistics_and_is_swapped_in() {
    let backend = Naive::<f64>::new();
    let mut norm = BatchNorm2d::new(&mut Init::new(&backend, 0), 1).unwrap();
    name_fields(&mut norm);
    let mut average = Average::new(&backend, &norm, 0.75).unwrap();
    let state = |norm: &BatchNorm2d<Naive<f64>>| {
        [norm.weight.value()[0], norm.bias.value()[0], norm.running_mean.value()[0], norm.running_var.value()[0]]
    };
    for (weight, mean) in [(3.0, 8.0), (5.0, 0.0)] {
        *norm.weight.value_mut() = backend.upload(&[weight]).unwrap();
        *norm.running_mean.value_mut() = backend.upload(&[mean]).unwrap();
        average.update(&norm).unwrap();
    }
    // 1 -> 1.5 -> 2.375, and 0 -> 2 -> 1.5.
    assert_eq!(state(&norm), [5.0, 0.0, 0.0, 1.0]);
    average.swap(&mut norm).unwrap();
    assert_eq!(state(&norm), [2.375, 0.0, 1.5, 1.0]);
    average.swap(&mut norm).unwrap();
    assert_eq!(state(&norm), [5.0, 0.0, 0.0, 1.0]);

    assert!(Average::new(&backend, &norm, 1.0).is_err());
    let error = average.update(&model::<f64>().push(norm)).unwrap_err().to_string();
    let rule = "must be the one that the average is of, in the names that it had then";
    assert_eq!(error, format!("model with 8 arrays: {rule}"));
}

#[test]
fn lookahead_goes_on_from_the_average() {
    let backend = Naive::<f64>::new();
    let mut model = model::<f64>();
    let mut average = Average::new(&backend, &model, 0.5).unwrap();
    let values = |model: &Model<f64>| -> Vec<f64> {
        parameters(model).iter().flat_map(|parameter| backend.download(parameter.value()).unwrap()).collect()
    };
    let before = values(&model);
    for parameter in parameters_mut(&mut model) {
        let moved: Vec<f64> = backend.download(parameter.value()).unwrap().iter().map(|value| value + 1.0).collect();
        *parameter.value_mut() = backend.upload(&moved).unwrap();
    }
    average.update_by(&model, 0.75).unwrap();
    average.put(&mut model).unwrap();
    let expected = |by: f64| before.iter().map(|value| 0.75 * value + 0.25 * (value + by)).collect::<Vec<_>>();
    assert_eq!(values(&model), expected(1.0));
    // The average is a copy: what the model does next is not done to it.
    let parameter = &mut parameters_mut(&mut model)[0];
    *parameter.value_mut() = backend.upload(&vec![9.0; parameter.shape().numel()]).unwrap();
    average.put(&mut model).unwrap();
    assert_eq!(values(&model), expected(1.0));
    for decay in [-0.1, 1.1, f64::NAN] {
        assert!(average.update_by(&model, decay).is_err(), "{decay}");
    }
}
