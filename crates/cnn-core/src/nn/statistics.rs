//! Running statistics taken back: a step that is refused shall leave nothing.

use crate::backend::{Backend, Wide};
use crate::error::{Error, Result};
use crate::nn::fields::{Fields, Leaf, LeafMut, Path};
use crate::nn::param::Count;

/// The running statistics of a model at one time, and how many batches they have seen. They are handles: the values are
/// copied when the model's move on, and never if they do not.
#[derive(Clone, Debug)]
pub struct RunningStatistics<B: Backend> {
    values: Vec<Wide<B>>,
    counts: Vec<Count>,
}

impl<B: Backend> RunningStatistics<B> {
    /// Those of `model`.
    pub fn of(model: &(impl Fields<B> + ?Sized)) -> Self {
        let mut found = RunningStatistics { values: Vec::new(), counts: Vec::new() };
        model.visit(&mut Path::default(), &mut |_, leaf| match leaf {
            Leaf::Statistic(statistic) => found.values.push(statistic.value().clone()),
            Leaf::Count(count) => found.counts.push(count),
            Leaf::Param(_) => {}
        });
        found
    }

    /// Gives them back to the model that they are of.
    ///
    /// # Errors
    /// A model with another number of them; it is not changed.
    pub fn put_back(&self, model: &mut (impl Fields<B> + ?Sized)) -> Result<()> {
        let other = RunningStatistics::of(&*model);
        let counts = |of: &Self| (of.values.len(), of.counts.len());
        if counts(&other) != counts(self) {
            let rule = format!("must be the {} of the model that they are of", self.values.len());
            return Err(Error::invalid("running statistics", other.values.len(), rule));
        }
        let (mut values, mut counts) = (self.values.iter(), self.counts.iter());
        model.visit_mut(&mut Path::default(), &mut |_, leaf| match leaf {
            LeafMut::Statistic(statistic) => {
                values.next().into_iter().for_each(|value| *statistic.value_mut() = value.clone())
            }
            LeafMut::Count(count) => counts.next().into_iter().for_each(|value| *count = *value),
            LeafMut::Param(_) | LeafMut::Scope(_) => {}
        });
        Ok(())
    }
}
