//! Batch normalisation whose statistics are frozen.

use cnn_core::nn::{
    BatchNorm2d, Conv2d, ConvNorm, Init, Module, Scope, freeze_statistics, name_fields, parameters, parameters_mut,
};
use cnn_core::{Backend, Conv2dOptions, Device, Naive, Pass, Result, Tensor, Var, named_fields};

type N = Naive<f64>;

const SHAPE: [usize; 4] = [2, 2, 1, 3];

/// A convolution and a normalisation that run as one, and another one behind them.
struct Net<B: Backend> {
    conv: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    bn2: BatchNorm2d<B>,
    scope: Scope,
}

named_fields!(Net { conv, bn1, bn2 });

impl<B: Backend> Module<B> for Net<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.bn2.call(&ConvNorm(&mut self.conv, &mut self.bn1).relu(x)?)
    }
}

fn net() -> Net<N> {
    let backend = N::new();
    let init = &mut Init::new(&backend, 1);
    let conv = Conv2d::without_bias(init, 3, 2, Conv2dOptions::square(1)).unwrap();
    let (mut bn1, mut bn2) = (BatchNorm2d::new(init, 2).unwrap(), BatchNorm2d::new(init, 2).unwrap());
    for (bn, by) in [(&mut bn1, 1.0), (&mut bn2, 2.0)] {
        *bn.running_mean.value_mut() = backend.upload(&[0.25 * by, -0.5]).unwrap();
        *bn.running_var.value_mut() = backend.upload(&[0.5, 2.0 * by]).unwrap();
        *bn.weight.value_mut() = backend.upload(&[1.5, -0.75 * by]).unwrap();
        *bn.bias.value_mut() = backend.upload(&[0.5, 1.0]).unwrap();
    }
    let mut net = Net { conv, bn1, bn2, scope: Scope::default() };
    name_fields(&mut net);
    net
}

fn image() -> Vec<f64> {
    (0..12).map(|i| f64::from(i * 7 % 12) / 6.0 - 0.9).collect()
}

fn run(net: &mut Net<N>, pass: &Pass<N>, image: &[f64]) -> Var<N> {
    net.call(&pass.input(Tensor::from_slice(&N::new(), SHAPE, image).unwrap()).unwrap()).unwrap()
}

fn statistics(net: &Net<N>) -> Vec<Vec<f64>> {
    let all = [&net.bn1.running_mean, &net.bn1.running_var, &net.bn2.running_mean, &net.bn2.running_var];
    all.map(|statistic| statistic.value().to_vec()).to_vec()
}

#[test]
fn frozen_statistics_are_what_training_normalises_by_and_do_not_move() {
    let mut net = net();
    let before = statistics(&net);
    let expected = run(&mut net, &Pass::eval(&N::new()), &image()).to_vec().unwrap();
    freeze_statistics(&mut net, true);
    assert_eq!(run(&mut net, &Pass::train(&N::new(), 0), &image()).to_vec().unwrap(), expected);
    assert_eq!((statistics(&net), net.bn1.num_batches_tracked.get()), (before.clone(), 0));
    // One layer alone, thawed.
    net.bn2.freeze_statistics(false);
    assert_ne!(run(&mut net, &Pass::train(&N::new(), 0), &image()).to_vec().unwrap(), expected);
    assert_eq!((&statistics(&net)[..2], net.bn1.num_batches_tracked.get()), (&before[..2], 0));
    assert_eq!((statistics(&net)[2] != before[2], net.bn2.num_batches_tracked.get()), (true, 1));
}

#[test]
fn frozen_statistics_need_no_second_value() {
    let backend = N::new();
    let mut norm = BatchNorm2d::new(&mut Init::new(&backend, 0), 3).unwrap();
    name_fields(&mut norm);
    let mut run = |frozen| {
        norm.freeze_statistics(frozen);
        let pass = Pass::train(&backend, 0);
        let x = pass.input(Tensor::from_slice(&backend, [1, 1, 1, 3], &[1.0, 2.0, 3.0]).unwrap()).unwrap();
        norm.call(&x).map(drop)
    };
    assert!(run(false).unwrap_err().to_string().contains("fewer than 2 values"));
    run(true).unwrap();
}

#[test]
fn gradients_through_frozen_statistics_are_those_of_finite_differences() {
    const H: f64 = 1e-5;
    let mut net = net();
    freeze_statistics(&mut net, true);
    let dy: Vec<f64> = (0..8).map(|i| f64::from(i * 3 % 8) / 4.0 - 0.8).collect();
    let value = |net: &mut Net<N>, image: &[f64]| -> f64 {
        let y = run(net, &Pass::train(&N::new(), 0), image).to_vec().unwrap();
        y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
    };
    let pass = Pass::train(&N::new(), 0);
    let x = pass.input(Tensor::from_slice(&N::new(), SHAPE, &image()).unwrap()).unwrap().keep_gradient();
    let y = net.call(&x).unwrap();
    let gradients = y.backward_from(Tensor::from_slice(&N::new(), [2, 2, 1, 2], &dy).unwrap()).unwrap();

    let close = |what: &str, got: f64, [below, above]: [f64; 2]| {
        let expected = (above - below) / (2.0 * H);
        assert!((got - expected).abs() < 1e-8, "{what}: {got}, by differences {expected}");
    };
    for (i, &got) in gradients.of(&x).unwrap().iter().enumerate() {
        let at = [-H, H].map(|h| {
            let mut image = image();
            image[i] += h;
            value(&mut net, &image)
        });
        close(&format!("input {i}"), got, at);
    }
    let change = |net: &mut Net<N>, key: usize, i: usize, h: f64| {
        std::sync::Arc::make_mut(parameters_mut(net)[key].value_mut())[i] += h;
    };
    for key in 0..parameters(&net).len() {
        for (i, got) in gradients.by_key(key).unwrap().to_vec().into_iter().enumerate() {
            let at = [-H, H].map(|h| {
                change(&mut net, key, i, h);
                let value = value(&mut net, &image());
                change(&mut net, key, i, -h);
                value
            });
            close(&format!("parameter {key}, {i}"), got, at);
        }
    }
}
