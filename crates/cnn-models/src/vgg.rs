//! VGG (K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015), with torchvision's
//! names.

use std::fmt::{Debug, Formatter};

use cnn_core::nn::{
    BatchNorm2d, Conv2d, ConvNorm, Draw, Dropout, Fields, Init, Leaf, LeafMut, Linear, Module, Path, Scope, name_fields,
};
use cnn_core::{Backend, Conv2dOptions, Error, Pool2dOptions, Result, Var, named_fields};

/// The shape of a VGG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VggConfig {
    /// 3x3 convolutions in each of the five stages, behind which the image is halved.
    pub convolutions: [usize; 5],
    /// Whether convolutions are normalised, which the paper's are not.
    pub norm: bool,
    /// Outputs of the two dense layers before the last: the paper's 4096 have most of the network's weights.
    pub dense: usize,
}

impl VggConfig {
    /// 11 layers: the paper's A.
    pub const VGG11: Self = VggConfig { convolutions: [1, 1, 2, 2, 2], norm: false, dense: 4096 };
    /// The same, normalised.
    pub const VGG11_BN: Self = VggConfig { norm: true, ..Self::VGG11 };
    /// 16 layers: the paper's D.
    pub const VGG16: Self = VggConfig { convolutions: [2, 2, 3, 3, 3], ..Self::VGG11 };
    /// The same, normalised.
    pub const VGG16_BN: Self = VggConfig { norm: true, ..Self::VGG16 };

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(&self, channels: usize, classes: usize) -> Option<usize> {
        let (mut entering, mut inner) = (0, 0); // the image's channels apart
        for (convolutions, leaving) in self.convolutions.into_iter().zip(CHANNELS) {
            for _ in 0..convolutions {
                inner += (9 * entering + if self.norm { 3 } else { 1 }) * leaving;
                entering = leaving;
            }
        }
        let dense = (POOLED * POOLED * entering + 1).checked_add(self.dense)?.checked_add(1)?;
        let dense = dense.checked_mul(self.dense)?.checked_add(classes.checked_mul(self.dense.checked_add(1)?)?)?;
        channels.checked_mul(9 * CHANNELS[0])?.checked_add(inner)?.checked_add(dense)
    }
}

/// Of the stages.
const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];
/// Rows and columns that the dense layers see of an image of any size.
const POOLED: usize = 7;

/// VGG. State dict as torchvision's: `features`, `classifier.0`, `classifier.3`, `classifier.6`. Weights begin as torchvision's: of
/// convolutions normal with deviation sqrt(2 / fan_out), of dense layers with deviation 0.01, biases 0.
pub struct Vgg<B: Backend> {
    features: Features<B>,
    classifier: Classifier<B>,
    scope: Scope,
}

named_fields!(Vgg { features, classifier });

impl<B: Backend> Vgg<B> {
    /// Part of the outputs of each dense layer that training leaves out.
    pub const DROPOUT: f64 = 0.5;
    /// The least side of an image.
    const LEAST: usize = 32;

    /// The network for images \[height, width, channels\], which trains with this [dropout](Self::DROPOUT).
    ///
    /// # Errors
    /// An image of fewer than 32 rows or columns, of which five poolings would leave nothing.
    pub fn new(
        backend: &B,
        seed: u64,
        config: &VggConfig,
        [h, w, c]: [usize; 3],
        classes: usize,
        dropout: f64,
    ) -> Result<Self> {
        if h < Self::LEAST || w < Self::LEAST {
            return Err(Error::invalid("image", format!("{h}x{w}"), "must be at least 32x32 for five poolings"));
        }
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.dense, init.zero_biases) = (Draw::HeNormalFanOut, Draw::Normal(0.01), true);
        let (mut layers, mut place, mut entering) = (Vec::new(), 0, c);
        for (convolutions, leaving) in config.convolutions.into_iter().zip(CHANNELS) {
            for left in (0..convolutions).rev() {
                layers.push(Layer {
                    place,
                    conv: Conv2d::new(init, entering, leaving, Conv2dOptions::square(3).padding(1))?,
                    norm: config.norm.then(|| BatchNorm2d::new(init, leaving)).transpose()?,
                    pooled: left == 0,
                });
                // ReLUs, normalisations and poolings have places too.
                place += 2 + usize::from(config.norm) + usize::from(left == 0);
                entering = leaving;
            }
        }
        let classifier = Classifier {
            first: Linear::from_image(init, [POOLED, POOLED, entering], config.dense)?,
            second: Linear::new(init, config.dense, config.dense)?,
            last: Linear::new(init, config.dense, classes)?,
            dropout: [Dropout::new(dropout), Dropout::new(dropout)],
            scope: Scope::default(),
        };
        let mut model = Vgg { features: Features(layers), classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }
}

impl<B: Backend> Debug for Vgg<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vgg").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for Vgg<B> {
    /// Logits \[N, classes\].
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let mut x = x.clone();
        for layer in &mut self.features.0 {
            x = layer.forward(&x)?;
        }
        self.classifier.call(&x.adaptive_avg_pool2d([POOLED; 2])?.flatten()?)
    }
}

/// A 3x3 convolution, its normalisation if there is one, a ReLU, and behind the last of a stage a pooling.
#[derive(Debug)]
struct Layer<B: Backend> {
    /// The convolution's name below `features`; the normalisation's is the next.
    place: usize,
    conv: Conv2d<B>,
    norm: Option<BatchNorm2d<B>>,
    pooled: bool,
}

impl<B: Backend> Layer<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let y = match &mut self.norm {
            Some(norm) => ConvNorm(&mut self.conv, norm).relu(x)?,
            None => self.conv.call(x)?.relu()?,
        };
        if self.pooled { y.max_pool2d(&Pool2dOptions::square(2)) } else { Ok(y) }
    }
}

/// What stands below `features`.
struct Features<B: Backend>(Vec<Layer<B>>);

impl<B: Backend> Fields<B> for Features<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        for Layer { place, conv, norm, .. } in &self.0 {
            path.within(&place.to_string(), |path| conv.visit(path, f));
            path.within(&(place + 1).to_string(), |path| norm.visit(path, f));
        }
    }

    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        for Layer { place, conv, norm, .. } in &mut self.0 {
            path.within(&place.to_string(), |path| conv.visit_mut(path, f));
            path.within(&(*place + 1).to_string(), |path| norm.visit_mut(path, f));
        }
    }
}

/// Three dense layers; their names are their places among what has no weights.
#[derive(Debug)]
struct Classifier<B: Backend> {
    first: Linear<B>,
    second: Linear<B>,
    last: Linear<B>,
    dropout: [Dropout; 2],
    scope: Scope,
}

named_fields!(Classifier { first as "0", second as "3", last as "6" });

impl<B: Backend> Module<B> for Classifier<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let [behind_first, behind_second] = &mut self.dropout;
        let x = behind_first.call(&self.first.call(x)?.relu()?)?;
        let x = behind_second.call(&self.second.call(&x)?.relu()?)?;
        self.last.call(&x)
    }
}
