//! EfficientNet-Lite0 (M. Tan, Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019; Lite: R. Liu,
//! 2020): inverted residuals without squeeze and excitation, with ReLU6, and TensorFlow's padding. Names are timm's
//! (`tf_efficientnet_lite0`).

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation;
use cnn_core::nn::{BatchNorm2d, Conv2d, ConvNorm, Dropout, Init, Linear, Module, Scope, name_fields};
use cnn_core::{Backend, Conv2dOptions, Padding, Result, Var, named_fields};

use crate::Model;

/// A stage: blocks, kernel, stride of the first block, channels of a block's inside for each that enters, channels that leave.
struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    expand: usize,
    channels: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expand: usize, channels: usize) -> Stage {
    Stage { blocks, kernel, stride, expand, channels }
}

const STEM: usize = 32;
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];
const HEAD: usize = 1280;

/// The padding by which TensorFlow's `SAME` makes an output of `side / stride`, rounded up: what it lacks, the odd row and column
/// behind. Returns it and that side.
fn same(sides: [usize; 2], kernel: usize, stride: usize) -> (Padding, [usize; 2]) {
    let out = sides.map(|side| side.div_ceil(stride));
    let lacks = |axis: usize| ((out[axis].max(1) - 1) * stride + kernel).saturating_sub(sides[axis]);
    let [rows, columns] = [lacks(0), lacks(1)];
    let padding = Padding { top: rows / 2, bottom: rows.div_ceil(2), left: columns / 2, right: columns.div_ceil(2) };
    (padding, out)
}

/// EfficientNet-Lite0 for images of one size, on which its padding depends. State dict as timm's: `conv_stem`, `bn1`, `blocks`,
/// `conv_head`, `bn2`, `classifier`.
pub struct EfficientNetLite<B: Backend> {
    conv_stem: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    blocks: Vec<Vec<Model<B>>>,
    conv_head: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    dropout: Dropout,
    classifier: Linear<B>,
    scope: Scope,
}

named_fields!(EfficientNetLite { conv_stem, bn1, blocks, conv_head, bn2, classifier });

/// A normalisation with TensorFlow's constant.
fn norm<B: Backend>(init: &mut Init<'_, B>, channels: usize) -> Result<BatchNorm2d<B>> {
    let mut norm = BatchNorm2d::new(init, channels)?;
    norm.eps = 1e-3;
    Ok(norm)
}

impl<B: Backend> EfficientNetLite<B> {
    /// Part of the features in front of the last layer that training leaves out.
    pub const DROPOUT: f64 = 0.2;

    /// The network for images \[height, width, channels\], which trains with this [dropout](Self::DROPOUT).
    ///
    /// # Errors
    /// An image without a pixel.
    pub fn new(backend: &B, seed: u64, [h, w, c]: [usize; 3], classes: usize, dropout: f64) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        let (padding, mut sides) = same([h, w], 3, 2);
        let conv_stem = Conv2d::without_bias(init, c, STEM, Conv2dOptions::square(3).stride(2).padding(padding))?;
        let bn1 = norm(init, STEM)?;
        let mut entering = STEM;
        let mut blocks = Vec::new();
        for stage in &STAGES {
            let mut made: Vec<Model<B>> = Vec::new();
            for block in 0..stage.blocks {
                let stride = if block == 0 { stage.stride } else { 1 };
                let (padding, out) = same(sides, stage.kernel, stride);
                let inner = entering * stage.expand;
                let options = Conv2dOptions::square(stage.kernel).stride(stride).padding(padding).groups(inner);
                let channels = [entering, inner, stage.channels];
                made.push(match stage.expand {
                    1 => Box::new(DepthwiseSeparable::new(init, channels, options)?),
                    _ => Box::new(InvertedResidual::new(init, channels, options)?),
                });
                (entering, sides) = (stage.channels, out);
            }
            blocks.push(made);
        }
        let conv_head = Conv2d::without_bias(init, entering, HEAD, Conv2dOptions::square(1))?;
        let bn2 = norm(init, HEAD)?;
        let classifier = Linear::new(init, HEAD, classes)?;
        let (dropout, scope) = (Dropout::new(dropout), Scope::default());
        let mut model = EfficientNetLite { conv_stem, bn1, blocks, conv_head, bn2, dropout, classifier, scope };
        name_fields(&mut model);
        Ok(model)
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(channels: usize, classes: usize) -> Option<usize> {
        let (mut entering, mut inner) = (STEM, 2 * STEM);
        for stage in &STAGES {
            for _ in 0..stage.blocks {
                let middle = entering * stage.expand;
                let expand = if stage.expand == 1 { 0 } else { (entering + 2) * middle };
                inner += expand + (stage.kernel * stage.kernel + 2) * middle + (middle + 2) * stage.channels;
                entering = stage.channels;
            }
        }
        inner += (entering + 2) * HEAD;
        channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(HEAD + 1)?)
    }
}

impl<B: Backend> Debug for EfficientNetLite<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EfficientNetLite").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for EfficientNetLite<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let mut x = ConvNorm(&mut self.conv_stem, &mut self.bn1).activate(x, Activation::Relu6)?;
        for block in self.blocks.iter_mut().flatten() {
            x = block.call(&x)?;
        }
        let x = ConvNorm(&mut self.conv_head, &mut self.bn2).activate(&x, Activation::Relu6)?;
        self.classifier.call(&self.dropout.call(&x.global_avg_pool2d()?.flatten()?)?)
    }
}

/// A depthwise convolution, then a 1x1 one; what enters is added where that has the same shape.
#[derive(Debug)]
struct DepthwiseSeparable<B: Backend> {
    conv_dw: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv_pw: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    residual: bool,
    scope: Scope,
}

named_fields!(DepthwiseSeparable { conv_dw, bn1, conv_pw, bn2 });

impl<B: Backend> DepthwiseSeparable<B> {
    fn new(init: &mut Init<'_, B>, channels: [usize; 3], options: Conv2dOptions) -> Result<Self> {
        let [entering, inner, leaving] = channels;
        Ok(DepthwiseSeparable {
            conv_dw: Conv2d::without_bias(init, inner, inner, options)?,
            bn1: norm(init, inner)?,
            conv_pw: Conv2d::without_bias(init, inner, leaving, Conv2dOptions::square(1))?,
            bn2: norm(init, leaving)?,
            residual: options.stride == [1, 1] && entering == leaving,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for DepthwiseSeparable<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let hidden = ConvNorm(&mut self.conv_dw, &mut self.bn1).activate(x, Activation::Relu6)?;
        let last = ConvNorm(&mut self.conv_pw, &mut self.bn2);
        if self.residual { last.add(&hidden, x) } else { last.linear(&hidden) }
    }
}

/// A 1x1 convolution to more channels, a depthwise one of them, a 1x1 one to fewer; what enters is added where that has the same
/// shape (M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018).
#[derive(Debug)]
struct InvertedResidual<B: Backend> {
    conv_pw: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv_dw: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    conv_pwl: Conv2d<B>,
    bn3: BatchNorm2d<B>,
    residual: bool,
    scope: Scope,
}

named_fields!(InvertedResidual { conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3 });

impl<B: Backend> InvertedResidual<B> {
    fn new(init: &mut Init<'_, B>, channels: [usize; 3], options: Conv2dOptions) -> Result<Self> {
        let [entering, inner, leaving] = channels;
        let conv1x1 = Conv2dOptions::square(1);
        Ok(InvertedResidual {
            conv_pw: Conv2d::without_bias(init, entering, inner, conv1x1)?,
            bn1: norm(init, inner)?,
            conv_dw: Conv2d::without_bias(init, inner, inner, options)?,
            bn2: norm(init, inner)?,
            conv_pwl: Conv2d::without_bias(init, inner, leaving, conv1x1)?,
            bn3: norm(init, leaving)?,
            residual: options.stride == [1, 1] && entering == leaving,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for InvertedResidual<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let hidden = ConvNorm(&mut self.conv_pw, &mut self.bn1).activate(x, Activation::Relu6)?;
        let hidden = ConvNorm(&mut self.conv_dw, &mut self.bn2).activate(&hidden, Activation::Relu6)?;
        let last = ConvNorm(&mut self.conv_pwl, &mut self.bn3);
        if self.residual { last.add(&hidden, x) } else { last.linear(&hidden) }
    }
}

/// The name here of what github.com/lukemelas/EfficientNet-PyTorch and its kin call `name`: `_blocks.3._expand_conv.weight`, whose
/// blocks are counted through all stages.
pub(crate) fn name_of(name: &str) -> Option<String> {
    let layer = |layer: &str, names: &[(&str, &'static str)]| {
        names.iter().find(|(theirs, _)| *theirs == layer).map(|(_, ours)| *ours)
    };
    let Some(rest) = name.strip_prefix("_blocks.") else {
        let (first, rest) = name.split_once('.')?;
        let names = [
            ("_conv_stem", "conv_stem"),
            ("_bn0", "bn1"),
            ("_conv_head", "conv_head"),
            ("_bn1", "bn2"),
            ("_fc", "classifier"),
        ];
        return Some(format!("{}.{rest}", layer(first, &names)?));
    };
    let mut parts = rest.splitn(3, '.');
    let (index, first, rest) = (parts.next()?.parse::<usize>().ok()?, parts.next()?, parts.next()?);
    let (mut block, mut place) = (index, 0);
    while block >= STAGES.get(place)?.blocks {
        block -= STAGES[place].blocks;
        place += 1;
    }
    let first = match STAGES[place].expand {
        1 => layer(
            first,
            &[("_depthwise_conv", "conv_dw"), ("_bn1", "bn1"), ("_project_conv", "conv_pw"), ("_bn2", "bn2")],
        ),
        _ => layer(
            first,
            &[
                ("_expand_conv", "conv_pw"),
                ("_bn0", "bn1"),
                ("_depthwise_conv", "conv_dw"),
                ("_bn1", "bn2"),
                ("_project_conv", "conv_pwl"),
                ("_bn2", "bn3"),
            ],
        ),
    };
    Some(format!("blocks.{place}.{block}.{}.{rest}", first?))
}
