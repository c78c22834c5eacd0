//! Modules one after the other.

use std::fmt::{Debug, Formatter};

use crate::nn::{Fields, Leaf, LeafMut, Module, Path, Scope};
use crate::{Backend, Result, Var};

/// Runs modules in order; their names are their positions, as in PyTorch.
#[derive(Default)]
pub struct Sequential<B: Backend> {
    layers: Vec<Box<dyn Module<B> + Send>>,
    scope: Scope,
}

impl<B: Backend> Sequential<B> {
    /// No modules yet: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new(), scope: Scope::default() }
    }

    /// With one more module at the end.
    #[must_use]
    pub fn push(mut self, layer: impl Module<B> + Send + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }
}

impl<B: Backend> Fields<B> for Sequential<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        self.layers.visit(path, f);
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        f(path, LeafMut::Scope(&mut self.scope));
        self.layers.visit_mut(path, f);
    }
    fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl<B: Backend> Module<B> for Sequential<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.layers.iter_mut().try_fold(x.clone(), |x, layer| layer.call(&x))
    }
}

impl<B: Backend> Debug for Sequential<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sequential of {} modules", self.layers.len())
    }
}
