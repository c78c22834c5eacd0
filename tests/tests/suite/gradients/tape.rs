//! The tape itself: where gradients start, which are kept, in which order they are complete, and what errors say.

use cnn_core::backend::{Accum, Wide};
use cnn_core::nn::{Conv2d, Init, Linear, Module, Scope, Sequential, name_fields, parameters, parameters_mut};
use cnn_core::{Backend, Conv2dOptions, Device, Naive, Pass, Real, Result, Shape, Tensor, Var, bf16, named_fields};
use cnn_models::{BasicBlock, Block, ResNet, ResNetConfig, Stem, Stepwise};

type N = Naive<f64>;

fn enter(pass: &Pass<N>, shape: &[usize]) -> Var<N> {
    let values: Vec<f64> = (0..shape.iter().product()).map(|i: usize| (i % 11) as f64 / 5.0 - 1.0).collect();
    pass.input(Tensor::from_slice(pass.backend(), shape, &values).unwrap()).unwrap()
}

fn narrow() -> ResNet<N> {
    let config = ResNetConfig { stem: Stem::Cifar, block: Block::Basic, blocks: [1, 1, 1, 1], channels: [2, 2, 3, 3] };
    ResNet::new(&N::new(), 1, &config, 3, 4).unwrap()
}

#[test]
fn gradients_are_kept_only_where_asked() {
    let pass = Pass::train(&N::new(), 0);
    let (x, other) = (enter(&pass, &[1, 3]).keep_gradient(), enter(&pass, &[1, 3]));
    let middle = x.add(&other).unwrap().keep_gradient();
    let y = middle.add(&x).unwrap().add(&middle).unwrap();
    let gradients = y.backward_from(y.ones().unwrap()).unwrap();
    assert_eq!(**gradients.of(&middle).unwrap(), [2.0; 3]);
    assert_eq!(**gradients.of(&x).unwrap(), [3.0; 3]);
    let error = gradients.of(&other).unwrap_err().to_string();
    assert!(error.contains("keep_gradient() was not called"), "{error}");
}

#[test]
fn a_backward_pass_starts_anywhere() {
    let pass = Pass::train(&N::new(), 0);
    let mut model = Sequential::new();
    for outputs in [4, 2] {
        model = model.push(Linear::new(&mut Init::new(&N::new(), outputs), 4, outputs as usize).unwrap());
    }
    name_fields(&mut model);
    let x = enter(&pass, &[2, 4]).keep_gradient();
    let middle = x.gelu().unwrap();
    model.call(&middle).unwrap();
    // The layers behind the starting point get nothing.
    let dy = Tensor::from_slice(&N::new(), [2, 4], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]).unwrap();
    let gradients = middle.backward_from(dy).unwrap();
    assert_eq!(gradients.parameters().count(), 0);
    let nonzero: Vec<usize> = (0..8).filter(|&i| gradients.of(&x).unwrap()[i] != 0.0).collect();
    assert_eq!(nonzero, [1, 7]);

    let wrong = Tensor::from_slice(&N::new(), [8], &[0.0; 8]).unwrap();
    let error = middle.backward_from(wrong).err().unwrap().to_string();
    assert_eq!(error, "gradient shape [8]: must be that of the value, [2, 4]");
}

/// The keys of one training pass in the order in which their gradients were complete.
fn ready(model: &mut ResNet<N>) -> Vec<usize> {
    let pass = Pass::train(&N::new(), 0);
    let logits = model.call(&enter(&pass, &[2, 8, 8, 3])).unwrap();
    let (mut order, mut seen) = (Vec::new(), Vec::new());
    let loss = logits.cross_entropy(&[1, 3], 0.0).unwrap();
    let gradients = loss.backward_with(&mut |key, gradient| {
        order.push(key);
        seen.push((key, gradient.to_vec()));
        Ok(())
    });
    let gradients = gradients.unwrap();
    for (key, seen) in seen {
        let (_, gradient) = gradients.parameters().find(|(k, _)| *k == key).unwrap();
        assert_eq!(seen, **gradient, "the gradient of parameter {key} changed after it was ready");
    }
    assert_eq!(gradients.parameters().count(), order.len());
    order
}

#[test]
fn every_gradient_is_ready_once_in_a_fixed_order() {
    let mut model = narrow();
    let order = ready(&mut model);
    let count = parameters(&model).len();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..count).collect::<Vec<_>>());
    // The head is the last to run, so it is the first to be ready; the stem is the last.
    let name = |key: usize| parameters(&model)[key].name().to_owned();
    assert_eq!([name(order[0]), name(order[1])], ["fc.bias", "fc.weight"]);
    assert_eq!(name(order[count - 1]), "conv1.weight");
    assert_eq!(ready(&mut narrow()), order);
}

#[test]
fn a_parameter_that_is_used_twice_is_ready_when_both_uses_are_in() {
    let mut model = Sequential::new().push(Linear::new(&mut Init::new(&N::new(), 0), 4, 3).unwrap());
    name_fields(&mut model);
    let mut run = |uses: usize| {
        let pass = Pass::train(&N::new(), 0);
        let x = enter(&pass, &[2, 4]);
        let y = (1..uses).fold(model.call(&x).unwrap(), |y, _| y.add(&model.call(&x).unwrap()).unwrap());
        let mut ready = Vec::new();
        let mut on_ready = |key: usize, gradient: &mut Wide<N>| {
            ready.push((key, gradient.to_vec()));
            Ok(())
        };
        y.backward_with(y.ones().unwrap(), &mut on_ready).unwrap();
        ready
    };
    let [(1, bias), (0, weight)] = &run(1)[..] else { panic!("got {:?}", run(1)) };
    let doubled = |gradient: &[f64]| gradient.iter().map(|g| 2.0 * g).collect::<Vec<f64>>();
    assert_eq!(run(2), [(1, doubled(bias)), (0, doubled(weight))]);
}

/// A dense layer of one weight, used twice in a pass on the inputs 256 and 1: its gradient is 257 in each use.
fn twice<B: Backend>(backend: &B) -> Result<Vec<Accum<B>>> {
    let mut model = Sequential::new().push(Linear::new(&mut Init::new(backend, 0), 1, 1)?);
    name_fields(&mut model);
    let pass = Pass::train(backend, 0);
    let x = pass.input(Tensor::from_slice(backend, [2, 1], &[256.0, 1.0].map(Accum::<B>::from_f64))?)?;
    let y = model.call(&x)?.add(&model.call(&x)?)?;
    let gradients = y.backward_from(y.ones()?)?;
    backend.download(gradients.parameter(parameters(&model)[0]).expect("it takes part"))
}

#[test]
fn a_shared_parameters_gradient_is_summed_in_the_accumulators_precision() {
    // In bf16 257 is 256, and the sum of two 512.
    assert_eq!(twice(&Naive::<bf16>::new()).unwrap(), [514.0]);
    assert_eq!(twice(&cnn_cpu::Cpu::<bf16>::with_threads(2).unwrap()).unwrap(), [514.0]);
}

#[test]
fn an_error_in_the_callback_stops_the_backward_pass() {
    let pass = Pass::train(&N::new(), 0);
    let mut model = narrow();
    let logits = model.call(&enter(&pass, &[2, 8, 8, 3])).unwrap();
    let mut calls = 0;
    let result = logits.cross_entropy(&[1, 3], 0.0).unwrap().backward_with(&mut |_, _| {
        calls += 1;
        Err(cnn_core::Error::invalid("network", "down", "must be up"))
    });
    assert_eq!((result.err().unwrap().to_string(), calls), ("network down: must be up".into(), 1));
}

#[test]
fn frozen_parameters_get_no_gradient_and_pass_it_on() {
    let backend = N::new();
    let init = &mut Init::new(&backend, 0);
    let conv = || Conv2d::new(&mut Init::new(&backend, 3), 2, 2, Conv2dOptions::square(1)).unwrap();
    let mut model =
        Sequential::new().push(conv()).push(conv()).push(Conv2d::new(init, 2, 1, Conv2dOptions::square(1)).unwrap());
    name_fields(&mut model);
    parameters_mut(&mut model).into_iter().skip(2).take(2).for_each(|p| p.set_requires_grad(false));
    let pass = Pass::train(&backend, 0);
    let y = model.call(&enter(&pass, &[1, 2, 2, 2])).unwrap();
    let gradients = y.backward_from(y.ones().unwrap()).unwrap();
    assert_eq!(gradients.parameters().map(|(key, _)| key).collect::<Vec<_>>(), [0, 1, 4, 5]);
}

#[test]
fn an_evaluation_has_no_tape() {
    let pass = Pass::eval(&N::new());
    assert!(!pass.is_recorded());
    let x = enter(&pass, &[2, 8, 8, 3]).keep_gradient();
    let logits = narrow().call(&x).unwrap();
    let error = logits.backward_from(logits.ones().unwrap()).err().unwrap().to_string();
    assert_eq!(error, "pass Eval: is not recorded, so it has no backward pass");
}

#[test]
fn what_a_pass_saved_is_freed() {
    let backend = N::new();
    let data = backend.upload(&[0.5f64; 6]).unwrap();
    let tensor = |data| Tensor::from_data(&backend, Shape::new(&[1, 6]).unwrap(), data).unwrap();
    let held = |data: &std::sync::Arc<Vec<f64>>| std::sync::Arc::strong_count(data);
    {
        let pass = Pass::train(&backend, 0);
        let x = pass.input(tensor(data.clone())).unwrap().keep_gradient();
        let y = x.gelu().unwrap();
        drop(x);
        assert_eq!(held(&data), 2, "GELU's backward pass reads its input");
        y.backward_from(y.ones().unwrap()).unwrap();
        assert_eq!(held(&data), 1, "the backward pass has run");
        y.gelu().unwrap();
    }
    {
        // A pass that never runs back: its values and its tape refer to each other in no cycle.
        let pass = Pass::train(&backend, 0);
        pass.input(tensor(data.clone())).unwrap().keep_gradient().gelu().unwrap();
    }
    let pass = Pass::eval(&backend);
    let y = pass.input(tensor(data.clone())).unwrap().keep_gradient().gelu().unwrap();
    assert_eq!(held(&data), 1, "an evaluation saves nothing, a dropped pass neither");
    drop(y);
}

struct Net<B: Backend> {
    layer2: Vec<BasicBlock<B>>,
    scope: Scope,
}

named_fields!(Net { layer2 });

impl<B: Backend> Module<B> for Net<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.layer2[0].call(x)
    }
}

#[test]
fn errors_name_the_layer_the_argument_its_value_and_the_rule() {
    let backend = N::new();
    let block = BasicBlock::new(&mut Init::new(&backend, 0), 128, 128, 1).unwrap();
    let mut net = Net { layer2: vec![block], scope: Scope::default() };
    name_fields(&mut net);
    let run = |model: &mut dyn Module<N>, pass: Pass<N>, shape: &[usize]| {
        let zeros = vec![Accum::<N>::default(); shape.iter().product()];
        let x = pass.input(Tensor::from_slice(&backend, shape, &zeros).unwrap()).unwrap();
        model.call(&x).unwrap_err().to_string()
    };
    let train = || Pass::train(&backend, 0);
    assert_eq!(
        run(&mut net, train(), &[8, 16, 16, 64]),
        "layer2.0.conv1: input [8, 16, 16, 64]: has 64 channels, weight expects 128"
    );
    assert_eq!(
        run(&mut net, train(), &[8, 128]),
        "layer2.0.conv1: input [8, 128]: needs the four dimensions [N, H, W, C]"
    );

    let mut stepwise = Stepwise::new(&backend, 0, [32, 32, 3], 2).unwrap();
    assert_eq!(
        run(&mut stepwise, train(), &[1, 30, 32, 3]),
        "fc1: input [1, 6720]: has 6720 features, weight expects 7200"
    );
    assert_eq!(run(&mut stepwise, train(), &[1, 2, 2, 3]), "conv: kernel 3x3: must fit the padded image, which is 2x2");

    assert_eq!(
        run(&mut narrow(), train(), &[1, 8, 8, 3]),
        "layer4.0.downsample.1: input [1, 1, 1, 3]: has fewer than 2 values per channel, of which no variance can be taken in training"
    );
    assert!(
        Stepwise::new(&backend, 0, [2, 2, 3], 2).unwrap_err().to_string().starts_with("conv: kernel 3x3: must fit")
    );
}
