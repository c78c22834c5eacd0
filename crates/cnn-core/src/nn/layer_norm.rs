//! Layer normalisation, and the scale of a branch that stands behind one.

use crate::nn::{Fields, Init, Kind, Leaf, LeafMut, Module, Param, Path, Scope};
use crate::ops::layer_norm::{LayerNormParams, layer_norm};
use crate::ops::layer_scale::layer_scale;
use crate::{Backend, Result, Shape, Var, named_fields};

/// Normalises the channels of each pixel, or of each row, by their own mean and variance: in training as in evaluation. PyTorch's
/// `LayerNorm(C)`, and torchvision's `LayerNorm2d`. State dict: `weight`, `bias`.
#[derive(Debug)]
pub struct LayerNorm<B: Backend> {
    /// Scale \[C\].
    pub weight: Param<B>,
    /// Shift \[C\].
    pub bias: Param<B>,
    /// Added to the variance.
    pub eps: f64,
    scope: Scope,
}

named_fields!(LayerNorm { weight, bias });

impl<B: Backend> LayerNorm<B> {
    /// Scale 1, shift 0; `eps` is added to the variance: PyTorch's default is 1e-5.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(init: &mut Init<'_, B>, channels: usize, eps: f64) -> Result<Self> {
        let shape = Shape::new(&[channels])?;
        let weight = init.constant(shape, 1.0, Kind::NormScale)?;
        Ok(LayerNorm { weight, bias: init.constant(shape, 0.0, Kind::NormShift)?, eps, scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for LayerNorm<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let (gamma, beta) = (self.weight.learned(x.pass())?, self.bias.learned(x.pass())?);
        layer_norm(x, LayerNormParams { gamma, beta, eps: self.eps })
    }
}

/// Each channel times a learned factor, by which a branch begins as next to nothing (H. Touvron et al., "Going deeper with Image
/// Transformers", 2021). State dict: the factors \[C, 1, 1\] under the layer's own name, as torchvision's `layer_scale`.
#[derive(Debug)]
pub struct LayerScale<B: Backend> {
    /// \[C, 1, 1\].
    pub factors: Param<B>,
    scope: Scope,
}

impl<B: Backend> LayerScale<B> {
    /// All factors begin as `value`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(init: &mut Init<'_, B>, channels: usize, value: f64) -> Result<Self> {
        let factors = init.constant(Shape::new(&[channels, 1, 1])?, value, Kind::NormScale)?;
        Ok(LayerScale { factors, scope: Scope::default() })
    }
}

/// A parameter with a scope: it has the name that a field of the module would be in.
impl<B: Backend> Fields<B> for LayerScale<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        self.factors.visit(path, f);
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        f(path, LeafMut::Scope(&mut self.scope));
        self.factors.visit_mut(path, f);
    }
    fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl<B: Backend> Module<B> for LayerScale<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        layer_scale(x, self.factors.learned(x.pass())?)
    }
}
