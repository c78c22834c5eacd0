//! Batch normalisation: moments, running statistics, and the gradient as coefficients.

use std::sync::Arc;

use num_traits::{Float, One, Zero};

use super::{Naive, elementwise};
use crate::backend::{Affine, Data, Moments, Norm, NormBackward, NormGradient, NormMask, NormStats, Running, Wide};
use crate::element::{Element, Real};
use crate::spec::BatchNormSpec;

/// Where a gradient counts.
type Mask<E> = Option<NormMask<Naive<E>>>;

/// Mean and mean squared deviation of every channel, in two passes (the mean of squares minus the square of the mean
/// would cancel). Without rows both are NaN.
pub(super) fn moments<A: Real>(spec: &BatchNormSpec, x: &[A]) -> (Vec<A>, Vec<A>) {
    let rows = A::from_f64(spec.rows as f64);
    let mut mean = vec![A::zero(); spec.channels];
    let mut variance = mean.clone();
    for row in x.chunks_exact(spec.channels.max(1)) {
        mean.iter_mut().zip(row).for_each(|(mean, &x)| *mean += x);
    }
    mean.iter_mut().for_each(|mean| *mean /= rows);
    for row in x.chunks_exact(spec.channels.max(1)) {
        for c in 0..spec.channels {
            variance[c] += (row[c] - mean[c]) * (row[c] - mean[c]);
        }
    }
    variance.iter_mut().for_each(|variance| *variance /= rows);
    (mean, variance)
}

/// Moves the running statistics towards the batch's, with its unbiased variance.
pub(super) fn update_running<E: Element>(
    spec: &BatchNormSpec,
    moments: &Moments<Naive<E>>,
    running: Running<'_, Naive<E>>,
) {
    let momentum = E::Accum::from_f64(running.momentum);
    let keep = E::Accum::from_f64(1.0 - running.momentum);
    let unbias = E::Accum::from_f64(spec.rows as f64 / (spec.rows as f64 - 1.0));
    let (means, variances) = (Arc::make_mut(running.mean), Arc::make_mut(running.variance));
    for c in 0..spec.channels {
        let (mean, variance) = (moments.mean[c], moments.variance[c] * unbias);
        if mean.is_finite() && variance.is_finite() {
            means[c] = keep * means[c] + momentum * mean;
            variances[c] = keep * variances[c] + momentum * variance;
        }
    }
}

/// The coefficients of a normalisation by these statistics.
pub(super) fn coefficients<E: Element>(
    spec: &BatchNormSpec,
    affine: Affine<'_, Naive<E>>,
    mean: &Wide<Naive<E>>,
    variance: &Wide<Naive<E>>,
) -> NormStats<Naive<E>> {
    let eps = E::Accum::from_f64(spec.eps);
    let per_channel = |f: &dyn Fn(usize) -> E::Accum| Arc::new((0..spec.channels).map(f).collect::<Vec<_>>());
    let inv_std = per_channel(&|c| E::Accum::one() / (variance[c] + eps).sqrt());
    let scale = per_channel(&|c| affine.gamma[c] * inv_std[c]);
    let shift = per_channel(&|c| affine.beta[c] - mean[c] * scale[c]);
    NormStats { mean: mean.clone(), inv_std, scale, shift }
}

/// `x * scale + shift`, plus `residual`, then the rectifier.
pub(super) fn normalise<E: Element>(norm: &Norm<Naive<E>>, residual: Option<&[E::Accum]>) -> Vec<E::Accum> {
    let one = |(i, x): (usize, &E)| {
        let c = i % norm.channels;
        let mut y = x.to_accum() * norm.scale[c] + norm.shift[c];
        if let Some(residual) = residual {
            y += residual[i];
        }
        norm.rectifier.activation().map_or(y, |activation| elementwise::activate(activation, y))
    };
    norm.x.iter().enumerate().map(one).collect()
}

/// The gradients of gamma and beta, and the coefficients of that of the input:
///
/// ```text
/// xhat   = (x - mean) * inv_std                          dy counts as 0 where the mask says so
/// dbeta  = sum(dy)
/// dgamma = sum(dy * xhat)
/// dx     = scale * (dy - dbeta / rows - xhat * dgamma / rows)      by batch statistics
/// dx     = scale * dy                                              by running statistics
/// ```
pub(super) fn backward<E: Element>(
    spec: &BatchNormSpec,
    dy: Data<Naive<E>>,
    norm: &Norm<Naive<E>>,
    mask: Mask<E>,
    stats: &NormStats<Naive<E>>,
    batch: bool,
) -> NormBackward<Naive<E>> {
    let zero = vec![E::Accum::zero(); spec.channels];
    let (mut dgamma, mut dbeta) = (zero.clone(), zero.clone());
    for i in 0..dy.len() {
        let c = i % spec.channels;
        let x = norm.x[i].to_accum();
        let dy = masked::<E>(&mask, c, x, dy[i].to_accum());
        dbeta[c] += dy;
        dgamma[c] += dy * (x - stats.mean[c]) * stats.inv_std[c];
    }
    let (mut x_scale, mut shift) = (zero.clone(), zero);
    if batch {
        let rows = E::Accum::from_f64(spec.rows as f64);
        for c in 0..spec.channels {
            x_scale[c] = -stats.scale[c] * stats.inv_std[c] * dgamma[c] / rows;
            shift[c] = -stats.scale[c] * dbeta[c] / rows - x_scale[c] * stats.mean[c];
        }
    }
    let dx = NormGradient {
        dy,
        x: norm.x.clone(),
        dy_scale: stats.scale.clone(),
        x_scale: Arc::new(x_scale),
        shift: Arc::new(shift),
        mask,
        channels: spec.channels,
    };
    NormBackward { dx, dgamma: Arc::new(dgamma), dbeta: Arc::new(dbeta) }
}

/// `dy`, or 0 where the mask's rectifier lets nothing through.
fn masked<E: Element>(mask: &Mask<E>, c: usize, x: E::Accum, dy: E::Accum) -> E::Accum {
    let Some(NormMask { scale, shift, rectifier }) = mask else { return dy };
    let y = x * scale[c] + shift[c];
    rectifier.activation().map_or(dy, |activation| elementwise::back(activation, y, dy))
}

/// The gradient of a normalisation's input from its coefficients.
pub(super) fn normalise_backward<E: Element>(gradient: &NormGradient<Naive<E>>) -> Vec<E::Accum> {
    let NormGradient { dy, x, dy_scale, x_scale, shift, mask, channels } = gradient;
    let one = |(i, dy): (usize, &E)| {
        let (c, x) = (i % channels, x[i].to_accum());
        dy_scale[c] * masked::<E>(mask, c, x, dy.to_accum()) + x_scale[c] * x + shift[c]
    };
    dy.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    // bn = torch.nn.BatchNorm2d(1, momentum=0.1); bn(torch.tensor([1., 2., 3., 6.]).reshape(1, 1, 2, 2))
    // print(bn.running_mean, bn.running_var)
    #[test]
    fn the_running_variance_is_unbiased() {
        let backend = Naive::<f64>::new();
        let spec = BatchNormSpec { rows: 4, channels: 1, eps: 1e-5 };
        let moments = backend.channel_moments(&Arc::new(vec![1.0, 2.0, 3.0, 6.0]), &spec).unwrap();
        assert_eq!((moments.mean[0], moments.variance[0]), (3.0, 3.5));
        let (gamma, beta) = (Arc::new(vec![2.0]), Arc::new(vec![1.0]));
        let (mut mean, mut variance) = (Arc::new(vec![0.0]), Arc::new(vec![1.0]));
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 0.1 };
        let stats = backend.batch_norm_train(&spec, &moments, Affine { gamma: &gamma, beta: &beta }, running).unwrap();
        assert!((mean[0] - 0.3).abs() < 1e-15, "{mean:?}");
        assert!((variance[0] - 1.366_666_666_666_666_7).abs() < 1e-15, "{variance:?}");
        assert!((stats.scale[0] - 2.0 / 3.50001f64.sqrt()).abs() < 1e-15, "{stats:?}");
    }

    #[test]
    fn statistics_that_are_not_finite_do_not_reach_the_running_ones() {
        let backend = Naive::<f32>::new();
        let spec = BatchNormSpec { rows: 2, channels: 2, eps: 1e-5 };
        let moments = backend.channel_moments(&Arc::new(vec![f32::NAN, 1.0, 0.0, 3.0]), &spec).unwrap();
        let ones = Arc::new(vec![1.0; 2]);
        let (mut mean, mut variance) = (ones.clone(), ones.clone());
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 0.5 };
        backend.batch_norm_train(&spec, &moments, Affine { gamma: &ones, beta: &ones }, running).unwrap();
        assert_eq!((&mean[..], &variance[..]), (&[1.0, 1.5][..], &[1.0, 1.5][..]));
    }
}
