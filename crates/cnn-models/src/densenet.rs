//! DenseNet (G. Huang et al., "Densely Connected Convolutional Networks", 2017), with torchvision's names.

use std::fmt::{Debug, Formatter};

use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Draw, Init, Linear, Module, Scope, Sequential, name_fields};
use cnn_core::{Backend, Conv2dOptions, Error, Pool2dOptions, Result, Var, named_fields};

/// The shape of a DenseNet: the paper's DenseNet-BC with growth 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseNetConfig {
    /// Layers in each of the four blocks.
    pub layers: [usize; 4],
}

impl DenseNetConfig {
    /// 121 layers.
    pub const DENSENET121: Self = DenseNetConfig { layers: [6, 12, 24, 16] };

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, channels: usize, classes: usize) -> Option<usize> {
        let (mut features, mut inner) = (STEM, 2 * STEM);
        for (block, layers) in self.layers.into_iter().enumerate() {
            for _ in 0..layers {
                inner += 2 * features + (features + 2 + 9 * GROWTH) * BOTTLENECK;
                features += GROWTH;
            }
            if block < 3 {
                inner += (2 + features / 2) * features;
                features /= 2;
            }
        }
        inner += 2 * features;
        channels.checked_mul(49 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(features + 1)?)
    }
}

const STEM: usize = 64;
/// Channels that a layer adds.
const GROWTH: usize = 32;
/// Channels inside a layer.
const BOTTLENECK: usize = 4 * GROWTH;

/// DenseNet. State dict as torchvision's: `features`, `classifier`. Weights begin as torchvision's: of convolutions normal with deviation
/// sqrt(2 / fan_in), of the dense layer uniform up to 1 / sqrt(fan_in), biases 0.
pub struct DenseNet<B: Backend> {
    features: Features<B>,
    classifier: Linear<B>,
    scope: Scope,
}

named_fields!(DenseNet { features, classifier });

impl<B: Backend> DenseNet<B> {
    /// The least side of an image.
    const LEAST: usize = 29;

    /// The network for images \[height, width, channels\].
    ///
    /// # Errors
    /// An image of fewer than 29 rows or columns, of which a convolution and four poolings would leave nothing.
    pub fn new(backend: &B, seed: u64, config: &DenseNetConfig, [h, w, c]: [usize; 3], classes: usize) -> Result<Self> {
        if h < Self::LEAST || w < Self::LEAST {
            let rule = "must be at least 29x29 for a convolution of stride 2 and four poolings";
            return Err(Error::invalid("image", format!("{h}x{w}"), rule));
        }
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.zero_biases) = (Draw::HeNormal, true);
        let conv0 = Conv2d::without_bias(init, c, STEM, Conv2dOptions::square(7).stride(2).padding(3))?;
        let norm0 = BatchNorm2d::new(init, STEM)?;
        let [one, two, three, four] = config.layers;
        let (denseblock1, entering) = dense_block(init, STEM, one)?;
        let (transition1, entering) = Transition::new(init, entering)?;
        let (denseblock2, entering) = dense_block(init, entering, two)?;
        let (transition2, entering) = Transition::new(init, entering)?;
        let (denseblock3, entering) = dense_block(init, entering, three)?;
        let (transition3, entering) = Transition::new(init, entering)?;
        let (denseblock4, leaving) = dense_block(init, entering, four)?;
        let features = Features {
            conv0,
            norm0,
            denseblock1,
            transition1,
            denseblock2,
            transition2,
            denseblock3,
            transition3,
            denseblock4,
            norm5: BatchNorm2d::new(init, leaving)?,
            scope: Scope::default(),
        };
        let mut model =
            DenseNet { features, classifier: Linear::new(init, leaving, classes)?, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Debug for DenseNet<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DenseNet").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for DenseNet<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.classifier.call(&self.features.call(x)?.global_avg_pool2d()?.flatten()?)
    }
}

/// All but the last layer: a stem, four blocks, and between them transitions that halve channels and image.
#[derive(Debug)]
struct Features<B: Backend> {
    conv0: Conv2d<B>,
    norm0: BatchNorm2d<B>,
    denseblock1: Sequential<B>,
    transition1: Transition<B>,
    denseblock2: Sequential<B>,
    transition2: Transition<B>,
    denseblock3: Sequential<B>,
    transition3: Transition<B>,
    denseblock4: Sequential<B>,
    norm5: BatchNorm2d<B>,
    scope: Scope,
}

named_fields!(Features {
    conv0,
    norm0,
    denseblock1,
    transition1,
    denseblock2,
    transition2,
    denseblock3,
    transition3,
    denseblock4,
    norm5
});

impl<B: Backend> Module<B> for Features<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = ConvNorm(&mut self.conv0, &mut self.norm0).relu(x)?;
        let x = x.max_pool2d(&Pool2dOptions::square(3).stride(2).padding(1))?;
        let x = self.transition1.call(&self.denseblock1.call(&x)?)?;
        let x = self.transition2.call(&self.denseblock2.call(&x)?)?;
        let x = self.transition3.call(&self.denseblock3.call(&x)?)?;
        self.norm5.relu(&self.denseblock4.call(&x)?)
    }
}

/// A block of so many layers, and the channels that leave it.
fn dense_block<B: Backend>(init: &mut Init<'_, B>, entering: usize, layers: usize) -> Result<(Sequential<B>, usize)> {
    let mut block = Sequential::new();
    for index in 0..layers {
        let layer = DenseLayer::new(init, entering + index * GROWTH)?;
        block = block.push_named(format!("denselayer{}", index + 1), layer);
    }
    Ok((block, entering + layers * GROWTH))
}

/// What enters, and beside it the channels that a 1x1 and a 3x3 convolution make of it.
#[derive(Debug)]
struct DenseLayer<B: Backend> {
    norm1: BatchNorm2d<B>,
    conv1: Conv2d<B>,
    norm2: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    scope: Scope,
}

named_fields!(DenseLayer { norm1, conv1, norm2, conv2 });

impl<B: Backend> DenseLayer<B> {
    fn new(init: &mut Init<'_, B>, entering: usize) -> Result<Self> {
        Ok(DenseLayer {
            norm1: BatchNorm2d::new(init, entering)?,
            conv1: Conv2d::without_bias(init, entering, BOTTLENECK, Conv2dOptions::square(1))?,
            norm2: BatchNorm2d::new(init, BOTTLENECK)?,
            conv2: Conv2d::without_bias(init, BOTTLENECK, GROWTH, Conv2dOptions::square(3).padding(1))?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for DenseLayer<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let hidden = ConvNorm(&mut self.conv1, &mut self.norm2).relu(&self.norm1.relu(x)?)?;
        Var::concat(&[x, &self.conv2.call(&hidden)?])
    }
}

/// A 1x1 convolution to half of the channels, and averages of 2x2 pixels.
#[derive(Debug)]
struct Transition<B: Backend> {
    norm: BatchNorm2d<B>,
    conv: Conv2d<B>,
    scope: Scope,
}

named_fields!(Transition { norm, conv });

impl<B: Backend> Transition<B> {
    /// The transition from so many channels, and how many leave it.
    fn new(init: &mut Init<'_, B>, entering: usize) -> Result<(Self, usize)> {
        let norm = BatchNorm2d::new(init, entering)?;
        let conv = Conv2d::without_bias(init, entering, entering / 2, Conv2dOptions::square(1))?;
        Ok((Transition { norm, conv, scope: Scope::default() }, entering / 2))
    }
}

impl<B: Backend> Module<B> for Transition<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.conv.call(&self.norm.relu(x)?)?.avg_pool2d(&Pool2dOptions::square(2))
    }
}

/// The name here of what torchvision's published files, which are older than its names, call `name`:
/// `features.denseblock1.denselayer1.norm.1.weight`, where a layer's first normalisation is `norm1` now.
pub(crate) fn name_of(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = name.split('.').collect();
    let &["features", block, layer, kind @ ("norm" | "conv"), index @ ("1" | "2"), _] = &*parts else { return None };
    if !(block.starts_with("denseblock") && layer.starts_with("denselayer")) {
        return None;
    }
    let joined = format!("{kind}{index}");
    parts.splice(3..5, [&*joined]);
    Some(parts.join("."))
}
