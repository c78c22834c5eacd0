//! Images times a factor for each channel of each of them.

use crate::backend::ScaleSpec;
use crate::element::Real;

use super::conv2d::triples;
use super::summed;

/// Calls `visit(element, factor)` for every element of the images and the factor that it is multiplied by.
fn products(spec: &ScaleSpec, mut visit: impl FnMut(usize, usize)) {
    for (image, pixel, c) in triples([spec.batch, spec.pixels, spec.channels]) {
        visit((image * spec.pixels + pixel) * spec.channels + c, image * spec.channels + c);
    }
}

/// `x` times `factors`; also the gradient of `x`, where that of the product is given in its place.
pub(super) fn forward<A: Real>(spec: &ScaleSpec, x: &[A], factors: &[A]) -> Vec<A> {
    let mut y = vec![A::zero(); x.len()];
    products(spec, |i, f| y[i] = x[i] * factors[f]);
    y
}

/// The gradient of the factors.
pub(super) fn backward_factors<A: Real>(spec: &ScaleSpec, dy: &[A], x: &[A]) -> Vec<A> {
    let mut sums = vec![0.0; spec.batch * spec.channels];
    products(spec, |i, f| sums[f] += dy[i].as_f64() * x[i].as_f64());
    summed(sums)
}
