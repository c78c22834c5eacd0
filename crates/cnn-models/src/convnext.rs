//! ConvNeXt-Tiny (Z. Liu et al., "A ConvNet for the 2020s", 2022): blocks of a large depthwise convolution, a layer normalisation
//! and two dense layers over the channels of each pixel. Names are torchvision's (`convnext_tiny`).

use std::fmt::{Debug, Formatter};

use cnn_core::nn::{
    Conv2d, Draw, Flatten, Gelu, Init, LayerNorm, LayerScale, Linear, Module, Scope, Sequential, StochasticDepth,
    name_fields,
};
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};

/// Channels and blocks of each stage.
const STAGES: [[usize; 2]; 4] = [[96, 3], [192, 3], [384, 9], [768, 3]];
const DRAW: Draw = Draw::Normal(0.02);
const EPS: f64 = 1e-6;
/// What a block's scale begins as.
const LAYER_SCALE: f64 = 1e-6;

/// ConvNeXt-Tiny, for images of at least 32x32. State dict as torchvision's: `features`, `classifier`. Weights begin as
/// torchvision's: normal with deviation 0.02, biases 0.
pub struct ConvNeXt<B: Backend> {
    features: Sequential<B>,
    classifier: Sequential<B>,
    scope: Scope,
}

named_fields!(ConvNeXt { features, classifier });

impl<B: Backend> ConvNeXt<B> {
    /// How likely training leaves out the last block for an image; the ones before it are less likely, evenly down to the first,
    /// which never is.
    pub const STOCHASTIC_DEPTH: f64 = 0.1;

    /// The network for images of these channels, which trains with this [stochastic depth](Self::STOCHASTIC_DEPTH).
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(backend: &B, seed: u64, channels: usize, classes: usize, stochastic_depth: f64) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.dense, init.zero_biases) = (DRAW, DRAW, true);
        let [first, last] = [STAGES[0], STAGES[3]].map(|[channels, _]| channels);
        let blocks: usize = STAGES.iter().map(|[_, blocks]| blocks).sum();
        let stem = Sequential::new()
            .push(Conv2d::new(init, channels, first, Conv2dOptions::square(4).stride(4))?)
            .push(LayerNorm::new(init, first, EPS)?);
        let (mut features, mut entering, mut before) = (Sequential::new().push(stem), first, 0);
        for [channels, count] in STAGES {
            if channels != entering {
                let smaller = Sequential::new().push(LayerNorm::new(init, entering, EPS)?).push(Conv2d::new(
                    init,
                    entering,
                    channels,
                    Conv2dOptions::square(2).stride(2),
                )?);
                features = features.push(smaller);
            }
            let mut stage = Sequential::new();
            for _ in 0..count {
                let left_out = stochastic_depth * before as f64 / (blocks - 1) as f64;
                stage = stage.push(Block::new(init, channels, left_out)?);
                before += 1;
            }
            (features, entering) = (features.push(stage), channels);
        }
        let classifier = Sequential::new()
            .push(LayerNorm::new(init, last, EPS)?)
            .push(Flatten::default())
            .push(Linear::new(init, last, classes)?);
        let mut model = ConvNeXt { features, classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

/// How many weights the network has, without making it.
pub(crate) fn parameter_count(channels: usize, classes: usize) -> Option<usize> {
    let [first, last] = [STAGES[0], STAGES[3]].map(|[channels, _]| channels);
    let (mut inner, mut entering) = (3 * first + 2 * last, first);
    for [channels, blocks] in STAGES {
        if channels != entering {
            inner += 2 * entering + (4 * entering + 1) * channels;
        }
        // Depthwise, normalisation, two dense layers, scale.
        inner += blocks * channels * (50 + 2 + (4 * channels + 4) + (4 * channels + 1) + 1);
        entering = channels;
    }
    channels.checked_mul(16 * first)?.checked_add(inner)?.checked_add(classes.checked_mul(last + 1)?)
}

impl<B: Backend> Debug for ConvNeXt<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConvNeXt").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for ConvNeXt<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.features.call(x)?;
        self.classifier.call(&x.global_avg_pool2d()?)
    }
}

/// A depthwise convolution of 7x7, a normalisation, a dense layer to four times the channels and one back, scaled; added to what
/// enters.
#[derive(Debug)]
struct Block<B: Backend> {
    layer_scale: LayerScale<B>,
    block: Sequential<B>,
    stochastic_depth: StochasticDepth,
    scope: Scope,
}

named_fields!(Block { layer_scale, block });

impl<B: Backend> Block<B> {
    fn new(init: &mut Init<'_, B>, channels: usize, left_out: f64) -> Result<Self> {
        let block = Sequential::new()
            .push(Conv2d::new(init, channels, channels, Conv2dOptions::square(7).padding(3).groups(channels))?)
            .push(Sequential::new()) // where torchvision moves the channels last
            .push(LayerNorm::new(init, channels, EPS)?)
            .push(Linear::new(init, channels, 4 * channels)?)
            .push(Gelu::default())
            .push(Linear::new(init, 4 * channels, channels)?);
        let (layer_scale, stochastic_depth) =
            (LayerScale::new(init, channels, LAYER_SCALE)?, StochasticDepth::new(left_out));
        Ok(Block { layer_scale, block, stochastic_depth, scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for Block<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let branch = self.layer_scale.call(&self.block.call(x)?)?;
        self.stochastic_depth.call(&branch)?.add(x)
    }
}
