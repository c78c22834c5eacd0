//! A check of gradients by finite differences, for operations of a program's own.

use crate::backend::{Accum, Backend};
use crate::element::{DType, Element, Real};
use crate::rng::{Philox, Purpose};
use crate::{Error, Pass, Result, Tensor, Var};

/// The step of the differences, relative to numbers above 1.
const STEP: f64 = 1e-5;
/// The largest accepted distance, relative to the norm of the gradient.
const BOUND: f64 = 1e-6;
/// A gradient smaller than this times the norm of `dy` is compared as if it were that large: differences round too.
const LEAST: f64 = 1e-3;

/// Compares the gradients of `f` at `inputs` with central differences, `(f(x + h) - f(x - h)) / 2h` number by number, of
/// the sum of `f * dy` for a random `dy`. Meant for small inputs, and away from the kinks of `f`: what is wrong by a
/// millionth is an error. The pass trains with fixed seed and step, so that dropout drops the same each time.
///
/// See [`Var::custom`] for an example.
///
/// # Errors
/// The input and the place whose gradient is not the difference, those of `f`, and a backend of another element than f64:
/// write `f` for any [`Backend`] and check it on `Naive<f64>`.
pub fn gradients<B: Backend>(backend: &B, inputs: &[Tensor<B>], f: impl Fn(&[Var<B>]) -> Result<Var<B>>) -> Result<()> {
    if B::Elem::DTYPE != DType::F64 {
        let rule = "must be f64, as of Naive::<f64>: differences of the others are too rough to compare with";
        return Err(Error::invalid("element", B::Elem::DTYPE, rule));
    }
    let enter = |tensors: &[Tensor<B>]| {
        let pass = Pass::train(backend, 0);
        tensors.iter().map(|tensor| Ok(pass.input(tensor.clone())?.keep_gradient())).collect::<Result<Vec<_>>>()
    };
    let xs = enter(inputs)?;
    let y = f(&xs)?;
    let mut stream = Philox::new(0, Purpose::Test, 0, 0).stream();
    let dy: Vec<f64> = (0..y.shape().numel()).map(|_| stream.range(-1.0, 1.0)).collect();
    let found = y.backward_from(tensor(backend, y.shape().dims(), &dy)?)?;
    let least = LEAST * norm(&dy);
    for (which, x) in xs.iter().enumerate() {
        let got = wide(Tensor::from_data(backend, x.shape(), found.of(x)?.clone())?.to_vec(backend)?);
        let at = wide(inputs[which].to_vec(backend)?);
        let value = |i: usize, moved: f64| {
            let mut numbers = at.clone();
            numbers[i] = moved;
            let mut tensors = inputs.to_vec();
            tensors[which] = tensor(backend, x.shape().dims(), &numbers)?;
            let y = wide(f(&enter(&tensors)?)?.to_vec()?);
            Ok::<f64, Error>(y.iter().zip(&dy).map(|(y, dy)| y * dy).sum())
        };
        let expected = (0..at.len())
            .map(|i| {
                let h = STEP * at[i].abs().max(1.0);
                Ok((value(i, at[i] + h)? - value(i, at[i] - h)?) / (2.0 * h))
            })
            .collect::<Result<Vec<f64>>>()?;
        let bound = BOUND * norm(&expected).max(least);
        let within = |i: usize| (got[i] - expected[i]).abs() <= bound; // not of NaN
        if let Some(i) = (0..at.len()).find(|&i| !within(i)) {
            let rule = format!("must be {}, the central difference", expected[i]);
            let value = format!("{} of element {i} of input {which}", got[i]);
            return Err(Error::invalid("gradient", value, rule));
        }
    }
    Ok(())
}

fn tensor<B: Backend>(backend: &B, dims: &[usize], values: &[f64]) -> Result<Tensor<B>> {
    let values: Vec<Accum<B>> = values.iter().map(|&value| Accum::<B>::from_f64(value)).collect();
    Tensor::from_slice(backend, dims, &values)
}

fn wide<A: Real>(values: Vec<A>) -> Vec<f64> {
    values.into_iter().map(Real::as_f64).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}
