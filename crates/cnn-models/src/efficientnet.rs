//! EfficientNet-B0 (M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019): inverted
//! residuals with squeeze and excitation and SiLU. Names are torchvision's (`efficientnet_b0`).

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation;
use cnn_core::nn::{Draw, Dropout, Init, Linear, Module, Scope, Sequential, name_fields};
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};

use crate::conv_unit::ConvUnit;
use crate::inverted_residual::{InvertedResidual, InvertedResidualConfig};

const STEM: usize = 32;
/// Channels of a block's inside for each that enters, kernel, stride of the first block, channels that leave, blocks.
const STAGES: [[usize; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];
/// Channels that leave the blocks.
const LAST: usize = STAGES[6][3];
const HEAD: usize = 1280;

/// EfficientNet-B0. State dict as torchvision's: `features`, `classifier.1`. Weights begin as torchvision's: of convolutions normal with
/// deviation sqrt(2 / fan_out), of the dense layer uniform up to 1 / sqrt(classes) on both sides of 0, biases 0.
pub struct EfficientNet<B: Backend> {
    features: Sequential<B>,
    classifier: Sequential<B>,
    scope: Scope,
}

named_fields!(EfficientNet { features, classifier });

impl<B: Backend> EfficientNet<B> {
    /// Part of the features in front of the last layer that training leaves out.
    pub const DROPOUT: f64 = 0.2;
    /// How likely training would leave out a block behind the last one for an image; those that there are are less likely, evenly
    /// down to the first, which never is.
    pub const STOCHASTIC_DEPTH: f64 = 0.2;

    /// The network for images of these channels, which trains with this [dropout](Self::DROPOUT) and
    /// [stochastic depth](Self::STOCHASTIC_DEPTH).
    ///
    /// # Errors
    /// No channels or classes, and those of the device.
    pub fn new(
        backend: &B,
        seed: u64,
        channels: usize,
        classes: usize,
        dropout: f64,
        stochastic_depth: f64,
    ) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.dense, init.zero_biases) = (Draw::HeNormalFanOut, Draw::UniformFanOut, true);
        let silu = Some(Activation::Silu);
        let stem = Conv2dOptions::square(3).stride(2).padding(1);
        let mut features = Sequential::new().push(ConvUnit::new(init, [channels, STEM], stem, silu)?);
        for blocks in stages(stochastic_depth) {
            let mut stage = Sequential::new();
            for block in blocks {
                stage = stage.push(InvertedResidual::new(init, &block, ConvUnit::new)?);
            }
            features = features.push(stage);
        }
        features = features.push(ConvUnit::new(init, [LAST, HEAD], Conv2dOptions::square(1), silu)?);
        let classifier = Sequential::new().push(Dropout::new(dropout)).push(Linear::new(init, HEAD, classes)?);
        let mut model = EfficientNet { features, classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

/// The blocks of each stage, of a network that trains with this stochastic depth.
fn stages(stochastic_depth: f64) -> impl Iterator<Item = Vec<InvertedResidualConfig>> {
    let all: usize = STAGES.iter().map(|[.., count]| count).sum();
    let (mut entering, mut before) = (STEM, 0);
    STAGES.into_iter().map(move |[expand, kernel, stride, leaving, count]| {
        let block = |i: usize| {
            let config = InvertedResidualConfig {
                channels: [entering, expand * entering, leaving],
                kernel,
                stride: if i == 0 { stride } else { 1 },
                activation: Activation::Silu,
                squeeze: Some((entering / 4, [Activation::Silu, Activation::Sigmoid])),
                stochastic_depth: stochastic_depth * before as f64 / all as f64,
            };
            (entering, before) = (leaving, before + 1);
            config
        };
        (0..count).map(block).collect()
    })
}

/// How many weights the network has, without making it.
pub(crate) fn parameter_count(channels: usize, classes: usize) -> Option<usize> {
    let blocks: usize = stages(0.0).flatten().map(|block| block.parameter_count()).sum();
    let inner = 2 * STEM + blocks + (LAST + 2) * HEAD;
    channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(HEAD + 1)?)
}

impl<B: Backend> Debug for EfficientNet<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EfficientNet").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for EfficientNet<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.features.call(x)?;
        self.classifier.call(&x.global_avg_pool2d()?.flatten()?)
    }
}
