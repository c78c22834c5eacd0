//! The family of activations.

/// A function of one number. Every device computes all of them ([`Inference::activate`](super::Inference::activate)); the
/// next one is a variant here and a line in each device.
///
/// The match on it is meant to be exhaustive, so that the compiler names every place that a new one needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// max(x, 0); NaN stays NaN. The one that a normalisation can apply while it is read ([`Norm::relu`](super::Norm)).
    Relu,
    /// x * Phi(x), with the Gaussian distribution function exactly (erf, not tanh).
    Gelu,
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
    /// Its name, as PyTorch spells the layer.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "ReLU",
            Activation::Gelu => "GELU",
        }
    }

    /// What [`Backend::activate_backward`](super::Backend::activate_backward) reads.
    pub fn saved(self) -> Saved {
        match self {
            Activation::Relu => Saved::Output,
            Activation::Gelu => Saved::Input,
        }
    }
}
