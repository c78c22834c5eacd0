//! ResNet (K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", 2016), with torchvision's names.
//!
//! Every convolution runs together with the normalisation behind it, so that a normalised activation inside a block is
//! never written: see [`ConvNorm`].

use std::fmt::{Debug, Formatter};

use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Pool2dOptions, Result, Var, named_fields};

use crate::Model;

/// How an image enters the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 3x3 convolution, stride 1: for 32x32 images.
    Cifar,
    /// 7x7 convolution, stride 2, and 3x3 max-pooling, stride 2: for 224x224 images.
    ImageNet,
}

/// What the stages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1 convolutions, of which the last has four times a stage's channels. The 3x3 one is narrower: it has
    /// `groups` groups of `width` channels for every 64 of the stage (S. Xie et al., "Aggregated Residual Transformations for Deep
    /// Neural Networks", 2017), and the stride of the block, as in torchvision.
    Bottleneck {
        /// Groups of the 3x3 convolution.
        groups: usize,
        /// Channels of a group.
        width: usize,
    },
}

impl Block {
    /// Channels of the 3x3 convolutions in a stage of `channels`, and of what leaves it.
    fn widths(self, channels: usize) -> [usize; 2] {
        match self {
            Block::Basic => [channels, channels],
            Block::Bottleneck { groups, width } => [channels * width / 64 * groups, 4 * channels],
        }
    }
}

/// The shape of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// How an image enters.
    pub stem: Stem,
    /// What the stages are made of.
    pub block: Block,
    /// Blocks in each of the four stages.
    pub blocks: [usize; 4],
    /// Channels of the four stages.
    pub channels: [usize; 4],
}

impl ResNetConfig {
    /// 18 layers.
    pub const fn resnet18(stem: Stem) -> Self {
        ResNetConfig { stem, block: Block::Basic, blocks: [2, 2, 2, 2], channels: [64, 128, 256, 512] }
    }

    /// 34 layers.
    pub const fn resnet34(stem: Stem) -> Self {
        ResNetConfig { blocks: [3, 4, 6, 3], ..Self::resnet18(stem) }
    }

    /// 50 layers, for large images.
    pub const RESNET50: Self = Self::bottlenecks([3, 4, 6, 3], 1, 64);
    /// 101 layers, for large images.
    pub const RESNET101: Self = Self::bottlenecks([3, 4, 23, 3], 1, 64);
    /// 50 layers whose 3x3 convolutions are twice as wide (S. Zagoruyko, N. Komodakis, "Wide Residual Networks", 2016).
    pub const WIDE_RESNET50_2: Self = Self::bottlenecks([3, 4, 6, 3], 1, 128);
    /// 50 layers whose 3x3 convolutions are 32 groups.
    pub const RESNEXT50_32X4D: Self = Self::bottlenecks([3, 4, 6, 3], 32, 4);

    const fn bottlenecks(blocks: [usize; 4], groups: usize, width: usize) -> Self {
        ResNetConfig { block: Block::Bottleneck { groups, width }, blocks, ..Self::resnet18(Stem::ImageNet) }
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, in_channels: usize, classes: usize) -> Option<usize> {
        let width = self.channels[0];
        let (stem, mut entering, mut inner) = (if self.stem == Stem::Cifar { 9 } else { 49 }, width, 2 * width);
        for (index, (&blocks, &channels)) in self.blocks.iter().zip(&self.channels).enumerate() {
            let [middle, leaving] = self.block.widths(channels);
            for block in 0..blocks {
                inner += match self.block {
                    Block::Basic => (9 * (entering + leaving) + 4) * leaving,
                    Block::Bottleneck { groups, .. } => {
                        (entering + 9 * middle / groups + leaving + 4) * middle + 2 * leaving
                    }
                };
                if (index > 0 && block == 0) || entering != leaving {
                    inner += (entering + 2) * leaving;
                }
                entering = leaving;
            }
        }
        let conv1 = in_channels.checked_mul(stem * width)?;
        conv1.checked_add(inner)?.checked_add(classes.checked_mul(entering + 1)?)
    }
}

/// ResNet. State dict as torchvision's: `conv1`, `bn1`, `layer1` to `layer4`, `fc`.
pub struct ResNet<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    layer1: Vec<Model<B>>,
    layer2: Vec<Model<B>>,
    layer3: Vec<Model<B>>,
    layer4: Vec<Model<B>>,
    fc: Linear<B>,
    stem: Stem,
    scope: Scope,
}

named_fields!(ResNet { conv1, bn1, layer1, layer2, layer3, layer4, fc });

impl<B: Backend> ResNet<B> {
    /// The network for images of `in_channels` channels.
    pub fn new(backend: &B, seed: u64, config: &ResNetConfig, in_channels: usize, classes: usize) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        let width = config.channels[0];
        let stem = match config.stem {
            Stem::Cifar => Conv2dOptions::square(3).padding(1),
            Stem::ImageNet => Conv2dOptions::square(7).stride(2).padding(3),
        };
        let conv1 = Conv2d::without_bias(init, in_channels, width, stem)?;
        let bn1 = BatchNorm2d::new(init, width)?;
        let mut entering = width;
        let mut stage = |index: usize| {
            let [middle, leaving] = config.block.widths(config.channels[index]);
            (0..config.blocks[index])
                .map(|block| {
                    let stride = if index > 0 && block == 0 { 2 } else { 1 };
                    let block: Model<B> = match config.block {
                        Block::Basic => Box::new(BasicBlock::new(init, entering, leaving, stride)?),
                        Block::Bottleneck { groups, .. } => {
                            Box::new(Bottleneck::new(init, [entering, middle, leaving], groups, stride)?)
                        }
                    };
                    entering = leaving;
                    Ok(block)
                })
                .collect::<Result<Vec<_>>>()
        };
        let [layer1, layer2, layer3, layer4] = [stage(0)?, stage(1)?, stage(2)?, stage(3)?];
        let fc = Linear::new(init, entering, classes)?;
        let scope = Scope::default();
        let mut model = ResNet { conv1, bn1, layer1, layer2, layer3, layer4, fc, stem: config.stem, scope };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Debug for ResNet<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResNet").field("stem", &self.stem).finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for ResNet<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let mut x = ConvNorm(&mut self.conv1, &mut self.bn1).relu(x)?;
        if self.stem == Stem::ImageNet {
            x = x.max_pool2d(&Pool2dOptions::square(3).stride(2).padding(1))?;
        }
        for stage in [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4] {
            for block in stage {
                x = block.call(&x)?;
            }
        }
        self.fc.call(&x.global_avg_pool2d()?.flatten()?)
    }
}

/// Two 3x3 convolutions and a shortcut around them.
#[derive(Debug)]
pub struct BasicBlock<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    downsample: Option<Downsample<B>>,
    scope: Scope,
}

named_fields!(BasicBlock { conv1, bn1, conv2, bn2, downsample });

impl<B: Backend> BasicBlock<B> {
    /// A block whose first convolution has this stride; its shortcut is the identity where shapes allow it.
    pub fn new(init: &mut Init<'_, B>, entering: usize, leaving: usize, stride: usize) -> Result<Self> {
        let conv3x3 = Conv2dOptions::square(3).padding(1);
        Ok(BasicBlock {
            conv1: Conv2d::without_bias(init, entering, leaving, conv3x3.stride(stride))?,
            bn1: BatchNorm2d::new(init, leaving)?,
            conv2: Conv2d::without_bias(init, leaving, leaving, conv3x3)?,
            bn2: BatchNorm2d::new(init, leaving)?,
            downsample: Downsample::if_needed(init, entering, leaving, stride)?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for BasicBlock<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let shortcut = shortcut(&mut self.downsample, x)?;
        let hidden = ConvNorm(&mut self.conv1, &mut self.bn1).relu(x)?;
        ConvNorm(&mut self.conv2, &mut self.bn2).add_relu(&hidden, &shortcut)
    }
}

/// A 1x1 convolution to fewer channels, a 3x3 one of them, a 1x1 one to more, and a shortcut around the three.
#[derive(Debug)]
pub struct Bottleneck<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    conv3: Conv2d<B>,
    bn3: BatchNorm2d<B>,
    downsample: Option<Downsample<B>>,
    scope: Scope,
}

named_fields!(Bottleneck { conv1, bn1, conv2, bn2, conv3, bn3, downsample });

impl<B: Backend> Bottleneck<B> {
    /// A block from `entering` channels over `middle` ones to `leaving`, whose 3x3 convolution has these groups and this stride.
    ///
    /// # Errors
    /// Channels that the groups do not divide.
    pub fn new(
        init: &mut Init<'_, B>,
        [entering, middle, leaving]: [usize; 3],
        groups: usize,
        stride: usize,
    ) -> Result<Self> {
        let (conv1x1, conv3x3) = (Conv2dOptions::square(1), Conv2dOptions::square(3).padding(1));
        Ok(Bottleneck {
            conv1: Conv2d::without_bias(init, entering, middle, conv1x1)?,
            bn1: BatchNorm2d::new(init, middle)?,
            conv2: Conv2d::without_bias(init, middle, middle, conv3x3.groups(groups).stride(stride))?,
            bn2: BatchNorm2d::new(init, middle)?,
            conv3: Conv2d::without_bias(init, middle, leaving, conv1x1)?,
            bn3: BatchNorm2d::new(init, leaving)?,
            downsample: Downsample::if_needed(init, entering, leaving, stride)?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Bottleneck<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let shortcut = shortcut(&mut self.downsample, x)?;
        let hidden = ConvNorm(&mut self.conv1, &mut self.bn1).relu(x)?;
        let hidden = ConvNorm(&mut self.conv2, &mut self.bn2).relu(&hidden)?;
        ConvNorm(&mut self.conv3, &mut self.bn3).add_relu(&hidden, &shortcut)
    }
}

/// The shortcut where a block changes the shape: a normalised 1x1 convolution, `downsample.0` and `downsample.1`.
#[derive(Debug)]
pub struct Downsample<B: Backend> {
    conv: Conv2d<B>,
    norm: BatchNorm2d<B>,
    scope: Scope,
}

named_fields!(Downsample { conv as "0", norm as "1" });

/// What goes around a block that `x` enters.
fn shortcut<B: Backend>(downsample: &mut Option<Downsample<B>>, x: &Var<B>) -> Result<Var<B>> {
    downsample.as_mut().map_or_else(|| Ok(x.clone()), |downsample| downsample.call(x))
}

impl<B: Backend> Downsample<B> {
    /// None where a block leaves the shape as it is.
    fn if_needed(init: &mut Init<'_, B>, entering: usize, leaving: usize, stride: usize) -> Result<Option<Self>> {
        (stride != 1 || entering != leaving).then(|| Self::new(init, entering, leaving, stride)).transpose()
    }

    fn new(init: &mut Init<'_, B>, entering: usize, leaving: usize, stride: usize) -> Result<Self> {
        Ok(Downsample {
            conv: Conv2d::without_bias(init, entering, leaving, Conv2dOptions::square(1).stride(stride))?,
            norm: BatchNorm2d::new(init, leaving)?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Downsample<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        ConvNorm(&mut self.conv, &mut self.norm).linear(x)
    }
}
