//! EfficientNet-B0 (M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019): inverted
//! residuals with squeeze and excitation and SiLU. Names are torchvision's (`efficientnet_b0`).

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation;
use cnn_core::nn::{Draw, Dropout, Init, Linear, Module, Scope, Sequential, StochasticDepth, name_fields};
use cnn_core::{Backend, Conv2dOptions, Naive, Result, Var, named_fields};

use crate::conv_unit::ConvUnit;
use crate::squeeze_excitation::SqueezeExcitation;

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
        let blocks: usize = STAGES.iter().map(|[.., blocks]| blocks).sum();
        let (mut entering, mut before) = (STEM, 0);
        for [expand, kernel, stride, leaving, count] in STAGES {
            let mut stage = Sequential::new();
            for block in 0..count {
                let stride = if block == 0 { stride } else { 1 };
                let probability = stochastic_depth * before as f64 / blocks as f64;
                let channels = [entering, expand * entering, leaving];
                stage = stage.push(InvertedResidual::new(init, channels, kernel, stride, probability)?);
                (entering, before) = (leaving, before + 1);
            }
            features = features.push(stage);
        }
        features = features.push(ConvUnit::new(init, [entering, HEAD], Conv2dOptions::square(1), silu)?);
        let classifier = Sequential::new().push(Dropout::new(dropout)).push(Linear::new(init, HEAD, classes)?);
        let mut model = EfficientNet { features, classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

/// How many weights the network has, without making it.
pub(crate) fn parameter_count(channels: usize, classes: usize) -> Option<usize> {
    let (mut entering, mut inner) = (STEM, 2 * STEM);
    for [expand, kernel, _, leaving, blocks] in STAGES {
        for _ in 0..blocks {
            let (middle, squeezed) = (expand * entering, entering / 4);
            let first = if expand == 1 { 0 } else { (entering + 2) * middle };
            let excitation = SqueezeExcitation::<Naive<f32>>::parameter_count(middle, squeezed);
            inner += first + (kernel * kernel + 2) * middle + excitation + (middle + 2) * leaving;
            entering = leaving;
        }
    }
    inner += (entering + 2) * HEAD;
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

/// A 1x1 convolution to more channels (unless there are to be as many), a depthwise one of them, their factors, a 1x1 convolution
/// to fewer; what enters is added where that has the same shape (M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear
/// Bottlenecks", 2018).
#[derive(Debug)]
struct InvertedResidual<B: Backend> {
    block: Sequential<B>,
    residual: bool,
    stochastic_depth: StochasticDepth,
    scope: Scope,
}

named_fields!(InvertedResidual { block });

impl<B: Backend> InvertedResidual<B> {
    fn new(
        init: &mut Init<'_, B>,
        [entering, inner, leaving]: [usize; 3],
        kernel: usize,
        stride: usize,
        stochastic_depth: f64,
    ) -> Result<Self> {
        let (conv1x1, silu) = (Conv2dOptions::square(1), Some(Activation::Silu));
        let depthwise = Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2).groups(inner);
        let mut block = Sequential::new();
        if inner != entering {
            block = block.push(ConvUnit::new(init, [entering, inner], conv1x1, silu)?);
        }
        block = block
            .push(ConvUnit::new(init, [inner; 2], depthwise, silu)?)
            .push(SqueezeExcitation::new(init, inner, entering / 4, [Activation::Silu, Activation::Sigmoid])?)
            .push(ConvUnit::new(init, [inner, leaving], conv1x1, None)?);
        let (residual, stochastic_depth) = (stride == 1 && entering == leaving, StochasticDepth::new(stochastic_depth));
        Ok(InvertedResidual { block, residual, stochastic_depth, scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for InvertedResidual<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let y = self.block.call(x)?;
        if self.residual { self.stochastic_depth.call(&y)?.add(x) } else { Ok(y) }
    }
}
