//! Convolution: one walk over its multiplications serves all three directions.

use super::summed;
use crate::element::Real;
use crate::spec::Conv2dSpec;

/// Calls `visit(x, w, y)` for every product `input[x] * weight[w]` that is added to `output[y]`.
fn products(spec: &Conv2dSpec, mut visit: impl FnMut(usize, usize, usize)) {
    let [n, oh, ow, k] = spec.output_shape();
    let [_, h, w, c] = spec.input_shape();
    let [kh, kw, group_c, _] = spec.weight_shape();
    let group_k = k / spec.groups;
    for (image, oy, ox) in triples([n, oh, ow]) {
        let output = ((image * oh + oy) * ow + ox) * k;
        for (ky, kx, group) in triples([kh, kw, spec.groups]) {
            let (Some(iy), Some(ix)) = (position(spec, 0, oy, ky), position(spec, 1, ox, kx)) else {
                continue; // in the padding
            };
            let input = ((image * h + iy) * w + ix) * c;
            for ic in 0..group_c {
                let weight = ((ky * kw + kx) * group_c + ic) * k;
                for oc in group * group_k..(group + 1) * group_k {
                    visit(input + group * group_c + ic, weight + oc, output + oc);
                }
            }
        }
    }
}

/// The row (axis 0) or column (axis 1) of the image that tap `tap` of window `window` reads; none in the padding.
fn position(spec: &Conv2dSpec, axis: usize, window: usize, tap: usize) -> Option<usize> {
    let before = [spec.padding.top, spec.padding.left][axis];
    let padded = window * spec.stride[axis] + tap * spec.dilation[axis];
    padded.checked_sub(before).filter(|&i| i < spec.input[axis])
}

/// All indices of a box, the last one fastest.
pub(super) fn triples([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

/// The convolution of `x`.
pub(super) fn forward<A: Real>(spec: &Conv2dSpec, x: &[A], weight: &[A]) -> Vec<A> {
    let mut y = vec![0.0; spec.output_shape().iter().product()];
    products(spec, |ix, iw, iy| y[iy] += x[ix].as_f64() * weight[iw].as_f64());
    summed(y)
}

/// The gradient of the input, added to `before`.
pub(super) fn backward_data<A: Real>(spec: &Conv2dSpec, dy: &[A], weight: &[A], before: Option<Vec<A>>) -> Vec<A> {
    let mut dx = vec![0.0; spec.input_shape().iter().product()];
    products(spec, |ix, iw, iy| dx[ix] += dy[iy].as_f64() * weight[iw].as_f64());
    if let Some(before) = before {
        dx.iter_mut().zip(before).for_each(|(dx, before)| *dx += before.as_f64());
    }
    summed(dx)
}

/// The gradient of the weight.
pub(super) fn backward_weight<A: Real>(spec: &Conv2dSpec, dy: &[A], x: &[A]) -> Vec<A> {
    let mut dw = vec![0.0; spec.weight_shape().iter().product()];
    products(spec, |ix, iw, iy| dw[iw] += dy[iy].as_f64() * x[ix].as_f64());
    summed(dw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Conv2dOptions, Padding};

    #[test]
    fn a_convolution_by_hand() {
        // One row, kernel [1, 10, 100], stride 2, one column of padding to the left.
        let padding = Padding { left: 1, ..Padding::default() };
        let options = Conv2dOptions { kernel: [1, 3], stride: [1, 2], padding, ..Conv2dOptions::default() };
        let spec = Conv2dSpec::new([1, 1, 4, 1], 1, &options).unwrap();
        let weight = [1.0, 10.0, 100.0];
        assert_eq!(forward(&spec, &[1.0, 2.0, 3.0, 4.0], &weight), [210.0, 432.0]);
        assert_eq!(backward_data(&spec, &[1.0, 2.0], &weight, None), [10.0, 102.0, 20.0, 200.0]);
        assert_eq!(backward_weight(&spec, &[1.0, 2.0], &[1.0, 2.0, 3.0, 4.0]), [4.0, 7.0, 10.0]);
    }

    #[test]
    fn groups_do_not_mix() {
        let spec = Conv2dSpec::new([1, 1, 1, 4], 2, &Conv2dOptions::default().groups(2)).unwrap();
        // Weight [input channel of the group, output channel].
        let y = forward(&spec, &[1.0, 2.0, 3.0, 4.0], &[1.0, 10.0, 2.0, 20.0]);
        assert_eq!(y, [5.0, 110.0]);
    }
}
