//! Operations on one element at a time.

use crate::backend::Activation;
use crate::element::{Element, Real};
use crate::rng::{Philox, unit_f32};

/// The activation of one number.
pub(super) fn activate<A: Real>(activation: Activation, x: A) -> A {
    match activation {
        Activation::Relu => relu(x),
        Activation::Gelu => gelu(x),
    }
}

/// `dy` times the derivative, of what the activation [saves](Activation::saved).
pub(super) fn activate_backward<E: Element>(activation: Activation, saved: &[E], dy: &[E]) -> Vec<E> {
    match activation {
        Activation::Relu => relu_backward(saved, dy),
        Activation::Gelu => {
            let one = |(x, dy): (&E, &E)| E::from_accum(gelu_slope(x.to_accum()) * dy.to_accum());
            saved.iter().zip(dy).map(one).collect()
        }
    }
}

/// max(x, 0), and NaN for NaN.
pub(super) fn relu<A: Real>(x: A) -> A {
    if x > A::zero() || x.is_nan() { x } else { A::zero() }
}

/// `dy`, or 0 where `y` is at most 0; a NaN lets it through, as in PyTorch.
fn relu_backward<E: Element>(y: &[E], dy: &[E]) -> Vec<E> {
    y.iter().zip(dy).map(|(y, &dy)| if y.to_accum() <= num_traits::zero() { E::default() } else { dy }).collect()
}

/// The Gaussian distribution function; by erfc, which keeps its digits in the lower tail.
fn phi(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// x * Phi(x).
fn gelu<A: Real>(x: A) -> A {
    let x = x.as_f64();
    A::from_f64(x * phi(x))
}

/// The derivative of [`gelu`].
fn gelu_slope<A: Real>(x: A) -> A {
    let x = x.as_f64();
    let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    A::from_f64(phi(x) + x * density)
}

/// 0 where the mask's number is below `probability`, else `x / (1 - probability)`.
pub(super) fn dropout<A: Real>(x: &[A], probability: f64, mask: &Philox) -> Vec<A> {
    let keep = A::from_f64(1.0 - probability);
    let one = |(i, &x): (usize, &A)| {
        let word = mask.block((i / 4) as u32)[i % 4];
        if unit_f32(word) < probability as f32 { A::zero() } else { x / keep }
    };
    x.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_at_zero_and_of_nan() {
        assert_eq!([-1.0, 0.0, 2.0].map(relu), [0.0, 0.0, 2.0]);
        assert!(relu(f32::NAN).is_nan());
        assert_eq!(relu_backward(&[0.0, -0.0, 1.0, f32::NAN], &[5.0, 6.0, 7.0, 8.0]), [0.0, 0.0, 7.0, 8.0]);
    }

    // x = torch.tensor([-3.0, -0.5, 0.0, 1.0, 2.5], requires_grad=True)   # float64
    // y = torch.nn.functional.gelu(x); y.sum().backward(); print(y, x.grad)
    #[test]
    fn gelu_like_pytorch() {
        let x = [-3.0f64, -0.5, 0.0, 1.0, 2.5];
        let y =
            [-0.004_049_694_094_890_31, -0.154_268_769_362_993_44, 0.0, 0.841_344_746_068_543, 2.484_475_836_685_559_7];
        let slope =
            [-0.011_945_647_204_183_92, 0.132_504_875_343_837_12, 0.5, 1.083_315_470_587_686_4, 1.037_611_085_908_145];
        for i in 0..x.len() {
            assert!((gelu(x[i]) - y[i]).abs() < 1e-15 * y[i].abs().max(1.0), "gelu({}) = {}", x[i], gelu(x[i]));
            assert!((gelu_slope(x[i]) - slope[i]).abs() < 1e-15, "gelu'({}) = {}", x[i], gelu_slope(x[i]));
        }
    }
}
