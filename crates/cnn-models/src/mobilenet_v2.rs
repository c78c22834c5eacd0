//! MobileNetV2 (M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018), with torchvision's names.

use std::fmt::{Debug, Formatter};

use cnn_core::backend::Activation;
use cnn_core::nn::{
    BatchNorm2d, Conv2d, ConvNorm, Dropout, Fields, Init, Leaf, LeafMut, Linear, Module, Path, Scope, name_fields,
};
use cnn_core::{Backend, Conv2dOptions, Result, Var, named_fields};

use crate::Model;
use crate::conv_unit::ConvUnit;

const STEM: usize = 32;
/// Channels of a block's inside for each that enters, channels that leave, blocks, stride of the first one.
const STAGES: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];
const HEAD: usize = 1280;

/// MobileNetV2. State dict as torchvision's: `features`, `classifier.1`.
pub struct MobileNetV2<B: Backend> {
    features: Vec<Model<B>>,
    classifier: Classifier<B>,
    scope: Scope,
}

named_fields!(MobileNetV2 { features, classifier });

impl<B: Backend> MobileNetV2<B> {
    /// Part of the features in front of the last layer that training leaves out.
    pub const DROPOUT: f64 = 0.2;

    /// The network for images of these channels, which trains with this [dropout](Self::DROPOUT).
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(backend: &B, seed: u64, channels: usize, classes: usize, dropout: f64) -> Result<Self> {
        let init = &mut Init::new(backend, seed);
        let mut features: Vec<Model<B>> = Vec::new();
        features.push(Box::new(unit(init, [channels, STEM], Conv2dOptions::square(3).stride(2).padding(1))?));
        let mut entering = STEM;
        for [expand, leaving, blocks, stride] in STAGES {
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                features.push(Box::new(InvertedResidual::new(init, [entering, expand * entering, leaving], stride)?));
                entering = leaving;
            }
        }
        features.push(Box::new(unit(init, [entering, HEAD], Conv2dOptions::square(1))?));
        let (linear, scope) = (Linear::new(init, HEAD, classes)?, Scope::default());
        let classifier = Classifier { dropout: Dropout::new(dropout), linear, scope };
        let mut model = MobileNetV2 { features, classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(channels: usize, classes: usize) -> Option<usize> {
        let (mut entering, mut inner) = (STEM, 2 * STEM);
        for [expand, leaving, blocks, _] in STAGES {
            for _ in 0..blocks {
                let middle = expand * entering;
                let first = if expand == 1 { 0 } else { (entering + 2) * middle };
                inner += first + 11 * middle + (middle + 2) * leaving;
                entering = leaving;
            }
        }
        inner += (entering + 2) * HEAD;
        channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(HEAD + 1)?)
    }
}

impl<B: Backend> Debug for MobileNetV2<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MobileNetV2").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for MobileNetV2<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let mut x = x.clone();
        for feature in &mut self.features {
            x = feature.call(&x)?;
        }
        self.classifier.call(&x.global_avg_pool2d()?.flatten()?)
    }
}

/// Dropout and the last layer.
#[derive(Debug)]
struct Classifier<B: Backend> {
    dropout: Dropout,
    linear: Linear<B>,
    scope: Scope,
}

named_fields!(Classifier { linear as "1" });

impl<B: Backend> Module<B> for Classifier<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.linear.call(&self.dropout.call(x)?)
    }
}

/// A convolution, its normalisation, ReLU6.
fn unit<B: Backend>(init: &mut Init<'_, B>, channels: [usize; 2], options: Conv2dOptions) -> Result<ConvUnit<B>> {
    ConvUnit::new(init, channels, options, Some(Activation::Relu6))
}

/// A block: what is in it stands below `conv`.
#[derive(Debug)]
struct InvertedResidual<B: Backend> {
    conv: Layers<B>,
    scope: Scope,
}

named_fields!(InvertedResidual { conv });

impl<B: Backend> InvertedResidual<B> {
    fn new(init: &mut Init<'_, B>, [entering, inner, leaving]: [usize; 3], stride: usize) -> Result<Self> {
        let expand = (inner != entering).then(|| unit(init, [entering, inner], Conv2dOptions::square(1)));
        let depthwise = Conv2dOptions::square(3).stride(stride).padding(1).groups(inner);
        let conv = Layers {
            expand: expand.transpose()?,
            depthwise: unit(init, [inner, inner], depthwise)?,
            project: Conv2d::without_bias(init, inner, leaving, Conv2dOptions::square(1))?,
            norm: BatchNorm2d::new(init, leaving)?,
            residual: stride == 1 && entering == leaving,
        };
        Ok(InvertedResidual { conv, scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for InvertedResidual<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let Layers { expand, depthwise, project, norm, residual } = &mut self.conv;
        let hidden = match expand {
            Some(expand) => depthwise.call(&expand.call(x)?)?,
            None => depthwise.call(x)?,
        };
        let last = ConvNorm(project, norm);
        if *residual { last.add(&hidden, x) } else { last.linear(&hidden) }
    }
}

/// A 1x1 convolution to more channels (unless there are to be as many), a depthwise one of them, a 1x1 one to fewer; what enters is
/// added where that has the same shape. Their names are their places.
#[derive(Debug)]
struct Layers<B: Backend> {
    expand: Option<ConvUnit<B>>,
    depthwise: ConvUnit<B>,
    project: Conv2d<B>,
    norm: BatchNorm2d<B>,
    residual: bool,
}

impl<B: Backend> Layers<B> {
    /// The names of `depthwise`, `project` and `norm`; `expand` is the first.
    fn names(&self) -> [&'static str; 3] {
        if self.expand.is_some() { ["1", "2", "3"] } else { ["0", "1", "2"] }
    }
}

impl<B: Backend> Fields<B> for Layers<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        let [depthwise, project, norm] = self.names();
        path.within("0", |path| self.expand.visit(path, f));
        path.within(depthwise, |path| self.depthwise.visit(path, f));
        path.within(project, |path| self.project.visit(path, f));
        path.within(norm, |path| self.norm.visit(path, f));
    }

    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        let [depthwise, project, norm] = self.names();
        path.within("0", |path| self.expand.visit_mut(path, f));
        path.within(depthwise, |path| self.depthwise.visit_mut(path, f));
        path.within(project, |path| self.project.visit_mut(path, f));
        path.within(norm, |path| self.norm.visit_mut(path, f));
    }
}
