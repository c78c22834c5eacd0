//! Batch normalisation.

use cnn_core::backend::{Affine, Backend, Gradient, Inference, Input, Norm, NormStats, Running};
use cnn_core::{BatchNormSpec, Naive};

use crate::{CHANNELS, agree, cpus, data, normal, read, whole, wide};

/// With a small `eps` the small variances of few rows would make large coefficients, and large errors.
fn shapes(eps: f64) -> impl Iterator<Item = BatchNormSpec> {
    let rows = [0, 1, 2, 5, 6, 63, 1300];
    CHANNELS.into_iter().flat_map(move |channels| rows.map(|rows| BatchNormSpec { rows, channels, eps }))
}

/// The statistics of `x`, `gamma` and `beta` of a seed.
fn stats<B: Backend>(b: &B, spec: &BatchNormSpec, x: &[f64]) -> NormStats<B> {
    let (mean, variance) = statistics(spec, x);
    let (gamma, beta) = (wide(b, &normal(spec.channels, 2)), wide(b, &normal(spec.channels, 3)));
    let affine = Affine { gamma: &gamma, beta: &beta };
    b.batch_norm_eval(spec, affine, &wide(b, &mean), &wide(b, &variance)).unwrap()
}

fn statistics(spec: &BatchNormSpec, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let oracle = Naive::<f64>::new();
    let moments = oracle.channel_moments(&data(&oracle, x), spec).unwrap();
    let round = |x: &[f64]| x.iter().map(|&x| f64::from(x as f32)).collect();
    (round(&moments.mean), round(&moments.variance))
}

#[test]
fn moments_and_running_statistics() {
    for spec in shapes(1e-5) {
        // A mean far from zero: the mean of squares would cancel.
        let x: Vec<f64> = normal(spec.rows * spec.channels, 1).iter().map(|x| f64::from((x + 30.0) as f32)).collect();
        agree!(spec, [2e-6, 1e-14], |b| {
            let moments = b.channel_moments(&data(b, &x), &spec).unwrap();
            let (gamma, beta) = (wide(b, &normal(spec.channels, 2)), wide(b, &normal(spec.channels, 3)));
            let (mut mean, mut variance) = (wide(b, &normal(spec.channels, 4)), wide(b, &vec![1.0; spec.channels]));
            let running = Running { mean: &mut mean, variance: &mut variance, momentum: 0.1 };
            let affine = Affine { gamma: &gamma, beta: &beta };
            let stats = b.batch_norm_train(&spec, &moments, affine, running).unwrap();
            let all = [moments.mean, moments.variance, stats.mean, mean, variance];
            let mut all: Vec<_> = all.iter().map(|of| read(b, of)).collect();
            if spec.rows > 2 {
                // With fewer the variance may be tiny, and its relative error large.
                all.extend([stats.inv_std, stats.scale, stats.shift].iter().map(|of| read(b, of)));
            }
            all
        });
    }
}

#[test]
fn moments_of_whole_numbers_are_exact() {
    for channels in CHANNELS {
        let spec = BatchNormSpec { rows: 1024, channels, eps: 0.0 };
        // The sum of each channel is 0: so are its mean and the errors of the deviations.
        let half = whole(512 * channels, 9, 5);
        let x: Vec<f64> = half.iter().copied().chain(half.iter().map(|x| -x)).collect();
        agree!(spec, [0.0; 2], |b| {
            let sums = b.sum_rows(&data(b, &half), channels).unwrap();
            let all = b.channel_moments(&data(b, &x), &spec).unwrap();
            // One part of whole numbers has a mean that is not exact; the whole has one that is nearly.
            let mean = read(b, &all.mean).iter().map(|m| (m * 1e5).round()).map(|m| m + 0.0).collect();
            vec![read(b, &sums), mean]
        });
    }
}

#[test]
fn normalised_with_every_residual() {
    for spec in shapes(0.25) {
        let n = spec.rows * spec.channels;
        let (x, r) = (normal(n, 1), normal(n, 6));
        for relu in [false, true] {
            agree!((spec, relu), [3e-7, 1e-15], |b| {
                let stats = stats(b, &spec, &x);
                let norm = |x: &[f64], relu| Norm::<_> {
                    x: data(b, x),
                    scale: stats.scale.clone(),
                    shift: stats.shift.clone(),
                    channels: spec.channels,
                    relu,
                };
                let residuals = [
                    None,
                    Some(Input::Plain(data(b, &r))),
                    Some(Input::Norm(norm(&r, true))),
                    Some(Input::Norm(norm(&r, false))),
                ];
                residuals.iter().map(|r| read(b, &b.normalise(&norm(&x, relu), r.as_ref()).unwrap())).collect()
            });
        }
    }
}

#[test]
fn gradients_with_every_mask() {
    for spec in shapes(0.25).filter(|spec| spec.rows > 1) {
        let n = spec.rows * spec.channels;
        let (x, dy, y) = (normal(n, 1), normal(n, 6), whole(n, 1, 7));
        for (relu, output, batch) in
            [(false, false, true), (true, false, true), (true, true, true), (true, false, false), (true, true, false)]
        {
            agree!((spec, relu, output, batch), [2e-6, 1e-12], |b| {
                let stats = stats(b, &spec, &x);
                let (scale, shift) = (stats.scale.clone(), stats.shift.clone());
                let norm = Norm { x: data(b, &x), scale, shift, channels: spec.channels, relu };
                let y = output.then(|| data(b, &y));
                let dy = data(b, &dy);
                let shared = dy.clone();
                let back = b.batch_norm_backward(&spec, dy, &norm, &stats, y.as_ref(), batch).unwrap();
                let kept = read(b, &shared);
                drop(back);
                // Now in place.
                let back = b.batch_norm_backward(&spec, shared, &norm, &stats, y.as_ref(), batch).unwrap();
                let mut all = vec![kept, read(b, &back.dx.dy)];
                // Where the gradient is also somebody else's, where it is not, and for two readers.
                all.push(read(b, &b.normalise_backward(back.dx.clone()).unwrap()));
                all.push(read(b, &back.dx.dy));
                all.push(match b.shared_gradient(back.dx.clone()).unwrap() {
                    Gradient::Plain(dx) => read(b, &dx),
                    Gradient::Norm(dx) => read(b, &b.normalise_backward(dx).unwrap()),
                });
                all.push(read(b, &b.normalise_backward(back.dx).unwrap()));
                if spec.rows > 2 {
                    all.extend([read(b, &back.dgamma), read(b, &back.dbeta)]);
                }
                all
            });
        }
    }
}

#[test]
fn bad_statistics_stay_out_of_the_running_ones() {
    let spec = BatchNormSpec { rows: 2, channels: 2, eps: 1e-5 };
    agree!("nan", [0.0; 2], |b| {
        let moments = b.channel_moments(&data(b, &[f64::NAN, 1.0, 0.0, 3.0]), &spec).unwrap();
        let ones = wide(b, &[1.0; 2]);
        let (mut mean, mut variance) = (ones.clone(), ones.clone());
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 0.5 };
        b.batch_norm_train(&spec, &moments, Affine { gamma: &ones, beta: &ones }, running).unwrap();
        vec![read(b, &mean), read(b, &variance)]
    });
}

#[test]
fn a_mask_lets_nan_through_and_stops_at_zero() {
    let spec = BatchNormSpec { rows: 5, channels: 1, eps: 0.0 };
    let x = [f64::NAN, 0.0, -0.0, 1e-30, -1.0];
    agree!("mask", [0.0; 2], |b| {
        let (one, zero) = (wide(b, &[1.0]), wide(b, &[0.0]));
        let stats =
            NormStats::<_> { mean: zero.clone(), inv_std: one.clone(), scale: one.clone(), shift: zero.clone() };
        let norm = Norm { x: data(b, &x), scale: one, shift: zero, channels: 1, relu: true };
        let back = b.batch_norm_backward(&spec, data(b, &[1.0; 5]), &norm, &stats, None, false).unwrap();
        vec![read(b, &back.dbeta)]
    });
}

/// In f32 the shift of such a channel, 3.2 million, is rounded to quarters.
#[test]
fn a_channel_of_constants_far_from_zero() {
    for n in [512, 7] {
        let spec = BatchNormSpec { rows: n, channels: 1, eps: 1e-5 };
        for b in &cpus().f32.concat() {
            let x = data(b, &vec![1e4; n]);
            let (one, zero) = (wide(b, &[1.0]), wide(b, &[0.0]));
            let moments = b.channel_moments(&x, &spec).unwrap();
            let affine = Affine { gamma: &one, beta: &zero };
            let stats = b.batch_norm_eval(&spec, affine, &moments.mean, &moments.variance).unwrap();
            let norm = Norm { x, scale: stats.scale, shift: stats.shift, channels: 1, relu: false };
            let y = read(b, &b.normalise(&norm, None).unwrap());
            assert!(y.iter().all(|y| y.abs() < 0.01), "{b:?}: {} where 0 is right", y[0]);
        }
    }
}
