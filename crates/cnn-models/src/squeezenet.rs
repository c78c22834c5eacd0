//! SqueezeNet 1.1 (F. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016; 1.1:
//! the authors, later that year), with torchvision's names.

use std::fmt::{Debug, Formatter};

use cnn_core::nn::{Conv2d, Draw, Dropout, Init, MaxPool2d, Module, Relu, Scope, Sequential, name_fields};
use cnn_core::{Backend, Conv2dOptions, Error, Pool2dOptions, Result, Var, named_fields};

const STEM: usize = 64;

/// Channels of the fire modules between the poolings: squeezed, and leaving.
const STAGES: [&[[usize; 2]]; 3] =
    [&[[16, 128], [16, 128]], &[[32, 256], [32, 256]], &[[48, 384], [48, 384], [64, 512], [64, 512]]];
/// Of what leaves the last of them.
const LAST: usize = 512;

/// SqueezeNet 1.1, whose last layer is a convolution. State dict as torchvision's: `features`, `classifier.1`. Weights begin as
/// torchvision's: uniform up to sqrt(6 / fan_in), of the last convolution normal with deviation 0.01, biases 0.
pub struct SqueezeNet<B: Backend> {
    features: Sequential<B>,
    classifier: Classifier<B>,
    scope: Scope,
}

named_fields!(SqueezeNet { features, classifier });

impl<B: Backend> SqueezeNet<B> {
    /// Part of the features in front of the last layer that training leaves out.
    pub const DROPOUT: f64 = 0.5;
    /// The least side of an image: its last pooling has a pixel then.
    const LEAST: usize = 17;

    /// The network for images \[height, width, channels\], which trains with this [dropout](Self::DROPOUT).
    ///
    /// # Errors
    /// An image of fewer than 17 rows or columns, of which the first convolution and three poolings would leave nothing.
    pub fn new(backend: &B, seed: u64, [h, w, c]: [usize; 3], classes: usize, dropout: f64) -> Result<Self> {
        if h < Self::LEAST || w < Self::LEAST {
            let rule = "must be at least 17x17 for a 3x3 convolution and three poolings";
            return Err(Error::invalid("image", format!("{h}x{w}"), rule));
        }
        let init = &mut Init::new(backend, seed);
        (init.convolutions, init.zero_biases) = (Draw::HeUniform, true);
        let stem = Conv2d::new(init, c, STEM, Conv2dOptions::square(3).stride(2))?;
        let (mut features, mut entering) = (Sequential::new().push(stem).push(Relu::default()), STEM);
        let pool = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::square(3).stride(2) };
        for stage in STAGES {
            features = features.push(MaxPool2d::new(pool));
            for &[squeezed, leaving] in stage {
                features = features.push(Fire::new(init, [entering, squeezed, leaving])?);
                entering = leaving;
            }
        }
        init.convolutions = Draw::Normal(0.01);
        let last = Conv2d::new(init, entering, classes, Conv2dOptions::square(1))?;
        let classifier = Classifier { dropout: Dropout::new(dropout), last, scope: Scope::default() };
        let mut model = SqueezeNet { features, classifier, scope: Scope::default() };
        name_fields(&mut model);
        Ok(model)
    }

    /// How many weights the network has, without making it.
    pub(crate) fn parameter_count(channels: usize, classes: usize) -> Option<usize> {
        let (mut entering, mut inner) = (STEM, STEM);
        for [squeezed, leaving] in STAGES.into_iter().flatten().copied() {
            // Half of what leaves are of 1x1 filters, half of 3x3 ones.
            inner += (entering + 1) * squeezed + (5 * squeezed + 1) * leaving;
            entering = leaving;
        }
        channels.checked_mul(9 * STEM)?.checked_add(inner)?.checked_add(classes.checked_mul(LAST + 1)?)
    }
}

impl<B: Backend> Debug for SqueezeNet<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqueezeNet").finish_non_exhaustive()
    }
}

impl<B: Backend> Module<B> for SqueezeNet<B> {
    /// Logits \[N, classes\], none below 0.
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.classifier.call(&self.features.call(x)?)
    }
}

/// Dropout, and a 1x1 convolution to the classes, whose outputs are averaged.
#[derive(Debug)]
struct Classifier<B: Backend> {
    dropout: Dropout,
    last: Conv2d<B>,
    scope: Scope,
}

named_fields!(Classifier { last as "1" });

impl<B: Backend> Module<B> for Classifier<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.last.call(&self.dropout.call(x)?)?.relu()?.global_avg_pool2d()?.flatten()
    }
}

/// A fire module: a 1x1 convolution to few channels, and of those a 1x1 and a 3x3 one side by side.
#[derive(Debug)]
struct Fire<B: Backend> {
    squeeze: Conv2d<B>,
    expand1x1: Conv2d<B>,
    expand3x3: Conv2d<B>,
    scope: Scope,
}

named_fields!(Fire { squeeze, expand1x1, expand3x3 });

impl<B: Backend> Fire<B> {
    fn new(init: &mut Init<'_, B>, [entering, squeezed, leaving]: [usize; 3]) -> Result<Self> {
        let conv1x1 = Conv2dOptions::square(1);
        Ok(Fire {
            squeeze: Conv2d::new(init, entering, squeezed, conv1x1)?,
            expand1x1: Conv2d::new(init, squeezed, leaving / 2, conv1x1)?,
            expand3x3: Conv2d::new(init, squeezed, leaving / 2, Conv2dOptions::square(3).padding(1))?,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Fire<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.squeeze.call(x)?.relu()?;
        Var::concat(&[&self.expand1x1.call(&x)?.relu()?, &self.expand3x3.call(&x)?.relu()?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cnn_core::Naive;
    use cnn_core::nn::parameters;
    use cnn_core::pretrained::{Head, load_pretrained};
    use cnn_core::state_dict::{Naming, state_dict};

    #[test]
    fn weights_of_other_classes_give_all_but_the_last_convolution() {
        let backend = Naive::<f32>::new();
        let make = |seed, classes| SqueezeNet::new(&backend, seed, [17, 17, 3], classes, 0.5).unwrap();
        let weights = |model: &SqueezeNet<_>| state_dict(&backend, model, Naming::Torchvision).unwrap();
        let (source, mut model) = (weights(&make(1, 5)), make(2, 3));
        let before = weights(&model);
        let taken = load_pretrained(&backend, &mut model, &source, Head::IfItFits).unwrap();
        assert_eq!(taken.new, ["classifier.1.weight", "classifier.1.bias"]);
        assert_eq!(taken.taken, parameters(&model).len() - 2);
        assert!(taken.unexpected.is_empty() && taken.missing.is_empty(), "{taken:?}");
        for (name, array) in &weights(&model).arrays {
            let from = if name.starts_with("classifier.1.") { &before } else { &source };
            assert!(*array == from.arrays[name], "{name}");
        }
    }
}
