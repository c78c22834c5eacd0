//! A moving average of a model's weights.

use crate::backend::{Backend, Wide};
use crate::nn::{Fields, Key, Leaf, LeafMut, Path};
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
    /// Which parameters they are of; none for a statistic.
    keys: Vec<Option<Key>>,
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
        let (keys, values) = arrays(model).into_iter().map(|(key, values)| (key.cloned(), values.clone())).unzip();
        Ok(Average { backend: backend.clone(), decay, values, keys })
    }

    /// Moves the average towards the weights of `model`: `average = decay * average + (1 - decay) * weights`.
    ///
    /// # Errors
    /// `model` is not the model of the average, or was named anew: nothing has moved then.
    pub fn update(&mut self, model: &(impl Fields<B> + ?Sized)) -> Result<()> {
        self.update_by(model, self.decay)
    }

    /// The same with another decay, from 0 to 1.
    ///
    /// # Errors
    /// As of [`Average::update`], and a decay that is none.
    pub fn update_by(&mut self, model: &(impl Fields<B> + ?Sized), decay: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&decay) {
            return Err(Error::invalid("decay of the average", decay, "must be from 0 to 1"));
        }
        let arrays = arrays(model);
        self.check(&arrays)?;
        for (average, (_, weights)) in self.values.iter_mut().zip(arrays) {
            self.backend.blend(average, decay, weights, 1.0 - decay)?;
        }
        Ok(())
    }

    /// Sets the weights and statistics of `model` to the average: after some [updates](Average::update_by), Lookahead's "k
    /// steps forward, 1 step back" (M. Zhang et al., 2019).
    ///
    /// # Errors
    /// As of [`Average::update`].
    pub fn put(&self, model: &mut (impl Fields<B> + ?Sized)) -> Result<()> {
        self.check(&arrays(model))?;
        let mut averages = self.values.iter();
        // Handles: the next step copies what it changes.
        each(model, |value| averages.next().into_iter().for_each(|average| *value = average.clone()));
        Ok(())
    }

    /// Exchanges the weights and statistics of `model` and the average.
    ///
    /// # Errors
    /// As of [`Average::update`].
    pub fn swap(&mut self, model: &mut (impl Fields<B> + ?Sized)) -> Result<()> {
        self.check(&arrays(model))?;
        let mut averages = self.values.iter_mut();
        each(model, |value| averages.next().into_iter().for_each(|average| std::mem::swap(average, value)));
        Ok(())
    }

    /// Refuses arrays of another model, or of other lengths.
    fn check(&self, arrays: &[(Option<&Key>, &Wide<B>)]) -> Result<()> {
        if !arrays.iter().map(|(key, _)| *key).eq(self.keys.iter().map(Option::as_ref)) {
            let rule = "must be the one that the average is of, in the names that it had then";
            return Err(Error::invalid("model with", format!("{} arrays", arrays.len()), rule));
        }
        for (i, ((_, values), average)) in arrays.iter().zip(&self.values).enumerate() {
            let [len, expected] = [values, average].map(|values| self.backend.len(values));
            if len != expected {
                let rule = format!("must be {expected}, as in the average");
                return Err(Error::invalid(format!("length of array {i} of the model"), len, rule));
            }
        }
        Ok(())
    }
}

/// Weights, by their keys, and statistics in the order of the walk.
fn arrays<B: Backend>(model: &(impl Fields<B> + ?Sized)) -> Vec<(Option<&Key>, &Wide<B>)> {
    let mut found = Vec::new();
    model.visit(&mut Path::default(), &mut |_, leaf| match leaf {
        Leaf::Param(parameter) => found.push((parameter.place(), parameter.value())),
        Leaf::Statistic(statistic) => found.push((None, statistic.value())),
        Leaf::Count(_) => {}
    });
    found
}

/// Weights and statistics in the order of the walk, to be changed.
fn each<B: Backend>(model: &mut (impl Fields<B> + ?Sized), mut change: impl FnMut(&mut Wide<B>)) {
    model.visit_mut(&mut Path::default(), &mut |_, leaf| match leaf {
        LeafMut::Param(parameter) => change(parameter.value_mut()),
        LeafMut::Statistic(statistic) => change(statistic.value_mut()),
        LeafMut::Count(_) | LeafMut::Scope(_) => {}
    });
}
