//! ShuffleNetV2 (N. Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018), with torchvision's
//! names.

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation;
use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Pool2dOptions, Result, Var, named_fields};

use crate::conv_unit::ConvUnit;

/// The shape of a ShuffleNetV2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleNetV2Config {
    /// Blocks in each of the three stages.
    pub blocks: [usize; 3],
    /// Channels of the stages, which are even.
    pub channels: [usize; 3],
}

impl ShuffleNetV2Config {
    /// The paper's 1x.
    pub const X1_0: Self = ShuffleNetV2Config { blocks: [4, 8, 4], channels: [116, 232, 464] };

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, channels: usize, classes: usize) -> Option<usize> {
        let (mut entering, mut inner) = (STEM, 2 * STEM);
        for (blocks, leaving) in self.blocks.into_iter().zip(self.channels) {
            let half = leaving / 2;
            let branch = |entering: usize| (entering + 2 + 9 + 2 + half + 2) * half;
            // The first block has two branches of all that enters it, the others one of a half.
            inner += 11 * entering + (entering + 2) * half + branch(entering) + (blocks - 1) * branch(half);
            entering = leaving;
        }
        inner += (entering + 2) * LAST;
        channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(LAST + 1)?)
    }
}

const STEM: usize = 24;
const LAST: usize = 1024;

/// ShuffleNetV2. State dict as torchvision's: `conv1`, `stage2` to `stage4`, `conv5`, `fc`. Weights begin as those of PyTorch's layers
/// by themselves, in torchvision too.
pub struct ShuffleNetV2<B: Backend> {
    conv1: ConvUnit<B>,
    stage2: Vec<Block<B>>,
    stage3: Vec<Block<B>>,
    stage4: Vec<Block<B>>,
    conv5: ConvUnit<B>,
    fc: Linear<B>,
    scope: Scope,
}

named_fields!(ShuffleNetV2 { conv1, stage2, stage3, stage4, conv5, fc });

impl<B: Backend> ShuffleNetV2<B> {
    /// The network for images of these channels.
    ///
    /// # Errors
    /// No channels or classes, and those of the device.
    pub fn new(backend: &B, seed: u64, config: &ShuffleNetV2Config, channels: usize, classes: usize) -> Result<Self> {
        let (init, relu) = (&mut Init::new(backend, seed), Some(Activation::Relu));
        let conv1 = ConvUnit::new(init, [channels, STEM], Conv2dOptions::square(3).stride(2).padding(1), relu)?;
        let mut entering = STEM;
        let mut stage = |index: usize| {
            let leaving = config.channels[index];
            let entering = std::mem::replace(&mut entering, leaving);
            let block = |block| match block {
                0 => Block::halving(init, [entering, leaving / 2]),
                _ => Block::keeping(init, leaving / 2),
            };
            (0..config.blocks[index]).map(block).collect::<Result<Vec<_>>>()
        };
        let [stage2, stage3, stage4] = [stage(0)?, stage(1)?, stage(2)?];
        let conv5 = ConvUnit::new(init, [entering, LAST], Conv2dOptions::square(1), relu)?;
        let (fc, scope) = (Linear::new(init, LAST, classes)?, Scope::default());
        let mut model = ShuffleNetV2 { conv1, stage2, stage3, stage4, conv5, fc, scope };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Debug for ShuffleNetV2<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShuffleNetV2").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for ShuffleNetV2<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let mut x = self.conv1.call(x)?.max_pool2d(&Pool2dOptions::square(3).stride(2).padding(1))?;
        for block in [&mut self.stage2, &mut self.stage3, &mut self.stage4].into_iter().flatten() {
            x = block.call(&x)?;
        }
        self.fc.call(&self.conv5.call(&x)?.global_avg_pool2d()?.flatten()?)
    }
}

/// A block of two branches, whose channels are shuffled into each other at the end. One that halves the image has both branches of all
/// that enters; one that keeps it lets the first half of the channels pass.
#[derive(Debug)]
struct Block<B: Backend> {
    branch1: Option<Short<B>>,
    branch2: Long<B>,
    scope: Scope,
}

named_fields!(Block { branch1, branch2 });

impl<B: Backend> Block<B> {
    fn halving(init: &mut Init<'_, B>, [entering, half]: [usize; 2]) -> Result<Self> {
        let branch1 = Some(Short::new(init, [entering, half])?);
        Ok(Block { branch1, branch2: Long::new(init, [entering, half], 2)?, scope: Scope::default() })
    }

    fn keeping(init: &mut Init<'_, B>, half: usize) -> Result<Self> {
        Ok(Block { branch1: None, branch2: Long::new(init, [half, half], 1)?, scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for Block<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let both = match &mut self.branch1 {
            Some(branch1) => Var::concat(&[&branch1.call(x)?, &self.branch2.call(x)?])?,
            None => {
                let channels = x.shape().channels();
                let (passing, taken) = (x.slice_channels(0..channels / 2)?, x.slice_channels(channels / 2..channels)?);
                Var::concat(&[&passing, &self.branch2.call(&taken)?])?
            }
        };
        both.shuffle_channels(2)
    }
}

/// A depthwise 3x3 convolution of these channels without a bias.
fn depthwise<B: Backend>(init: &mut Init<'_, B>, channels: usize, stride: usize) -> Result<Conv2d<B>> {
    let options = Conv2dOptions::square(3).stride(stride).padding(1).groups(channels);
    Conv2d::without_bias(init, channels, channels, options)
}

/// A 1x1 convolution without a bias.
fn pointwise<B: Backend>(init: &mut Init<'_, B>, [entering, leaving]: [usize; 2]) -> Result<Conv2d<B>> {
    Conv2d::without_bias(init, entering, leaving, Conv2dOptions::square(1))
}

/// A depthwise convolution of stride 2, a 1x1 one and a ReLU. Names are places among what has no weights, too.
#[derive(Debug)]
struct Short<B: Backend> {
    depthwise: Conv2d<B>,
    norm1: BatchNorm2d<B>,
    pointwise: Conv2d<B>,
    norm2: BatchNorm2d<B>,
    scope: Scope,
}

named_fields!(Short { depthwise as "0", norm1 as "1", pointwise as "2", norm2 as "3" });

impl<B: Backend> Short<B> {
    fn new(init: &mut Init<'_, B>, [entering, half]: [usize; 2]) -> Result<Self> {
        Ok(Short {
            depthwise: depthwise(init, entering, 2)?,
            norm1: BatchNorm2d::new(init, entering)?,
            pointwise: pointwise(init, [entering, half])?,
            norm2: BatchNorm2d::new(init, half)?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Short<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let hidden = ConvNorm(&mut self.depthwise, &mut self.norm1).linear(x)?;
        ConvNorm(&mut self.pointwise, &mut self.norm2).relu(&hidden)
    }
}

/// A 1x1 convolution and a ReLU, a depthwise convolution, a 1x1 one and a ReLU.
#[derive(Debug)]
struct Long<B: Backend> {
    first: Conv2d<B>,
    norm1: BatchNorm2d<B>,
    depthwise: Conv2d<B>,
    norm2: BatchNorm2d<B>,
    last: Conv2d<B>,
    norm3: BatchNorm2d<B>,
    scope: Scope,
}

named_fields!(Long { first as "0", norm1 as "1", depthwise as "3", norm2 as "4", last as "5", norm3 as "6" });

impl<B: Backend> Long<B> {
    fn new(init: &mut Init<'_, B>, [entering, half]: [usize; 2], stride: usize) -> Result<Self> {
        Ok(Long {
            first: pointwise(init, [entering, half])?,
            norm1: BatchNorm2d::new(init, half)?,
            depthwise: depthwise(init, half, stride)?,
            norm2: BatchNorm2d::new(init, half)?,
            last: pointwise(init, [half, half])?,
            norm3: BatchNorm2d::new(init, half)?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Long<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let hidden = ConvNorm(&mut self.first, &mut self.norm1).relu(x)?;
        let hidden = ConvNorm(&mut self.depthwise, &mut self.norm2).linear(&hidden)?;
        ConvNorm(&mut self.last, &mut self.norm3).relu(&hidden)
    }
}
