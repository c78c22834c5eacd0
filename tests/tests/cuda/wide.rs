//! Activations of more channels than a block of threads reads side by side, and a channel far from zero.

use cnn_core::backend::{Affine, Input, Norm, NormStats};
use cnn_core::{Backend, BatchNormSpec, Device, Inference, Result};
use cnn_cuda::CudaElement;
use cnn_tests::{Bound, Case, Lab, check_all};
use half::bf16;

use crate::device::cuda;

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
        let norm = lab.norm(numel, channels, true)?;
        lab.report_wide("sum over rows", &backend.sum_rows(&norm.x, channels)?)?.relative_to(size);
        let moments = backend.channel_moments(&norm.x, &spec)?;
        lab.report_wide("mean", &moments.mean)?.close().relative_to(1.0);
        lab.report_wide("variance", &moments.variance)?.close().relative_to(1.0);

        let residual = Input::Norm(lab.norm(numel, channels, true)?);
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

/// In f32 the shift of such a channel, 3.2 million, is rounded to quarters.
#[test]
fn a_channel_of_constants_far_from_zero() {
    let Some(cuda) = cuda::<f32>() else { return };
    for n in [512, 7] {
        let spec = BatchNormSpec { rows: n, channels: 1, eps: 1e-5 };
        let x = cuda.upload(&vec![1e4f32; n]).unwrap();
        let (gamma, beta) = (cuda.upload(&[1.0f32]).unwrap(), cuda.upload(&[0.0f32]).unwrap());
        let moments = cuda.channel_moments(&x, &spec).unwrap();
        assert_eq!(cuda.download(&moments.variance).unwrap(), [0.0]);
        let affine = Affine { gamma: &gamma, beta: &beta };
        let stats = cuda.batch_norm_eval(&spec, affine, &moments.mean, &moments.variance).unwrap();
        let norm = Norm { x, scale: stats.scale, shift: stats.shift, channels: 1, relu: false };
        let y = cuda.download(&cuda.normalise(&norm, None).unwrap()).unwrap();
        assert!(y.iter().all(|y| y.abs() < 0.01), "{} where 0 is right", y[0]);
    }
}
