//! Operations on one element at a time.

use crate::backend::Activation;
use crate::element::{Element, Real};
use crate::rng::{Philox, unit_f32};
use crate::spec::DropoutSpec;

/// The activation of one number.
pub(super) fn activate<A: Real>(activation: Activation, x: A) -> A {
    match activation {
        Activation::Relu => relu(x),
        Activation::Relu6 => clamp(x, 6.0),
        Activation::LeakyRelu => leaky(x, x),
        Activation::Gelu => gelu(x),
        Activation::Silu => {
            let x = x.as_f64();
            A::from_f64(x / (1.0 + (-x).exp()))
        }
        Activation::Hardswish => x * clamp(x + A::from_f64(3.0), 6.0) / A::from_f64(6.0),
        Activation::Sigmoid => A::from_f64(sigmoid(x.as_f64())),
        Activation::Hardsigmoid => clamp(x + A::from_f64(3.0), 6.0) / A::from_f64(6.0),
    }
}

/// `dy` times the derivative, of what the activation [saves](Activation::saved).
pub(super) fn activate_backward<E: Element>(activation: Activation, saved: &[E], dy: &[E]) -> Vec<E> {
    let one = |(&saved, &dy): (&E, &E)| E::from_accum(back(activation, saved.to_accum(), dy.to_accum()));
    saved.iter().zip(dy).map(one).collect()
}

/// [`activate_backward`] of one number.
pub(super) fn back<A: Real>(activation: Activation, saved: A, dy: A) -> A {
    let number = A::from_f64;
    match activation {
        // A NaN lets it through, as in PyTorch.
        Activation::Relu => {
            if saved <= number(0.0) {
                number(0.0)
            } else {
                dy
            }
        }
        Activation::Relu6 => {
            if saved <= number(0.0) || saved >= number(6.0) {
                number(0.0)
            } else {
                dy
            }
        }
        Activation::LeakyRelu => leaky(saved, dy),
        Activation::Gelu => gelu_slope(saved) * dy,
        Activation::Silu => {
            let (x, s) = (saved.as_f64(), sigmoid(saved.as_f64()));
            A::from_f64(s * (1.0 + x * (1.0 - s))) * dy
        }
        Activation::Hardswish if saved <= number(-3.0) => number(0.0),
        Activation::Hardswish if saved >= number(3.0) => dy,
        Activation::Hardswish => dy * (saved / number(3.0) + number(0.5)),
        Activation::Sigmoid => dy * saved * (number(1.0) - saved),
        Activation::Hardsigmoid => {
            if saved > number(0.0) && saved < number(1.0) {
                dy / number(6.0)
            } else {
                number(0.0)
            }
        }
    }
}

/// max(x, 0), and NaN for NaN.
fn relu<A: Real>(x: A) -> A {
    if x > A::zero() || x.is_nan() { x } else { A::zero() }
}

/// min(max(x, 0), most), and NaN for NaN.
fn clamp<A: Real>(x: A, most: f64) -> A {
    let (x, most) = (relu(x), A::from_f64(most));
    if x > most { most } else { x }
}

/// `value` where `of` is above 0, else a hundredth of it.
fn leaky<A: Real>(of: A, value: A) -> A {
    if of > A::zero() { value } else { value * A::from_f64(Activation::LEAKY_SLOPE) }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
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

/// 0 where the mask's number is below the probability, else `x / (1 - probability)`.
pub(super) fn dropout<A: Real>(x: &[A], spec: &DropoutSpec, mask: &Philox) -> Vec<A> {
    let keep = A::from_f64(1.0 - spec.probability);
    let one = |(i, &x): (usize, &A)| {
        let draw = i / spec.shared_by;
        let word = mask.block((draw / 4) as u32)[draw % 4];
        if unit_f32(word) < spec.probability as f32 { A::zero() } else { x / keep }
    };
    x.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Saved;

    const ZERO_AND_NAN: [f32; 4] = [0.0, -0.0, 1.0, f32::NAN];

    #[test]
    fn relu_at_zero_and_of_nan() {
        assert_eq!([-1.0, 0.0, 2.0].map(relu), [0.0, 0.0, 2.0]);
        assert_eq!(activate_backward(Activation::Relu, &ZERO_AND_NAN, &[5.0, 6.0, 7.0, 8.0]), [0.0, 0.0, 7.0, 8.0]);
    }

    #[test]
    fn a_nan_stays_one() {
        for activation in Activation::ALL {
            assert!(activate(activation, f32::NAN).is_nan(), "{activation:?}");
        }
    }

    /// The ends of every straight line are among them.
    const PLACES: [f64; 8] = [-4.0, -3.0, -0.5, 0.0, 1.25, 3.0, 6.0, 7.5];

    // What PyTorch 2.15 computes in f64 at these places: y and its slope.
    //
    // import torch
    // from torch.nn.functional import gelu, hardsigmoid, hardswish, leaky_relu, relu, relu6, sigmoid, silu
    // for f in (relu, relu6, leaky_relu, gelu, silu, hardswish, sigmoid, hardsigmoid):
    //     x = torch.tensor([-4, -3, -0.5, 0, 1.25, 3, 6, 7.5], dtype=torch.float64, requires_grad=True)
    //     y = f(x); y.sum().backward(); print(f.__name__, y.tolist(), x.grad.tolist())
    // The slope of its hardsigmoid is a sixth as f32 has it, in f64 too: 0.1666666716337204. Here it is a sixth.
    #[rustfmt::skip]
    const PYTORCH: [(Activation, [f64; 8], [f64; 8]); 8] = [
        (Activation::Relu,
            [0.0, 0.0, 0.0, 0.0, 1.25, 3.0, 6.0, 7.5],
            [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
        (Activation::Relu6,
            [0.0, 0.0, 0.0, 0.0, 1.25, 3.0, 6.0, 6.0],
            [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
        (Activation::LeakyRelu,
            [-0.04, -0.03, -0.005, 0.0, 1.25, 3.0, 6.0, 7.5],
            [0.01, 0.01, 0.01, 0.01, 1.0, 1.0, 1.0, 1.0]),
        (Activation::Gelu,
            [-0.000_126_684_967_332_479_91, -0.004_049_694_094_890_31, -0.154_268_769_362_993_44, 0.0, 1.117_937_782_916_431, 2.995_950_305_905_11, 5.999_999_994_080_474, 7.499_999_999_999_76],
            [-0.000_503_649_661_226_421_5, -0.011_945_647_204_183_92, 0.132_504_875_343_837_12, 0.5, 1.122_661_583_069_422_2, 1.011_945_647_204_184, 1.000_000_035_468_709_3, 1.000_000_000_001_793_7]),
        (Activation::Silu,
            [-0.071_944_839_848_366_23, -0.142_277_619_532_700_35, -0.188_770_334_399_072_7, 0.0, 0.971_624_826_468_363_9, 2.857_722_380_467_299_8, 5.985_164_261_060_192, 7.495_854_160_223_073_5],
            [-0.052_664_614_891_072_91, -0.088_104_106_015_169_62, 0.260_038_812_697_348_2, 0.5, 0.993_680_844_915_312_4, 1.088_104_106_015_169_3, 1.012_326_432_591_524_9, 1.003_590_769_408_342_6]),
        (Activation::Hardswish,
            [0.0, 0.0, -0.208_333_333_333_333_34, 0.0, 0.885_416_666_666_666_6, 3.0, 6.0, 7.5],
            [0.0, 0.0, 0.333_333_333_333_333_37, 0.5, 0.916_666_666_666_666_7, 1.0, 1.0, 1.0]),
        (Activation::Sigmoid,
            [0.017_986_209_962_091_56, 0.047_425_873_177_566_78, 0.377_540_668_798_145_4, 0.5, 0.777_299_861_174_691_1, 0.952_574_126_822_433_4, 0.997_527_376_843_365_3, 0.999_447_221_363_076_4],
            [0.017_662_706_213_291_118, 0.045_176_659_730_912_14, 0.235_003_712_201_594_5, 0.25, 0.173_104_786_992_497_07, 0.045_176_659_730_912, 0.002_466_509_291_359_931, 0.000_552_473_072_702_161_8]),
        (Activation::Hardsigmoid,
            [0.0, 0.0, 0.416_666_666_666_666_7, 0.5, 0.708_333_333_333_333_4, 1.0, 1.0, 1.0],
            [0.0, 0.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 0.0, 0.0, 0.0]),
    ];

    #[test]
    fn like_pytorch() {
        for (activation, y, slope) in PYTORCH {
            let found = PLACES.map(|x| activate(activation, x));
            let saved = if activation.saved() == Saved::Input { PLACES } else { found };
            let slopes = activate_backward(activation, &saved, &[1.0; 8]);
            for i in 0..8 {
                let (x, bound) = (PLACES[i], 1e-15);
                assert!((found[i] - y[i]).abs() < bound * y[i].abs().max(1.0), "{activation:?} of {x}: {}", found[i]);
                assert!((slopes[i] - slope[i]).abs() < bound, "slope of {activation:?} at {x}: {}", slopes[i]);
            }
        }
        assert_eq!(PYTORCH.map(|(activation, ..)| activation), Activation::ALL);
    }
}
