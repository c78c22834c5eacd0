//! What differences cannot tell: kinks, ties and NaN.

use cnn_core::backend::Accum;
use cnn_core::nn::{BatchNorm2d, Conv2d, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Padding, Pass, Pool2dOptions, Real, Result, Tensor, Var, named_fields};

use super::difference::wide;

super::on_every_backend! {
    relu_has_no_slope_at_0 fused_relu_has_no_slope_at_0 the_first_of_equal_maxima_gets_the_gradient
    padding_is_never_a_maximum nan_reaches_the_loss nan_spares_the_running_statistics
}

fn enter<B: Backend>(pass: &Pass<B>, shape: &[usize], values: &[f64]) -> Result<Var<B>> {
    Ok(pass.input(tensor(pass.backend(), shape, values)?)?.keep_gradient())
}

fn tensor<B: Backend>(backend: &B, shape: &[usize], values: &[f64]) -> Result<Tensor<B>> {
    Tensor::from_slice(backend, shape, &values.iter().map(|&v| Accum::<B>::from_f64(v)).collect::<Vec<_>>())
}

/// The gradient of the sum of `y` by `x`.
fn slope<B: Backend>(y: &Var<B>, x: &Var<B>) -> Result<Vec<f64>> {
    let gradients = y.backward_from(y.ones()?)?;
    let backend = y.pass().backend();
    Ok(wide(backend.download(&backend.widen(gradients.of(x)?)?)?))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: got {got:?}, expected {expected:?}")) }
}

/// Runs `test` with the crate's errors as text.
fn text<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn relu_has_no_slope_at_0<B: Backend>(backend: &B) -> Result<(), String> {
    let pass = Pass::train(backend, 0);
    let x = text(enter(&pass, &[1, 5], &[0.0, -0.0, 1e-300, -1e-300, f64::INFINITY]))?;
    let y = text(x.relu())?;
    expect("relu", wide(text(y.to_vec())?), vec![0.0, 0.0, 1e-300, 0.0, f64::INFINITY])?;
    expect("slope", text(slope(&y, &x))?, vec![0.0, 0.0, 1.0, 0.0, 1.0])
}

/// With mean 0, variance 1 - eps and shift 0 the normalisation is the identity.
fn fused_relu_has_no_slope_at_0<B: Backend>(backend: &B) -> Result<(), String> {
    let mut layer = text(BatchNorm2d::new(&mut Init::new(backend, 0), 1))?;
    layer.eps = 0.0;
    name_fields(&mut layer);
    let pass = Pass::eval_recorded(backend);
    let x = text(enter(&pass, &[1, 2, 2, 1], &[0.0, -0.0, 2.0, -2.0]))?;
    expect("relu", text(layer.relu(&x).and_then(|y| slope(&y, &x)))?, vec![0.0, 0.0, 1.0, 0.0])?;

    let pass = Pass::eval_recorded(backend);
    let x = text(enter(&pass, &[1, 2, 2, 1], &[0.0, -1.0, 2.0, -2.0]))?;
    let shortcut = text(enter(&pass, &[1, 2, 2, 1], &[0.0, 1.0, -2.0, 2.5]))?;
    let y = text(layer.add_relu(&x, &shortcut))?;
    expect("relu of the sum", wide(text(y.to_vec())?), vec![0.0, 0.0, 0.0, 0.5])?;
    let gradients = text(y.ones().and_then(|ones| y.backward_from(ones)))?;
    for var in [&x, &shortcut] {
        let slopes = text(gradients.of(var).and_then(|slopes| backend.download(&backend.widen(slopes)?)))?;
        expect("slope of a summand", wide(slopes), vec![0.0, 0.0, 0.0, 1.0])?;
    }
    Ok(())
}

fn the_first_of_equal_maxima_gets_the_gradient<B: Backend>(backend: &B) -> Result<(), String> {
    let nan = f64::NAN;
    let low = f64::NEG_INFINITY;
    for (values, expected) in [
        ([1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]),
        ([0.0, 3.0, 3.0, -1.0], [0.0, 1.0, 0.0, 0.0]),
        ([-0.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
        ([low, low, low, low], [1.0, 0.0, 0.0, 0.0]),
        // As PyTorch: the last that is not a number.
        ([f64::INFINITY, 1.0, nan, nan], [0.0, 0.0, 0.0, 1.0]),
    ] {
        let pass = Pass::train(backend, 0);
        let x = text(enter(&pass, &[1, 2, 2, 1], &values))?;
        let y = text(x.max_pool2d(&Pool2dOptions::square(2)))?;
        expect(&format!("slope of the maximum of {values:?}"), text(slope(&y, &x))?, expected.to_vec())?;
    }
    // Windows that overlap: what they share gets both gradients.
    let pass = Pass::train(backend, 0);
    let x = text(enter(&pass, &[1, 1, 3, 1], &[2.0, 2.0, 2.0]))?;
    let options = Pool2dOptions { window: [1, 2], ..Pool2dOptions::square(2).stride(1) };
    let y = text(x.max_pool2d(&options))?;
    expect("slope of two maxima", text(slope(&y, &x))?, vec![1.0, 1.0, 0.0])
}

fn padding_is_never_a_maximum<B: Backend>(backend: &B) -> Result<(), String> {
    let pass = Pass::train(backend, 0);
    let x = text(enter(&pass, &[1, 2, 1, 1], &[-3.0, -2.0]))?;
    let options = Pool2dOptions::square(3).stride(1).padding(Padding::all(1));
    let y = text(x.max_pool2d(&options))?;
    expect("maxima", wide(text(y.to_vec())?), vec![-2.0, -2.0])?;
    expect("slope", text(slope(&y, &x))?, vec![0.0, 2.0])
}

struct Net<B: Backend> {
    conv: Conv2d<B>,
    norm: BatchNorm2d<B>,
    dense: Linear<B>,
    scope: Scope,
}

named_fields!(Net { conv, norm, dense });

fn nan_reaches_the_loss<B: Backend>(backend: &B) -> Result<(), String> {
    let pass = Pass::train(backend, 0);
    let init = &mut Init::new(backend, 0);
    let mut net = Net {
        conv: text(Conv2d::new(init, 1, 2, Conv2dOptions::square(3).padding(1)))?,
        norm: text(BatchNorm2d::new(init, 2))?,
        dense: text(Linear::new(init, 2, 3))?,
        scope: Scope::default(),
    };
    name_fields(&mut net);
    let mut model = |bad: f64| {
        let mut values = vec![0.5; 32];
        values[21] = bad;
        let x = enter(&pass, &[2, 4, 4, 1], &values)?;
        let x = net.norm.relu(&net.conv.call(&x)?)?.gelu()?.max_pool2d(&Pool2dOptions::square(2))?;
        net.dense.call(&x.global_avg_pool2d()?.flatten()?)
    };
    for bad in [f64::NAN, f64::INFINITY] {
        // One bad pixel makes both statistics, and so both images, bad.
        let logits = text(model(bad))?;
        expect("logits that are NaN", wide(text(logits.to_vec())?).iter().all(|y| y.is_nan()), true)?;
        let probabilities = wide(text(logits.softmax().and_then(|p| p.to_vec()))?);
        expect("probabilities that are NaN", probabilities.iter().all(|p| p.is_nan()), true)?;
        let loss = text(logits.cross_entropy(&[0, 2], 0.1))?;
        expect("a NaN loss", text(loss.to_f64())?.is_nan(), true)?;
    }
    Ok(())
}

fn nan_spares_the_running_statistics<B: Backend>(backend: &B) -> Result<(), String> {
    let mut norm = text(BatchNorm2d::new(&mut Init::new(backend, 0), 2))?;
    name_fields(&mut norm);
    let pass = Pass::train(backend, 0);
    let x = text(enter(&pass, &[2, 1, 1, 2], &[f64::NAN, 1.0, 0.0, 3.0]))?;
    text(norm.call(&x))?;
    let statistic = |value| Ok::<_, cnn_core::Error>(wide(backend.download(value)?));
    // The second channel moves by a tenth towards mean 2 and unbiased variance 2.
    expect("running mean", text(statistic(norm.running_mean.value()))?, vec![0.0, 0.1 * 2.0])?;
    expect("running variance", text(statistic(norm.running_var.value()))?, vec![1.0, 0.9 + 0.1 * 2.0])
}
