//! The block of MobileNetV3 and EfficientNet: an inverted residual (M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear
//! Bottlenecks", 2018) with squeeze and excitation, with torchvision's names.

use cnn_core::backend::Activation;
use cnn_core::nn::{Fields, Init, Leaf, LeafMut, Module, Path, Scope, StochasticDepth};
use cnn_core::{Backend, Conv2dOptions, Naive, Result, Var, named_fields};

use crate::conv_unit::ConvUnit;
use crate::squeeze_excitation::SqueezeExcitation;

/// The shape of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InvertedResidualConfig {
    /// Entering, inside, leaving.
    pub(crate) channels: [usize; 3],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) activation: Activation,
    /// The channels that are squeezed to, and what stands between the two layers and behind them, where there is that.
    pub(crate) squeeze: Option<(usize, [Activation; 2])>,
    /// How likely training leaves the block out for an image, where what enters is added.
    pub(crate) stochastic_depth: f64,
}

impl InvertedResidualConfig {
    /// How many weights a block has.
    pub(crate) fn parameter_count(&self) -> usize {
        let [entering, inner, leaving] = self.channels;
        let expand = if inner == entering { 0 } else { (entering + 2) * inner };
        let squeeze = self.squeeze.map_or(0, |(to, _)| SqueezeExcitation::<Naive<f32>>::parameter_count(inner, to));
        expand + (self.kernel * self.kernel + 2) * inner + squeeze + (inner + 2) * leaving
    }
}

/// A block: what is in it stands below `block`.
#[derive(Debug)]
pub(crate) struct InvertedResidual<B: Backend> {
    block: Layers<B>,
    residual: bool,
    stochastic_depth: StochasticDepth,
    scope: Scope,
}

named_fields!(InvertedResidual { block });

impl<B: Backend> InvertedResidual<B> {
    /// Of convolutions that `unit` makes: of these channels and this geometry, with an activation or none.
    pub(crate) fn new(
        init: &mut Init<'_, B>,
        config: &InvertedResidualConfig,
        unit: impl Fn(&mut Init<'_, B>, [usize; 2], Conv2dOptions, Option<Activation>) -> Result<ConvUnit<B>>,
    ) -> Result<Self> {
        let &InvertedResidualConfig { channels, kernel, stride, activation, squeeze, stochastic_depth } = config;
        let ([entering, inner, leaving], pointwise) = (channels, Conv2dOptions::square(1));
        let expand = (inner != entering).then(|| unit(init, [entering, inner], pointwise, Some(activation)));
        let expand = expand.transpose()?;
        let options = Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2).groups(inner);
        let depthwise = unit(init, [inner, inner], options, Some(activation))?;
        let squeeze =
            squeeze.map(|(to, activations)| SqueezeExcitation::new(init, inner, to, activations)).transpose()?;
        let project = unit(init, [inner, leaving], pointwise, None)?;
        Ok(InvertedResidual {
            block: Layers { expand, depthwise, squeeze, project },
            residual: stride == 1 && entering == leaving,
            stochastic_depth: StochasticDepth::new(stochastic_depth),
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for InvertedResidual<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let Layers { expand, depthwise, squeeze, project } = &mut self.block;
        let hidden = match expand {
            Some(expand) => depthwise.call(&expand.call(x)?)?,
            None => depthwise.call(x)?,
        };
        let hidden = match squeeze {
            Some(squeeze) => squeeze.call(&hidden)?,
            None => hidden,
        };
        match (self.residual, self.stochastic_depth.probability > 0.0) {
            (false, _) => project.call(&hidden),
            (true, false) => project.add(&hidden, x),
            (true, true) => self.stochastic_depth.call(&project.call(&hidden)?)?.add(x),
        }
    }
}

/// A 1x1 convolution to more channels (unless there are to be as many), a depthwise one of them, squeeze and excitation of some, a 1x1
/// convolution to fewer; what enters is added where that has the same shape. Their names are their places.
#[derive(Debug)]
struct Layers<B: Backend> {
    expand: Option<ConvUnit<B>>,
    depthwise: ConvUnit<B>,
    squeeze: Option<SqueezeExcitation<B>>,
    project: ConvUnit<B>,
}

impl<B: Backend> Fields<B> for Layers<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        let Layers { expand, depthwise, squeeze, project } = self;
        let expand = expand.as_ref().map(|expand| expand as &dyn Fields<B>);
        let squeeze = squeeze.as_ref().map(|squeeze| squeeze as &dyn Fields<B>);
        let layers = [expand, Some(depthwise), squeeze, Some(project)].into_iter().flatten();
        layers.enumerate().for_each(|(place, layer)| path.within(&place.to_string(), |path| layer.visit(path, f)));
    }

    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        let Layers { expand, depthwise, squeeze, project } = self;
        let expand = expand.as_mut().map(|expand| expand as &mut dyn Fields<B>);
        let squeeze = squeeze.as_mut().map(|squeeze| squeeze as &mut dyn Fields<B>);
        let layers = [expand, Some(depthwise), squeeze, Some(project)].into_iter().flatten();
        layers.enumerate().for_each(|(place, layer)| path.within(&place.to_string(), |path| layer.visit_mut(path, f)));
    }
}
