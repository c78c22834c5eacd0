//! Gradients of whole networks in half precision: as near to those in f64 as half precision allows.
//!
//! What it allows is measured by `Naive<bf16>`, which rounds the weights too: through seventeen layers of random weights
//! the error of a rounding to 8 bits grows to some tenths.

use cnn_core::backend::Accum;
use cnn_core::nn::parameters;
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Backend, Naive, Pass, Real, Result, Tensor, bf16};
use cnn_cpu::Cpu;
use cnn_models::Arch;

const CLASSES: u32 = 10;

/// A loss, and the gradient of each parameter by name.
type Slopes = (f64, Vec<(String, Vec<f64>)>);

/// Of an untrained network on a batch of noise.
fn gradients<B: Backend>(backend: &B, arch: &str, batch: usize) -> Result<Slopes> {
    let mut model = arch.parse::<Arch>()?.build(backend, 0, [16, 16, 3], CLASSES as usize)?;
    let mut stream = Philox::new(1, Purpose::Test, 0, 0).stream();
    let images: Vec<_> =
        (0..batch * 16 * 16 * 3).map(|_| Accum::<B>::from_f64(f64::from(stream.normal() as f32))).collect();
    let labels: Vec<u32> = (0..batch as u32).map(|i| i % CLASSES).collect();
    let pass = Pass::train(backend, 0);
    let x = pass.input(Tensor::from_slice(backend, [batch, 16, 16, 3], &images)?)?;
    let loss = model.call(&x)?.cross_entropy(&labels, 0.0)?;
    let gradients = loss.backward()?;
    let of_each = parameters(&model).into_iter().map(|parameter| {
        let gradient = gradients.parameter(parameter).expect("every parameter takes part");
        let values = backend.download(gradient)?.into_iter().map(|g| g.as_f64()).collect();
        Ok((parameter.name().to_owned(), values))
    });
    Ok((loss.to_f64()?, of_each.collect::<Result<_>>()?))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `||got - expected|| / ||expected||`.
fn error(got: &[f64], expected: &[f64]) -> f64 {
    let difference: Vec<f64> = got.iter().zip(expected).map(|(g, e)| g - e).collect();
    (dot(&difference, &difference) / dot(expected, expected)).sqrt()
}

/// Of no parameter the error may be above `most`, nor much above that of the plain loops.
fn as_near_as_bf16_allows(arch: &str, batch: usize, most: f64) {
    let (expected_loss, expected) = gradients(&Cpu::<f64>::with_threads(2).unwrap(), arch, batch).unwrap();
    let (_, plain) = gradients(&Naive::<bf16>::new(), arch, batch).unwrap();
    let (loss, got) = gradients(&Cpu::<bf16>::with_threads(2).unwrap(), arch, batch).unwrap();
    assert!((loss - expected_loss).abs() < 0.02 * expected_loss, "{arch}: loss {loss}, in f64 {expected_loss}");
    for (((name, got), (_, expected)), (_, plain)) in got.iter().zip(&expected).zip(&plain) {
        let (got, plain) = (error(got, expected), error(plain, expected));
        println!("{arch} {name}: error {got:.2e}, of plain loops {plain:.2e}");
        assert!(got <= most, "{arch}: {name} is off by {got:.2e}: must be at most {most}");
        assert!(got <= 1.5 * plain + 1e-3, "{arch}: {name} is off by {got:.2e}, but by {plain:.2e} in plain loops");
    }
}

#[test]
fn gradients_of_a_small_network() {
    as_near_as_bf16_allows("small", 16, 0.25); // of plain loops up to 0.20
}

#[test]
fn gradients_of_the_step_by_step_network() {
    as_near_as_bf16_allows("stepwise", 16, 0.1);
}

#[test]
fn gradients_of_a_deep_network() {
    as_near_as_bf16_allows("resnet18", 4, 0.5);
}
