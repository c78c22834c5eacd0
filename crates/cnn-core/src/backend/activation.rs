//! The family of activations.

/// A function of one number. Every device computes all of them ([`Inference::activate`](super::Inference::activate)); the
/// next one is a variant here and a line in each device.
///
/// All of them keep a NaN. The match on it is meant to be exhaustive, so that the compiler names every place that a new one
/// needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// max(x, 0). A normalisation applies it itself ([`Rectifier`](super::Rectifier)).
    Relu,
    /// min(max(x, 0), 6). A normalisation applies it itself.
    Relu6,
    /// x where it is above 0, else x times [`LEAKY_SLOPE`](Activation::LEAKY_SLOPE).
    LeakyRelu,
    /// x * Phi(x), with the Gaussian distribution function exactly (erf, not tanh).
    Gelu,
    /// x * sigmoid(x), also called swish.
    Silu,
    /// x * min(max(x + 3, 0), 6) / 6: SiLU of straight lines.
    Hardswish,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// min(max(x + 3, 0), 6) / 6: the sigmoid of straight lines.
    Hardsigmoid,
}

/// What an activation's gradient is computed of, beside the gradient of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Its input.
    Input,
    /// Its output: the input need not be kept.
    Output,
}

impl Activation {
    /// Every one of them.
    pub const ALL: [Activation; 8] = [
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu,
        Activation::Gelu,
        Activation::Silu,
        Activation::Hardswish,
        Activation::Sigmoid,
        Activation::Hardsigmoid,
    ];

    /// What the leaky ReLU multiplies numbers by that are not above 0: PyTorch's default.
    pub const LEAKY_SLOPE: f64 = 0.01;

    /// Its name, as PyTorch spells the layer.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "ReLU",
            Activation::Relu6 => "ReLU6",
            Activation::LeakyRelu => "LeakyReLU",
            Activation::Gelu => "GELU",
            Activation::Silu => "SiLU",
            Activation::Hardswish => "Hardswish",
            Activation::Sigmoid => "Sigmoid",
            Activation::Hardsigmoid => "Hardsigmoid",
        }
    }

    /// What [`Backend::activate_backward`](super::Backend::activate_backward) reads.
    pub fn saved(self) -> Saved {
        match self {
            Activation::Relu
            | Activation::Relu6
            | Activation::LeakyRelu
            | Activation::Sigmoid
            | Activation::Hardsigmoid => Saved::Output,
            Activation::Gelu | Activation::Silu | Activation::Hardswish => Saved::Input,
        }
    }
}
