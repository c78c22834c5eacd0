//! What crosses the boundary around a normalisation: coefficients, statistics, and the gradient that is not written.

use super::device::{Data, Device, Wide};

/// `x * scale + shift` per channel, then max(., 0) if `relu`: batch normalisation with its coefficients folded.
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
    /// Whether a ReLU follows: the one activation that costs nothing where it is computed again by every reader.
    pub relu: bool,
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
/// `mask` is given and `x * mask.scale + mask.shift <= 0`.
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
    /// Scale and shift of the normalisation whose sign is the ReLU's mask.
    pub mask: Option<(Wide<B>, Wide<B>)>,
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

impl<B: Device> Clone for Norm<B> {
    fn clone(&self) -> Self {
        Norm { x: self.x.clone(), scale: self.scale.clone(), shift: self.shift.clone(), ..*self }
    }
}
