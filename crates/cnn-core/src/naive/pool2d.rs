//! Pooling: maximum with the place it was found, and average.

use crate::element::Real;
use crate::spec::Pool2dSpec;
use crate::windows::Windows;

use super::conv2d::triples;

/// Calls `visit(output, image, pixels, counted)` for every output element: its index, the index of its channel in the
/// first pixel of its image, the pixels of its window as `row * W + column`, and how many pixels an average counts.
fn windows(spec: &impl Windows, mut visit: impl FnMut(usize, usize, &[usize], usize)) {
    let [n, oh, ow, channels] = spec.output_shape();
    let [_, h, w, _] = spec.input_shape();
    for (image, oy, ox) in triples([n, oh, ow]) {
        let (rows, counted_rows) = spec.span(0, oy);
        let (columns, counted_columns) = spec.span(1, ox);
        let pixels: Vec<usize> = rows.flat_map(|y| columns.clone().map(move |x| y * w + x)).collect();
        for c in 0..channels {
            let output = ((image * oh + oy) * ow + ox) * channels + c;
            visit(output, image * h * w * channels + c, &pixels, counted_rows * counted_columns);
        }
    }
}

/// The maximum of every window and its place.
pub(super) fn max<A: Real>(spec: &Pool2dSpec, x: &[A]) -> (Vec<A>, Vec<u32>) {
    let numel = spec.output_shape().iter().product();
    let (mut y, mut places) = (vec![A::zero(); numel], vec![0; numel]);
    windows(spec, |output, image, pixels, _| {
        let mut best = pixels[0];
        for &pixel in pixels {
            let (value, champion) = (x[image + pixel * spec.channels], x[image + best * spec.channels]);
            if value > champion || value.is_nan() {
                best = pixel;
            }
        }
        y[output] = x[image + best * spec.channels];
        places[output] = best as u32;
    });
    (y, places)
}

/// `dy` summed into the places of the maxima.
pub(super) fn max_backward<A: Real>(spec: &Pool2dSpec, dy: &[A], places: &[u32]) -> Vec<A> {
    let mut dx = vec![A::zero(); spec.input_shape().iter().product()];
    windows(spec, |output, image, _, _| dx[image + places[output] as usize * spec.channels] += dy[output]);
    dx
}

/// The average of every window.
pub(super) fn average<A: Real>(spec: &impl Windows, x: &[A]) -> Vec<A> {
    let mut y = vec![A::zero(); spec.output_shape().iter().product()];
    let [.., channels] = spec.input_shape();
    windows(spec, |output, image, pixels, counted| {
        let sum: A = pixels.iter().map(|pixel| x[image + pixel * channels]).sum();
        y[output] = sum / A::from_f64(counted as f64);
    });
    y
}

/// Every pixel's share of the gradients of the windows that it is in.
pub(super) fn average_backward<A: Real>(spec: &impl Windows, dy: &[A]) -> Vec<A> {
    let mut dx = vec![A::zero(); spec.input_shape().iter().product()];
    let [.., channels] = spec.input_shape();
    windows(spec, |output, image, pixels, counted| {
        let share = dy[output] / A::from_f64(counted as f64);
        pixels.iter().for_each(|pixel| dx[image + pixel * channels] += share);
    });
    dx
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Pool2dOptions;

    fn spec(input: [usize; 4], options: Pool2dOptions) -> Pool2dSpec {
        Pool2dSpec::new(input, &options).unwrap()
    }

    #[test]
    fn the_first_of_equal_values_wins() {
        let spec = spec([1, 2, 4, 1], Pool2dOptions::square(2));
        let (y, places) = max(&spec, &[1.0, 2.0, 3.0, 3.0, 2.0, 0.0, 3.0, 3.0]);
        assert_eq!((y, places.clone()), (vec![2.0, 3.0], vec![1, 2]));
        assert_eq!(max_backward(&spec, &[5.0, 7.0], &places), [0.0, 5.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    // x = torch.tensor([[[[1, nan], [nan, inf]]]], requires_grad=True); torch.nn.functional.max_pool2d(x, 2).sum().backward()
    // print(x.grad)
    #[test]
    fn the_last_nan_wins_over_all() {
        let spec = spec([1, 2, 2, 1], Pool2dOptions::square(2));
        let (y, places) = max(&spec, &[1.0, f32::NAN, f32::NAN, f32::INFINITY]);
        assert!(y[0].is_nan());
        assert_eq!(places, [2]);
    }

    #[test]
    fn of_a_window_of_minus_infinity_the_first_wins() {
        let spec = spec([1, 2, 2, 1], Pool2dOptions::square(2));
        let (y, places) = max(&spec, &[f32::NEG_INFINITY; 4]);
        assert_eq!((y, places), (vec![f32::NEG_INFINITY], vec![0]));
    }

    #[test]
    fn an_average_with_and_without_the_padding() {
        let with = Pool2dOptions::square(3).stride(2).padding(1);
        let x: Vec<f64> = (1..=4).map(f64::from).collect();
        assert_eq!(average(&spec([1, 2, 2, 1], with), &x), [10.0 / 9.0]);
        let without = Pool2dOptions { count_include_pad: false, ..with };
        assert_eq!(average(&spec([1, 2, 2, 1], without), &x), [2.5]);
        assert_eq!(average_backward(&spec([1, 2, 2, 1], without), &[4.0]), [1.0; 4]);
    }
}
