//! Values that the suite of all backends does not see, which compares norms with an oracle: digits of small numbers, and
//! what is known exactly.

use cnn_core::archive::Archive;
use cnn_core::backend::{
    Accum, Activation, Affine, Backend, CrossEntropySpec, Data, Device, Inference, Norm, NormStats, Rectifier, Saved,
    Wide,
};
use cnn_core::nn::{Init, Linear, Module, name_fields};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{BatchNormSpec, Naive, Pass, Pool2dOptions, Pool2dSpec, Real, Tensor};
use cnn_cpu::{ConvAlgorithm, Cpu, CpuElement, testing};
use num_traits::Float;

fn cpus<T: CpuElement>() -> Vec<Cpu<T>> {
    testing::cpus(2, ConvAlgorithm::Auto)
}

fn upload<B: Device>(b: &B, x: &[f64]) -> Wide<B> {
    b.upload(&x.iter().map(|&x| Accum::<B>::from_f64(x)).collect::<Vec<_>>()).unwrap()
}

fn download<B: Device>(b: &B, x: &Wide<B>) -> Vec<f64> {
    b.download(x).unwrap().into_iter().map(Real::as_f64).collect()
}

/// An activation and its slope.
fn activated<B: Backend>(b: &B, activation: Activation, x: &[f64]) -> [Vec<f64>; 2] {
    let data = |x: &[f64]| b.narrow(&upload(b, x)).unwrap();
    let (x, ones) = (data(x), data(&vec![1.0; x.len()]));
    let y = b.activate(activation, x.clone()).unwrap();
    let saved = if activation.saved() == Saved::Input { &x } else { &y };
    let slope = b.activate_backward(activation, saved, ones).unwrap();
    [y, slope].map(|y| download(b, &b.widen(&y).unwrap()))
}

/// Digit by digit, as finite differences and the tails need it.
#[test]
fn smooth_activations_are_accurate_everywhere() {
    fn check<T: CpuElement>(activation: Activation, x: &[f64], expected: &[Vec<f64>; 2], (near, far): (f64, f64)) {
        for cpu in cpus::<T>() {
            for (of, (got, expected)) in activated(&cpu, activation, x).iter().zip(expected).enumerate() {
                for ((got, expected), x) in got.iter().zip(expected).zip(x) {
                    let error = (got - expected).abs();
                    // Relative to the value, more so in the tail; GELU's slope crosses zero near -0.75, SiLU's near -1.3.
                    let scale = if of == 1 && *x > -2.0 { 1.0 } else { expected.abs() };
                    let limit = scale * (near + far * x * x) + 1e-37;
                    assert!(
                        error <= limit,
                        "{cpu:?}, {activation:?}, result {of} at {x}: got {got:e}, expected {expected:e}"
                    );
                }
            }
        }
    }
    let x: Vec<f64> = (-3200..3200).map(|i| f64::from(i) / 256.0).chain([0.0, 1e-20, 60.0, -60.0, 3e4]).collect();
    // 1e-20 as f32 has it
    let x: Vec<f64> = x.into_iter().map(|x| f64::from(x as f32)).collect();
    for activation in [Activation::Gelu, Activation::Silu, Activation::Sigmoid] {
        let expected = activated(&Naive::<f64>::new(), activation, &x);
        check::<f32>(activation, &x, &expected, (6e-7, 1e-7));
        check::<f64>(activation, &x, &expected, (1e-15, 2e-16));
    }
}

#[test]
fn a_sure_answer_has_a_small_loss() {
    fn check<T: CpuElement>(bound: f64) {
        for cpu in cpus::<T>() {
            let logits = cpu.narrow(&upload(&cpu, &[0.0, 18.0, 1.0])).unwrap();
            let result =
                cpu.cross_entropy(&CrossEntropySpec::new(3, 0.0), &logits, &cpu.upload(&[1]).unwrap(), None).unwrap();
            let (got, expected) = (download(&cpu, &result.loss)[0], ((-18f64).exp() + (-17f64).exp()).ln_1p());
            assert!((got - expected).abs() <= bound * expected, "{cpu:?}: {got:e}, expected {expected:e}");
        }
    }
    check::<f32>(1e-6);
    check::<f64>(1e-13);
}

#[test]
fn many_rows_are_summed_accurately() {
    let x: Vec<f64> = (0..60_000u32).map(|i| f64::from((f64::from(i % 997) / 997.0 + 0.5) as f32)).collect();
    let expected: Vec<f64> = (0..3).map(|c| x.iter().skip(c).step_by(3).sum()).collect();
    for cpu in cpus::<f32>() {
        let got = download(&cpu, &cpu.sum_rows(&upload(&cpu, &x), 3).unwrap());
        let close = got.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() <= 2.5e-7 * expected);
        assert!(close, "{cpu:?}: {got:?}, expected {expected:?}");
    }
}

/// Numbers that f32 has, their squares not.
#[test]
fn the_norm_of_large_gradients_is_finite() {
    for cpu in cpus::<f32>() {
        let (loss, gradient) = (upload(&cpu, &[0.0]), upload(&cpu, &[3e30, 4e30]));
        for (largest, finite) in [(f64::INFINITY, 1), (1e30, 0)] {
            let health = cpu.gradient_health(Some(&loss), &[&gradient], largest).unwrap();
            let norm = download(&cpu, &health.norm)[0];
            let found = cpu.download(&health.finite).unwrap();
            assert!((norm - 5e30).abs() <= 5e23 && found == [finite], "{cpu:?}: {norm:e}, at most {largest:e}");
        }
    }
}

/// What Adam keeps of a gradient whose square f32 has not would be infinite for good.
#[test]
fn adam_refuses_a_gradient_whose_square_is_infinite() {
    for cpu in cpus::<f32>() {
        let adam = || OptimizerOptions::new(Method::ADAM);
        for (options, taken) in
            [(adam(), 0), (adam().clip_grad_norm(1.0), 1), (OptimizerOptions::new(Method::NESTEROV), 1)]
        {
            let mut model = Linear::new(&mut Init::new(&cpu, 0), 1, 1).unwrap();
            name_fields(&mut model);
            let mut optimizer = Optimizer::new(&cpu, &model, options).unwrap();
            for (slope, taken) in [(1e25, taken), (0.5, 1)] {
                let before = download(&cpu, model.weight.value());
                let pass = Pass::train(&cpu, 0);
                let one = |value: f32| Tensor::from_slice(&cpu, [1, 1], &[value]).unwrap();
                let y = model.call(&pass.input(one(1.0)).unwrap()).unwrap();
                let gradients = y.backward_from(one(slope)).unwrap();
                let health = optimizer.step(1e-30, &mut model, &gradients).unwrap();
                assert_eq!(cpu.download(&health.finite).unwrap(), [taken], "{cpu:?}: a gradient of {slope:e}");
                assert!(taken == 1 || download(&cpu, model.weight.value()) == before);
            }
            let mut archive = Archive::default();
            optimizer.save(&model, &mut archive).unwrap();
            for (name, array) in archive.arrays.iter().filter(|(name, _)| !name.starts_with("steps")) {
                array.to_finite::<f32>(f64::NEG_INFINITY).unwrap_or_else(|error| panic!("{cpu:?}: {name} {error}"));
            }
        }
    }
}

#[test]
fn averages_of_whole_numbers_over_four_are_exact() {
    for channels in [1, 3, 17, 64] {
        let spec = Pool2dSpec::new([2, 6, 10, channels], &Pool2dOptions::square(2)).unwrap();
        let x: Vec<f64> = (0..120 * channels).map(|i| f64::from(i as u32 % 199) - 99.0).collect();
        for cpu in cpus::<f32>() {
            let y = download(&cpu, &cpu.avg_pool2d(&spec, &upload(&cpu, &x)).unwrap());
            for (i, y) in y.into_iter().enumerate() {
                let (c, column, row) = (i % channels, i / channels % 5, i / channels / 5); // rows of both images
                let at = |dy: usize, dx: usize| x[((2 * row + dy) * 10 + 2 * column + dx) * channels + c];
                assert_eq!(y, (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0, "{cpu:?}");
            }
        }
    }
}

#[test]
fn a_mask_lets_nan_through_and_stops_at_zero() {
    let spec = BatchNormSpec { rows: 5, channels: 1, eps: 0.0 };
    for cpu in cpus::<f32>() {
        let (one, zero) = (upload(&cpu, &[1.0]), upload(&cpu, &[0.0]));
        let stats =
            NormStats::<_> { mean: zero.clone(), inv_std: one.clone(), scale: one.clone(), shift: zero.clone() };
        let x = upload(&cpu, &[f64::NAN, 0.0, -0.0, 1e-30, -1.0]);
        let dy = || upload(&cpu, &[1.0; 5]);
        let norm = Norm { x: x.clone(), scale: one, shift: zero, channels: 1, rectifier: Rectifier::Relu };
        let again = cpu.batch_norm_backward(&spec, dy(), &norm, &stats, None, false).unwrap();
        let written = cpu.batch_norm_backward(&spec, dy(), &norm, &stats, Some(&x), false).unwrap();
        let plain = cpu.activate_backward(Activation::Relu, &x, dy()).unwrap();
        assert_eq!(download(&cpu, &again.dbeta), [2.0], "{cpu:?}");
        assert_eq!(download(&cpu, &written.dx.dy), [1.0, 0.0, 0.0, 1.0, 0.0], "{cpu:?}");
        assert_eq!(download(&cpu, &plain), [1.0, 0.0, 0.0, 1.0, 0.0], "{cpu:?}");
    }
}

#[test]
fn a_rectifier_that_ends_at_6_ends_there() {
    fn ends<T: CpuElement>() {
        let below_6 = 6.0 - 4.0 * Accum::<Cpu<T>>::epsilon().as_f64();
        let places = [f64::NAN, 0.0, 1e-30, below_6, 6.0, 7.0, f64::INFINITY, -1.0];
        let spec = BatchNormSpec { rows: places.len(), channels: 1, eps: 0.0 };
        for cpu in cpus::<T>() {
            let data = |x: &[f64]| cpu.narrow(&upload(&cpu, x)).unwrap();
            let numbers = |x: &Data<Cpu<T>>| download(&cpu, &cpu.widen(x).unwrap());
            let (one, zero, x) = (upload(&cpu, &[1.0]), upload(&cpu, &[0.0]), data(&places));
            let stats =
                NormStats::<_> { mean: zero.clone(), inv_std: one.clone(), scale: one.clone(), shift: zero.clone() };
            let norm = Norm { x: x.clone(), scale: one, shift: zero, channels: 1, rectifier: Rectifier::Relu6 };
            let y = numbers(&cpu.normalise(&norm, None).unwrap());
            assert!(y[0].is_nan() && y[4..] == [6.0, 6.0, 6.0, 0.0] && y[1] == 0.0 && y[3] == below_6, "{y:?}");
            let dy = || data(&[1.0; 8]);
            let again = cpu.batch_norm_backward(&spec, dy(), &norm, &stats, None, false).unwrap();
            let written = cpu.batch_norm_backward(&spec, dy(), &norm, &stats, Some(&x), false).unwrap();
            let expected = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
            // The mask at what is not finite is told by a sum: dx has x itself in it.
            assert_eq!(download(&cpu, &again.dbeta), [3.0], "{cpu:?}");
            assert_eq!(numbers(&cpu.normalise_backward(again.dx).unwrap())[1..6], expected[1..6], "{cpu:?}");
            assert_eq!(numbers(&written.dx.dy), expected, "{cpu:?}");
        }
    }
    ends::<f32>();
    ends::<f64>();
}

/// In f32 the shift of such a channel, 3.2 million, is rounded to quarters.
#[test]
fn a_channel_of_constants_far_from_zero() {
    for n in [512, 7] {
        let spec = BatchNormSpec { rows: n, channels: 1, eps: 1e-5 };
        for cpu in cpus::<f32>() {
            let x = upload(&cpu, &vec![1e4; n]);
            let (gamma, beta) = (upload(&cpu, &[1.0]), upload(&cpu, &[0.0]));
            let moments = cpu.channel_moments(&x, &spec).unwrap();
            let affine = Affine { gamma: &gamma, beta: &beta };
            let stats = cpu.batch_norm_eval(&spec, affine, &moments.mean, &moments.variance).unwrap();
            let norm = Norm { x, scale: stats.scale, shift: stats.shift, channels: 1, rectifier: Rectifier::Open };
            let y = download(&cpu, &cpu.normalise(&norm, None).unwrap());
            assert!(y.iter().all(|y| y.abs() < 0.01), "{cpu:?}: {} where 0 is right", y[0]);
        }
    }
}
