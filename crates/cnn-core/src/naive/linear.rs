//! Dense layers and sums over rows.

use crate::backend::LinearSpec;
use crate::element::Real;

use super::conv2d::triples;
use super::summed;

/// Calls `visit(x, w, y)` for every product `input[x] * weight[w]` that is added to `output[y]`.
fn products(spec: &LinearSpec, mut visit: impl FnMut(usize, usize, usize)) {
    for (row, i, o) in triples([spec.rows, spec.inputs, spec.outputs]) {
        visit(row * spec.inputs + i, i * spec.outputs + o, row * spec.outputs + o);
    }
}

/// `x` times `weight`.
pub(super) fn forward<A: Real>(spec: &LinearSpec, x: &[A], weight: &[A]) -> Vec<A> {
    let mut y = vec![0.0; spec.rows * spec.outputs];
    products(spec, |ix, iw, iy| y[iy] += x[ix].as_f64() * weight[iw].as_f64());
    summed(y)
}

/// `dy` times the transposed weight.
pub(super) fn backward_data<A: Real>(spec: &LinearSpec, dy: &[A], weight: &[A]) -> Vec<A> {
    let mut dx = vec![0.0; spec.rows * spec.inputs];
    products(spec, |ix, iw, iy| dx[ix] += dy[iy].as_f64() * weight[iw].as_f64());
    summed(dx)
}

/// The transposed `x` times `dy`.
pub(super) fn backward_weight<A: Real>(spec: &LinearSpec, dy: &[A], x: &[A]) -> Vec<A> {
    let mut dw = vec![0.0; spec.inputs * spec.outputs];
    products(spec, |ix, iw, iy| dw[iw] += dy[iy].as_f64() * x[ix].as_f64());
    summed(dw)
}

/// The sum over rows.
pub(super) fn sum_rows<A: Real>(x: &[A], channels: usize) -> Vec<A> {
    let mut sum = vec![0.0; channels];
    for row in x.chunks_exact(channels.max(1)) {
        sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x.as_f64());
    }
    summed(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_by_hand() {
        let spec = LinearSpec { rows: 2, inputs: 2, outputs: 3 };
        let (x, weight) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(forward(&spec, &x, &weight), [9.0, 12.0, 15.0, 19.0, 26.0, 33.0]);
        let dy = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0];
        assert_eq!(backward_data(&spec, &dy, &weight), [1.0, 4.0, 5.0, 11.0]);
        assert_eq!(backward_weight(&spec, &dy, &x), [1.0, 3.0, 3.0, 2.0, 4.0, 4.0]);
        assert_eq!(sum_rows(&dy, 3), [1.0, 1.0, 1.0]);
    }
}
