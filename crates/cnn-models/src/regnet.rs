//! RegNetY (I. Radosavovic et al., "Designing Network Design Spaces", 2020), with torchvision's names.

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation::{Relu, Sigmoid};
use cnn_core::nn::{Draw, Init, Linear, Module, Scope, Sequential, name_fields};
use cnn_core::{Backend, Conv2dOptions, Naive, Result, Var, named_fields};

use crate::conv_unit::ConvUnit;
use crate::squeeze_excitation::SqueezeExcitation;

/// The shape of a RegNetY: the paper's function of a few numbers, rounded to stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegNetConfig {
    /// Blocks in each of the four stages.
    pub blocks: [usize; 4],
    /// Channels of the four stages.
    pub channels: [usize; 4],
    /// Channels of a group of the 3x3 convolutions.
    pub group: usize,
}

impl RegNetConfig {
    /// 400 million products for an image of 224x224.
    pub const Y_400MF: Self = RegNetConfig { blocks: [1, 3, 6, 6], channels: [48, 104, 208, 440], group: 8 };

    /// Channels that enter and leave each block, and its stride, with the stage's number.
    fn each_block(&self) -> impl Iterator<Item = (usize, [usize; 2], usize)> {
        let mut entering = STEM;
        (self.blocks.into_iter().zip(self.channels).enumerate()).flat_map(move |(stage, (blocks, leaving))| {
            let first = std::mem::replace(&mut entering, leaving);
            (0..blocks).map(move |block| match block {
                0 => (stage, [first, leaving], 2),
                _ => (stage, [leaving, leaving], 1),
            })
        })
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, channels: usize, classes: usize) -> Option<usize> {
        let (mut inner, mut last) = (2 * STEM, STEM);
        for (_, [entering, leaving], stride) in self.each_block() {
            let project = if projects([entering, leaving], stride) { (entering + 2) * leaving } else { 0 };
            let squeeze = SqueezeExcitation::<Naive<f32>>::parameter_count(leaving, entering / SQUEEZE);
            inner += project + (entering + 2 + 9 * self.group + 2 + leaving + 2) * leaving + squeeze;
            last = leaving;
        }
        channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(last + 1)?)
    }
}

const STEM: usize = 32;
/// Squeezed channels are one in so many of those that enter a block.
const SQUEEZE: usize = 4;

/// Whether what goes around a block is a convolution.
const fn projects([entering, leaving]: [usize; 2], stride: usize) -> bool {
    entering != leaving || stride != 1
}

/// RegNetY. State dict as torchvision's: `stem`, `trunk_output.block1.block1-0`, `fc`. Weights begin as torchvision's: of convolutions
/// normal with deviation sqrt(2 / fan_out), of the dense layer with deviation 0.01, biases 0.
pub struct RegNet<B: Backend> {
    stem: ConvUnit<B>,
    trunk_output: Sequential<B>,
    fc: Linear<B>,
    scope: Scope,
}

named_fields!(RegNet { stem, trunk_output, fc });

impl<B: Backend> RegNet<B> {
    /// The network for images of these channels.
    ///
    /// # Errors
    /// No channels or classes, and a shape whose groups do not divide its channels.
    pub fn new(backend: &B, seed: u64, config: &RegNetConfig, channels: usize, classes: usize) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.dense, init.zero_biases) = (Draw::HeNormalFanOut, Draw::Normal(0.01), true);
        let stem = Conv2dOptions::square(3).stride(2).padding(1);
        let stem = ConvUnit::new(init, [channels, STEM], stem, Some(Relu))?;
        let mut stages = [const { Vec::new() }; 4];
        for (stage, channels, stride) in config.each_block() {
            stages[stage].push(BottleneckBlock::new(init, channels, config.group, stride)?);
        }
        let mut trunk_output = Sequential::new();
        for (stage, blocks) in (1..).zip(stages) {
            let named = blocks.into_iter().enumerate();
            let blocks = named.fold(Sequential::new(), |stages, (index, block)| {
                stages.push_named(format!("block{stage}-{index}"), block)
            });
            trunk_output = trunk_output.push_named(format!("block{stage}"), blocks);
        }
        let fc = Linear::new(init, config.channels[3], classes)?;
        let mut model = RegNet { stem, trunk_output, fc, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Debug for RegNet<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegNet").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for RegNet<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.trunk_output.call(&self.stem.call(x)?)?;
        self.fc.call(&x.global_avg_pool2d()?.flatten()?)
    }
}

/// A bottleneck and what goes around it: what entered, or a 1x1 convolution of that where the shape changes.
#[derive(Debug)]
struct BottleneckBlock<B: Backend> {
    proj: Option<ConvUnit<B>>,
    f: Bottleneck<B>,
    scope: Scope,
}

named_fields!(BottleneckBlock { proj, f });

/// A 1x1 convolution, a 3x3 one of groups, squeeze and excitation, a 1x1 convolution, all of one width.
#[derive(Debug)]
struct Bottleneck<B: Backend> {
    a: ConvUnit<B>,
    b: ConvUnit<B>,
    se: SqueezeExcitation<B>,
    c: ConvUnit<B>,
    scope: Scope,
}

named_fields!(Bottleneck { a, b, se, c });

impl<B: Backend> BottleneckBlock<B> {
    fn new(init: &mut Init<'_, B>, [entering, leaving]: [usize; 2], group: usize, stride: usize) -> Result<Self> {
        let pointwise = Conv2dOptions::square(1);
        let proj = projects([entering, leaving], stride)
            .then(|| ConvUnit::new(init, [entering, leaving], pointwise.stride(stride), None));
        let grouped = Conv2dOptions::square(3).stride(stride).padding(1).groups(leaving / group);
        let (proj, wide) = (proj.transpose()?, [leaving, leaving]);
        let f = Bottleneck {
            a: ConvUnit::new(init, [entering, leaving], pointwise, Some(Relu))?,
            b: ConvUnit::new(init, wide, grouped, Some(Relu))?,
            se: SqueezeExcitation::new(init, leaving, entering / SQUEEZE, [Relu, Sigmoid])?,
            // Of the sum with what goes around.
            c: ConvUnit::new(init, wide, pointwise, Some(Relu))?,
            scope: Scope::default(),
        };
        Ok(BottleneckBlock { proj, f, scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for BottleneckBlock<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let around = match &mut self.proj {
            Some(proj) => proj.call(x)?,
            None => x.clone(),
        };
        let Bottleneck { a, b, se, c, .. } = &mut self.f;
        c.add(&se.call(&b.call(&a.call(x)?)?)?, &around)
    }
}
