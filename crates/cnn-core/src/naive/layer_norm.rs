//! Layer normalisation: mean and deviation of each row, and the gradients of what it makes of them.

use std::sync::Arc;

use super::{Naive, rounded, summed, wide};
use crate::backend::{Affine, LayerNormBackward};
use crate::element::{Element, Real};
use crate::spec::LayerNormSpec;

/// A row less its mean and over its deviation, and one over its deviation; the variance in a second pass.
fn normalised<A: Real>(spec: &LayerNormSpec, x: &[A]) -> (Vec<f64>, f64) {
    let mean_of = |terms: &[f64]| terms.iter().sum::<f64>() / spec.channels as f64;
    let x: Vec<f64> = x.iter().map(|x| x.as_f64()).collect();
    let mean = mean_of(&x);
    let centred: Vec<f64> = x.iter().map(|x| x - mean).collect();
    let squares: Vec<f64> = centred.iter().map(|d| d * d).collect();
    let inverse = 1.0 / (mean_of(&squares) + spec.eps).sqrt();
    (centred.iter().map(|d| d * inverse).collect(), inverse)
}

/// The rows of `x`, normalised.
pub(super) fn forward<E: Element>(spec: &LayerNormSpec, x: &[E], affine: Affine<'_, Naive<E>>) -> Arc<Vec<E>> {
    let mut y = Vec::with_capacity(x.len());
    for row in wide(x).chunks_exact(spec.channels.max(1)) {
        let (xhat, _) = normalised(spec, row);
        y.extend((0..spec.channels).map(|c| xhat[c] * affine.gamma[c].as_f64() + affine.beta[c].as_f64()));
    }
    rounded(summed(y))
}

/// The gradients of the input, gamma and beta.
pub(super) fn backward<E: Element>(
    spec: &LayerNormSpec,
    dy: &[E],
    x: &[E],
    gamma: &[E::Accum],
) -> LayerNormBackward<Naive<E>> {
    let (mut dx, mut dgamma, mut dbeta) = (Vec::new(), vec![0.0; spec.channels], vec![0.0; spec.channels]);
    let (dy, x, channels) = (wide(dy), wide(x), spec.channels.max(1));
    for (dy, x) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)) {
        let (xhat, inverse) = normalised(spec, x);
        let (mut mean, mut mean_by_xhat) = (0.0, 0.0);
        for c in 0..channels {
            let g = dy[c].as_f64() * gamma[c].as_f64();
            mean += g / channels as f64;
            mean_by_xhat += g * xhat[c] / channels as f64;
            dbeta[c] += dy[c].as_f64();
            dgamma[c] += dy[c].as_f64() * xhat[c];
        }
        let one = |c: usize| (dy[c].as_f64() * gamma[c].as_f64() - mean - xhat[c] * mean_by_xhat) * inverse;
        dx.extend((0..channels).map(one));
    }
    LayerNormBackward { dx: rounded(summed(dx)), dgamma: Arc::new(summed(dgamma)), dbeta: Arc::new(summed(dbeta)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // import torch
    // norm = torch.nn.LayerNorm(4, eps=0.25).double()
    // norm.weight.data, norm.bias.data = torch.tensor([1., 2., -1., .5]).double(), torch.tensor([0., 1., 2., -1.]).double()
    // x = torch.tensor([[1., 2., 3., 6.], [0., -1., .5, 4.]]).double().requires_grad_()
    // y = norm(x); y.backward(torch.tensor([[1., 0., -1., 2.], [.5, 1., 0., 0.]]).double())
    // for t in (y, x.grad, norm.weight.grad, norm.bias.grad): print(t.flatten().tolist())
    #[test]
    fn like_pytorch() {
        let spec = LayerNormSpec { channels: 4, eps: 0.25 };
        let (gamma, beta) = (Arc::new(vec![1.0, 2.0, -1.0, 0.5]), Arc::new(vec![0.0, 1.0, 2.0, -1.0]));
        let x = [1.0, 2.0, 3.0, 6.0, 0.0, -1.0, 0.5, 4.0];
        let dy = [1.0, 0.0, -1.0, 2.0, 0.5, 1.0, 0.0, 0.0];
        let y = forward::<f64>(&spec, &x, Affine { gamma: &gamma, beta: &beta });
        let back = backward::<f64>(&spec, &dy, &x, &gamma);
        for (what, got, expected) in [
            ("y", &y, &Y[..]),
            ("dx", &back.dx, &DX),
            ("dgamma", &back.dgamma, &DGAMMA),
            ("dbeta", &back.dbeta, &DBETA),
        ] {
            let near = got.len() == expected.len() && got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-14);
            assert!(near, "{what}: got {got:?}, expected {expected:?}");
        }
    }

    #[rustfmt::skip]
    const Y: [f64; 8] = [-1.032_795_558_988_644_4, -0.032_795_558_988_644_39, 2.0, -0.225_403_330_758_516_7, -0.449_050_209_369_708_85, -0.924_500_897_298_752_3, 2.192_450_089_729_875, -0.198_124_626_125_519_84];
    #[rustfmt::skip]
    const DX: [f64; 8] = [0.197_952_482_139_490_13, -0.352_871_815_987_786_83, 0.129_099_444_873_580_55, 0.025_819_888_974_716_154, -0.187_962_227_555_104_44, 0.440_338_476_912_801_1, -0.373_812_519_969_140_33, 0.121_436_270_611_443_74];
    #[rustfmt::skip]
    const DGAMMA: [f64; 4] = [-1.257_320_663_673_498_8, -0.962_250_448_649_376_1, 0.0, 3.098_386_676_965_933];
    const DBETA: [f64; 4] = [1.5, 1.0, -1.0, 2.0];
}
