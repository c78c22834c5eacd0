//! A moving average of a model's weights.

use crate::backend::{Backend, Wide};
use crate::nn::{Fields, Leaf, LeafMut, Path};
use crate::{Error, Result};

/// The exponential moving average of weights and running statistics (Polyak & Juditsky 1992), which often answers better
/// than the weights of the last step.
///
/// Call [`Average::update`] after each step; [`Average::swap`] puts the average into the model to evaluate or save it,
/// and called again puts the trained weights back.
#[derive(Debug)]
pub struct Average<B: Backend> {
    backend: B,
    decay: f64,
    /// Of each parameter and statistic, in the order of the walk.
    values: Vec<Wide<B>>,
}

impl<B: Backend> Average<B> {
    /// An average that begins with the weights of `model`; a step leaves `decay` of it.
    ///
    /// # Errors
    /// A decay outside of \[0, 1).
    pub fn new(backend: &B, model: &(impl Fields<B> + ?Sized), decay: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::invalid("decay of the average", decay, "must be at least 0 and below 1"));
        }
        // Handles: the first update copies what it changes.
        Ok(Average { backend: backend.clone(), decay, values: values(model).into_iter().cloned().collect() })
    }

    /// Moves the average towards the weights of `model`: `average = decay * average + (1 - decay) * weights`.
    ///
    /// # Errors
    /// `model` is not the model of the average.
    pub fn update(&mut self, model: &(impl Fields<B> + ?Sized)) -> Result<()> {
        let weights = values(model);
        self.check(weights.len())?;
        for (average, weights) in self.values.iter_mut().zip(weights) {
            self.backend.blend(average, self.decay, weights, 1.0 - self.decay)?;
        }
        Ok(())
    }

    /// Exchanges the weights and statistics of `model` and the average.
    ///
    /// # Errors
    /// `model` is not the model of the average.
    pub fn swap(&mut self, model: &mut (impl Fields<B> + ?Sized)) -> Result<()> {
        self.check(values(model).len())?;
        let mut averages = self.values.iter_mut();
        model.visit_mut(&mut Path::default(), &mut |_, leaf| {
            let value = match leaf {
                LeafMut::Param(parameter) => parameter.value_mut(),
                LeafMut::Statistic(statistic) => statistic.value_mut(),
                LeafMut::Count(_) | LeafMut::Scope(_) => return,
            };
            averages.next().into_iter().for_each(|average| std::mem::swap(average, value));
        });
        Ok(())
    }

    fn check(&self, arrays: usize) -> Result<()> {
        if arrays == self.values.len() {
            return Ok(());
        }
        let rule = format!("must be the model of the average, which has {}", self.values.len());
        Err(Error::invalid("model with arrays", arrays, rule))
    }
}

/// Weights and statistics in the order of the walk.
fn values<B: Backend>(model: &(impl Fields<B> + ?Sized)) -> Vec<&Wide<B>> {
    let mut found = Vec::new();
    model.visit(&mut Path::default(), &mut |_, leaf| match leaf {
        Leaf::Param(parameter) => found.push(parameter.value()),
        Leaf::Statistic(statistic) => found.push(statistic.value()),
        Leaf::Count(_) => {}
    });
    found
}
