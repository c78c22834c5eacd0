//! Activations of more channels than a block of threads reads side by side, and a channel far from zero.

use cnn_core::backend::{Affine, Epilogue, Input, Norm, NormStats, Rectifier, Running, Uses};
use cnn_core::{Backend, BatchNormSpec, Conv2dOptions, Conv2dSpec, Device, Inference, Result};
use cnn_cuda::{CudaElement, Tile};
use cnn_tests::{Bound, Case, Lab, check_all};
use half::bf16;

use crate::device::{cuda, own_products};

/// Every pass over [rows, channels].
#[derive(Clone, Debug)]
struct Wide {
    rows: usize,
    channels: usize,
}

impl Case for Wide {
    fn seed(&self) -> u32 {
        (self.rows * 10_000 + self.channels) as u32
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, &Wide { rows, channels }) = (lab.backend(), self);
        let (numel, spec) = (rows * channels, BatchNormSpec { rows, channels, eps: 1e-5 });
        let size = (rows as f64).sqrt(); // of a sum of numbers of either sign
        let norm = lab.norm(numel, channels, Rectifier::Relu)?;
        lab.report_wide("sum over rows", &backend.sum_rows(&norm.x, channels)?)?.relative_to(size);
        let moments = backend.channel_moments(&norm.x, &spec)?;
        let [mean, variance] = lab.moments(&moments, rows, channels)?;
        lab.report_wide("mean", &mean)?.close().relative_to(1.0);
        lab.report_wide("variance", &variance)?.close().relative_to(1.0);

        let residual = Input::Norm(lab.norm(numel, channels, Rectifier::Relu)?);
        lab.report("y", &backend.normalise(&norm, Some(&residual))?)?.relative_to(1.0);
        let (mean, inv_std) = (lab.numbers(channels), lab.positive(channels));
        let (mean, inv_std) = (lab.wide(&mean)?, lab.wide(&inv_std)?);
        let stats = NormStats { mean, inv_std, scale: norm.scale.clone(), shift: norm.shift.clone() };
        let output: Vec<f64> = lab.numbers(numel).into_iter().map(|y| y.max(0.0)).collect();
        for output in [None, Some(lab.data(&output)?)] {
            let dy = lab.numbers(numel);
            let back = backend.batch_norm_backward(&spec, lab.data(&dy)?, &norm, &stats, output.as_ref(), true)?;
            lab.report_wide("dgamma", &back.dgamma)?.relative_to(size);
            lab.report_wide("dbeta", &back.dbeta)?.relative_to(size);
            lab.report("dy", &back.dx.dy)?.exact();
            lab.report("dx", &backend.normalise_backward(back.dx)?)?.close().relative_to(1.0);
        }
        Ok(())
    }
}

fn wide<T: CudaElement>() {
    let Some(cuda) = cuda::<T>() else { return };
    // Vectors of one block and of several, with threads to spare, and channels that are no vectors.
    let shapes = [72, 129, 264, 1000].into_iter().flat_map(|channels| [1, 700].map(|rows| Wide { rows, channels }));
    check_all(Bound::of(T::DTYPE), &shapes.collect::<Vec<_>>(), &[vec![cuda]])
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn wide_f32() {
    wide::<f32>();
}

#[test]
fn wide_bf16() {
    wide::<bf16>();
}

/// The moments of a convolution in tiles of 64 pixels: a channel has more of them than a block reads at once.
#[test]
fn moments_of_many_tiles() {
    let Some(cuda) = own_products::<bf16>(Some(Tile::Small)) else { return };
    let (rows, channels) = (64 * 1100 + 3, 16);
    let spec = Conv2dSpec::new([1, rows, 1, 8], channels, &Conv2dOptions::square(1)).unwrap();
    let weight: Vec<f32> = (0..8 * channels).map(|i| (i % 7) as f32 - 2.0).collect();
    let x: Vec<f32> = (0..rows * 8).map(|i| (i * i % 11) as f32 + if i > rows * 4 { 8.0 } else { 0.0 }).collect();
    let filter = cuda.prepare_filter(&spec, &cuda.upload(&weight).unwrap(), Uses::Training).unwrap();
    let x = Input::Plain(cuda.narrow(&cuda.upload(&x).unwrap()).unwrap());
    let (y, moments) = cuda.conv2d_moments(&spec, &x, &filter, Epilogue::bias(None)).unwrap();
    let y = cuda.download(&cuda.widen(&y).unwrap()).unwrap();

    let list = |value: f32| cuda.fill(channels, value).unwrap();
    let (gamma, beta, mut mean, mut variance) = (list(1.0), list(0.0), list(0.0), list(0.0));
    let running = Running { mean: &mut mean, variance: &mut variance, momentum: 1.0 };
    let norm = BatchNormSpec { rows, channels, eps: 1e-5 };
    cuda.batch_norm_train(&norm, &moments, Affine { gamma: &gamma, beta: &beta }, running).unwrap();
    let [means, variances] = [mean, variance].map(|list| cuda.download(&list).unwrap());
    for c in 0..channels {
        let column = || y.iter().skip(c).step_by(channels).map(|&y| f64::from(y));
        let mean = column().sum::<f64>() / rows as f64;
        let variance = column().map(|y| (y - mean).powi(2)).sum::<f64>() / (rows - 1) as f64;
        let [got_mean, got_variance] = [means[c], variances[c]].map(f64::from);
        assert!((got_mean - mean).abs() < 1e-6 * variance.sqrt().max(mean.abs()), "{got_mean} for {mean}");
        assert!((got_variance - variance).abs() < 3e-6 * variance, "{got_variance} for {variance}");
    }
}

#[test]
fn moments_of_another_batch_are_refused() {
    let Some(cuda) = cuda::<f32>() else { return };
    let of = |rows: usize| BatchNormSpec { rows, channels: 1, eps: 1e-5 };
    let list = || cuda.fill(1, 0.0f32).unwrap();
    for (rows, asked) in [(7, 8), (8, 7), (0, 0)] {
        let moments = cuda.channel_moments(&cuda.fill(rows, 1.0f32).unwrap(), &of(rows)).unwrap();
        let (mut mean, mut variance) = (list(), list());
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 0.1 };
        let affine = Affine { gamma: &list(), beta: &list() };
        let error = cuda.batch_norm_train(&of(asked), &moments, affine, running).unwrap_err();
        assert!(error.to_string().starts_with(&format!("rows of the moments {rows}")), "{error}");
    }
}

/// In f32 the shift of such a channel, 3.2 million, is rounded to quarters.
#[test]
fn a_channel_of_constants_far_from_zero() {
    let Some(cuda) = cuda::<f32>() else { return };
    for n in [512, 7] {
        let spec = BatchNormSpec { rows: n, channels: 1, eps: 1e-5 };
        let x = cuda.upload(&vec![1e4f32; n]).unwrap();
        let (gamma, beta) = (cuda.upload(&[1.0f32]).unwrap(), cuda.upload(&[0.0f32]).unwrap());
        let moments = cuda.channel_moments(&x, &spec).unwrap();
        let (mut mean, mut variance) = (cuda.upload(&[0.0f32]).unwrap(), cuda.upload(&[1.0f32]).unwrap());
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 1.0 };
        let stats = cuda.batch_norm_train(&spec, &moments, Affine { gamma: &gamma, beta: &beta }, running).unwrap();
        assert_eq!([mean, variance].map(|list| cuda.download(&list).unwrap()), [[1e4], [0.0]]);
        let norm = Norm { x, scale: stats.scale, shift: stats.shift, channels: 1, rectifier: Rectifier::Open };
        let y = cuda.download(&cuda.normalise(&norm, None).unwrap()).unwrap();
        assert!(y.iter().all(|y| y.abs() < 0.01), "{} where 0 is right", y[0]);
    }
}
