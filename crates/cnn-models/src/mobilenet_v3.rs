//! MobileNetV3 (A. Howard et al., "Searching for MobileNetV3", 2019), with torchvision's names.

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation::{self, Hardsigmoid, Hardswish, Relu};
use cnn_core::nn::{Draw, Dropout, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};

use crate::conv_unit::ConvUnit;
use crate::inverted_residual::{InvertedResidual, InvertedResidualConfig};

/// A row of the paper's tables: kernel, channels inside and leaving, whether it squeezes and excites, activation, stride.
type Row = (usize, usize, usize, bool, Activation, usize);

/// The shape of a MobileNetV3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobileNetV3Config {
    blocks: &'static [Row],
    /// Outputs of the dense layer before the last.
    dense: usize,
}

impl MobileNetV3Config {
    /// The paper's second table.
    pub const SMALL: Self = MobileNetV3Config {
        blocks: &[
            (3, 16, 16, true, Relu, 2),
            (3, 72, 24, false, Relu, 2),
            (3, 88, 24, false, Relu, 1),
            (5, 96, 40, true, Hardswish, 2),
            (5, 240, 40, true, Hardswish, 1),
            (5, 240, 40, true, Hardswish, 1),
            (5, 120, 48, true, Hardswish, 1),
            (5, 144, 48, true, Hardswish, 1),
            (5, 288, 96, true, Hardswish, 2),
            (5, 576, 96, true, Hardswish, 1),
            (5, 576, 96, true, Hardswish, 1),
        ],
        dense: 1024,
    };

    /// The paper's first table.
    pub const LARGE: Self = MobileNetV3Config {
        blocks: &[
            (3, 16, 16, false, Relu, 1),
            (3, 64, 24, false, Relu, 2),
            (3, 72, 24, false, Relu, 1),
            (5, 72, 40, true, Relu, 2),
            (5, 120, 40, true, Relu, 1),
            (5, 120, 40, true, Relu, 1),
            (3, 240, 80, false, Hardswish, 2),
            (3, 200, 80, false, Hardswish, 1),
            (3, 184, 80, false, Hardswish, 1),
            (3, 184, 80, false, Hardswish, 1),
            (3, 480, 112, true, Hardswish, 1),
            (3, 672, 112, true, Hardswish, 1),
            (5, 672, 160, true, Hardswish, 2),
            (5, 960, 160, true, Hardswish, 1),
            (5, 960, 160, true, Hardswish, 1),
        ],
        dense: 1280,
    };

    /// The blocks, in their order.
    fn blocks(&self) -> impl Iterator<Item = InvertedResidualConfig> {
        let entering = [STEM].into_iter().chain(self.blocks.iter().map(|&(_, _, leaving, ..)| leaving));
        let block = |(entering, &(kernel, inner, leaving, squeezes, activation, stride)): (usize, &Row)| {
            let squeeze = squeezes.then_some((squeezed(inner), [Relu, Hardsigmoid]));
            let channels = [entering, inner, leaving];
            InvertedResidualConfig { channels, kernel, stride, activation, squeeze, stochastic_depth: 0.0 }
        };
        entering.zip(self.blocks).map(block)
    }

    /// Channels that leave the blocks.
    fn leaving(&self) -> usize {
        self.blocks.last().map_or(STEM, |&(_, _, leaving, ..)| leaving)
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, channels: usize, classes: usize) -> Option<usize> {
        let (leaving, last) = (self.leaving(), 6 * self.leaving());
        let blocks: usize = self.blocks().map(|block| block.parameter_count()).sum();
        let inner = 2 * STEM + blocks + (leaving + 2) * last + (last + 1) * self.dense;
        channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(self.dense + 1)?)
    }
}

const STEM: usize = 16;

/// A quarter of the channels, to a multiple of 8 that is not below nine tenths of it.
const fn squeezed(channels: usize) -> usize {
    let quarter = channels / 4;
    let near = (quarter + 4) / 8 * 8;
    let near = if near < 8 { 8 } else { near };
    if 10 * near < 9 * quarter { near + 8 } else { near }
}

/// MobileNetV3. State dict as torchvision's: `features`, `classifier.0`, `classifier.3`. Weights begin as torchvision's: of
/// convolutions normal with deviation sqrt(2 / fan_out), of dense layers with deviation 0.01, biases 0.
pub struct MobileNetV3<B: Backend> {
    features: Vec<crate::Model<B>>,
    classifier: Classifier<B>,
    scope: Scope,
}

named_fields!(MobileNetV3 { features, classifier });

impl<B: Backend> MobileNetV3<B> {
    /// Part of the features in front of the last layer that training leaves out.
    pub const DROPOUT: f64 = 0.2;

    /// The network for images of these channels, which trains with this [dropout](Self::DROPOUT).
    ///
    /// # Errors
    /// No channels or classes, and those of the device.
    pub fn new(
        backend: &B,
        seed: u64,
        config: &MobileNetV3Config,
        channels: usize,
        classes: usize,
        dropout: f64,
    ) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.dense, init.zero_biases) = (Draw::HeNormalFanOut, Draw::Normal(0.01), true);
        let mut features: Vec<crate::Model<B>> = Vec::new();
        let stem = Conv2dOptions::square(3).stride(2).padding(1);
        features.push(Box::new(unit(init, [channels, STEM], stem, Some(Hardswish))?));
        for block in config.blocks() {
            features.push(Box::new(InvertedResidual::new(init, &block, unit)?));
        }
        let (leaving, last) = (config.leaving(), 6 * config.leaving());
        features.push(Box::new(unit(init, [leaving, last], Conv2dOptions::square(1), Some(Hardswish))?));
        let classifier = Classifier {
            dense: Linear::new(init, last, config.dense)?,
            dropout: Dropout::new(dropout),
            last: Linear::new(init, config.dense, classes)?,
            scope: Scope::default(),
        };
        let mut model = MobileNetV3 { features, classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Debug for MobileNetV3<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MobileNetV3").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for MobileNetV3<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let mut x = x.clone();
        for feature in &mut self.features {
            x = feature.call(&x)?;
        }
        self.classifier.call(&x.global_avg_pool2d()?.flatten()?)
    }
}

/// Two dense layers; their names are their places among what has no weights.
#[derive(Debug)]
struct Classifier<B: Backend> {
    dense: Linear<B>,
    dropout: Dropout,
    last: Linear<B>,
    scope: Scope,
}

named_fields!(Classifier { dense as "0", last as "3" });

impl<B: Backend> Module<B> for Classifier<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.dense.call(x)?.activate(Hardswish)?;
        self.last.call(&self.dropout.call(&x)?)
    }
}

/// A convolution whose normalisation has this network's constants.
fn unit<B: Backend>(
    init: &mut Init<'_, B>,
    channels: [usize; 2],
    options: Conv2dOptions,
    activation: Option<Activation>,
) -> Result<ConvUnit<B>> {
    let mut unit = ConvUnit::new(init, channels, options, activation)?;
    (unit.norm.eps, unit.norm.momentum) = (1e-3, 0.01);
    Ok(unit)
}
