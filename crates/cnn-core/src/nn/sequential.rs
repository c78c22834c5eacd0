//! Modules one after the other.

use std::fmt::{Debug, Formatter};

use crate::nn::{Fields, Leaf, LeafMut, Module, Path, Scope};
use crate::{Backend, Result, Var};

/// Runs modules in order; their names are their positions, as in PyTorch, or those that they are given.
#[derive(Default)]
pub struct Sequential<B: Backend> {
    layers: Vec<(String, Box<dyn Module<B> + Send>)>,
    scope: Scope,
}

impl<B: Backend> Sequential<B> {
    /// No modules yet: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new(), scope: Scope::default() }
    }

    /// With one more module at the end.
    #[must_use]
    pub fn push(self, layer: impl Module<B> + Send + 'static) -> Self {
        let position = self.layers.len().to_string();
        self.push_named(position, layer)
    }

    /// With one more module at the end, by a name that no other of them has: PyTorch's `add_module`.
    #[must_use]
    pub fn push_named(mut self, name: impl Into<String>, layer: impl Module<B> + Send + 'static) -> Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }
}

impl<B: Backend> Fields<B> for Sequential<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        self.layers.iter().for_each(|(name, layer)| path.within(name, |path| layer.visit(path, f)));
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        f(path, LeafMut::Scope(&mut self.scope));
        self.layers.iter_mut().for_each(|(name, layer)| path.within(name, |path| layer.visit_mut(path, f)));
    }
    fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl<B: Backend> Module<B> for Sequential<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.layers.iter_mut().try_fold(x.clone(), |x, (_, layer)| layer.call(&x))
    }
}

impl<B: Backend> Debug for Sequential<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sequential of {} modules", self.layers.len())
    }
}
