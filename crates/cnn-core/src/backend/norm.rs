//! What crosses the boundary around a normalisation: coefficients, statistics, and the gradient that is not written.

use super::activation::Activation;
use super::device::{Data, Device, Wide};
use crate::Real;

/// The activations that a normalisation has itself, as they cost nothing where every reader computes them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rectifier {
    /// None.
    #[default]
    Open,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Rectifier {
    /// Every one of them.
    pub const ALL: [Rectifier; 3] = [Rectifier::Open, Rectifier::Relu, Rectifier::Relu6];

    /// What of `activation` a normalisation applies itself, and what is an operation of its own behind it.
    pub fn split(activation: Option<Activation>) -> (Rectifier, Option<Activation>) {
        match Rectifier::ALL.into_iter().find(|rectifier| rectifier.activation() == activation) {
            Some(rectifier) => (rectifier, None),
            None => (Rectifier::Open, activation),
        }
    }

    /// The activation that it is.
    pub fn activation(self) -> Option<Activation> {
        match self {
            Rectifier::Open => None,
            Rectifier::Relu => Some(Activation::Relu),
            Rectifier::Relu6 => Some(Activation::Relu6),
        }
    }

    /// What is below the first number becomes that, what is above the second becomes that; a NaN stays one.
    pub fn bounds<R: Real>(self) -> [R; 2] {
        match self {
            Rectifier::Open => [R::neg_infinity(), R::infinity()],
            Rectifier::Relu => [R::zero(), R::infinity()],
            Rectifier::Relu6 => [R::zero(), R::from_f64(6.0)],
        }
    }

    /// The least and the greatest number at which it lets a gradient through, as it does at a NaN.
    pub fn passes<R: Real>(self) -> [R; 2] {
        let above_0 = R::min_positive_value() * R::epsilon();
        match self {
            Rectifier::Open => [R::neg_infinity(), R::infinity()],
            Rectifier::Relu => [above_0, R::infinity()],
            // Numbers from 4 to 8 are four epsilons apart.
            Rectifier::Relu6 => [above_0, R::from_f64(6.0) - R::from_f64(4.0) * R::epsilon()],
        }
    }
}

/// `x * scale + shift` per channel, then the rectifier: batch normalisation with its coefficients folded.
#[derive(Debug)]
pub struct Norm<B: Device> {
    /// The activation before the normalisation, \[rows, channels\].
    pub x: Data<B>,
    /// `gamma / sqrt(var + eps)`.
    pub scale: Wide<B>,
    /// `beta - mean * scale`.
    pub shift: Wide<B>,
    /// How many channels there are.
    pub channels: usize,
    /// The activation that follows.
    pub rectifier: Rectifier,
}

impl<B: Device> Norm<B> {
    /// Where its rectifier lets a gradient through; None for everywhere.
    pub fn mask(&self) -> Option<NormMask<B>> {
        let Norm { scale, shift, rectifier, .. } = self;
        (*rectifier != Rectifier::Open).then(|| NormMask {
            scale: scale.clone(),
            shift: shift.clone(),
            rectifier: *rectifier,
        })
    }
}

/// Where the rectifier of a normalisation lets a gradient through: its value there is computed again.
#[derive(Debug)]
pub struct NormMask<B: Device> {
    /// Of the normalisation.
    pub scale: Wide<B>,
    /// Of the normalisation.
    pub shift: Wide<B>,
    /// The activation behind it.
    pub rectifier: Rectifier,
}

/// A gradient that an operation reads.
#[derive(Debug)]
pub enum Gradient<B: Device> {
    /// Written to memory.
    Plain(Data<B>),
    /// Through a normalisation, computed while it is read.
    Norm(NormGradient<B>),
}

/// The gradient of a normalisation's input: `dy_scale * dy + x_scale * x + shift` per channel, `dy` counting as 0 where
/// `mask` is given and its rectifier lets nothing through at `x * mask.scale + mask.shift`.
#[derive(Clone, Debug)]
pub struct NormGradient<B: Device> {
    /// The gradient of the normalised activation.
    pub dy: Data<B>,
    /// The activation before the normalisation.
    pub x: Data<B>,
    /// Factor of `dy` per channel.
    pub dy_scale: Wide<B>,
    /// Factor of `x` per channel.
    pub x_scale: Wide<B>,
    /// Added per channel.
    pub shift: Wide<B>,
    /// Where `dy` counts; None for everywhere.
    pub mask: Option<NormMask<B>>,
    /// How many channels there are.
    pub channels: usize,
}

/// What [`Backend::batch_norm_backward`](super::Backend::batch_norm_backward) returns.
#[derive(Debug)]
pub struct NormBackward<B: Device> {
    /// The gradient of the normalisation's input, not yet written.
    pub dx: NormGradient<B>,
    /// The gradient of gamma \[channels\].
    pub dgamma: Wide<B>,
    /// The gradient of beta \[channels\].
    pub dbeta: Wide<B>,
}

/// What [`Backend::layer_norm_backward`](super::Backend::layer_norm_backward) returns.
#[derive(Debug)]
pub struct LayerNormBackward<B: Device> {
    /// The gradient of the normalisation's input.
    pub dx: Data<B>,
    /// The gradient of gamma \[channels\].
    pub dgamma: Wide<B>,
    /// The gradient of beta \[channels\].
    pub dbeta: Wide<B>,
}

/// Mean and biased variance per channel: the [moments](super::Backend::Moments) of a device that has them at once.
#[derive(Debug)]
pub struct Moments<B: Device> {
    /// Mean \[channels\].
    pub mean: Wide<B>,
    /// Mean squared deviation \[channels\].
    pub variance: Wide<B>,
}

/// The statistics that a normalisation used and the coefficients they fold to, each \[channels\].
#[derive(Debug)]
pub struct NormStats<B: Device> {
    /// Mean.
    pub mean: Wide<B>,
    /// `1 / sqrt(var + eps)`.
    pub inv_std: Wide<B>,
    /// `gamma * inv_std`.
    pub scale: Wide<B>,
    /// `beta - mean * scale`.
    pub shift: Wide<B>,
}

/// The learned scale and shift of a normalisation.
#[derive(Debug)]
pub struct Affine<'a, B: Device> {
    /// Scale \[channels\].
    pub gamma: &'a Wide<B>,
    /// Shift \[channels\].
    pub beta: &'a Wide<B>,
}

/// The running statistics of a normalisation.
#[derive(Debug)]
pub struct Running<'a, B: Device> {
    /// Mean \[channels\].
    pub mean: &'a mut Wide<B>,
    /// Unbiased variance \[channels\].
    pub variance: &'a mut Wide<B>,
    /// Weight of the batch in the update.
    pub momentum: f64,
}

impl<B: Device> Clone for NormMask<B> {
    fn clone(&self) -> Self {
        NormMask { scale: self.scale.clone(), shift: self.shift.clone(), rectifier: self.rectifier }
    }
}

impl<B: Device> Clone for Norm<B> {
    fn clone(&self) -> Self {
        Norm { x: self.x.clone(), scale: self.scale.clone(), shift: self.shift.clone(), ..*self }
    }
}
