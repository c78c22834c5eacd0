//! Which parameters stay as they are, epoch by epoch.

use cnn_core::nn::{LeafMut, Module, Path, parameters};
use cnn_core::optim::Group;
use cnn_core::pretrained::head;
use cnn_core::{Backend, names};

use crate::blocks::Blocks;
use crate::recipe::{BACKBONE, HEAD};
use crate::{Error, FreezeRecipe, Recipe, Result};

/// What a recipe freezes of a model.
pub(super) struct Freezing {
    tables: Vec<FreezeRecipe>,
    /// What the names of the last layer's parameters begin with.
    head: String,
    /// Which parameters the model itself trains: what is thawed was not frozen by it.
    trained: Vec<bool>,
}

impl Freezing {
    /// What the tables of `recipe` and its gradual unfreezing mean for `model`.
    ///
    /// # Errors
    /// A pattern that matches none of its parameters, more parts to be thawed than it has blocks, and an epoch in which nothing is left to
    /// train.
    pub(super) fn new<B: Backend>(model: &dyn Module<B>, recipe: &Recipe) -> Result<Self> {
        let head = head(model).unwrap_or_default();
        let trained = parameters(model).iter().map(|parameter| parameter.requires_grad()).collect();
        for FreezeRecipe { pattern, .. } in &recipe.freeze {
            matching(model, "freeze", pattern, |name| matches(pattern, name, &head))?;
        }
        let gradual = Blocks::of(model, &head).unfreezing(&recipe.unfreeze)?;
        let tables = recipe.freeze.iter().cloned().chain(gradual).collect();
        let freezing = Freezing { tables, head, trained };
        freezing.leaves_something(model, recipe.all_epochs())?;
        Ok(freezing)
    }

    /// Refuses a run of so many epochs in one of which every parameter is frozen.
    fn leaves_something<B: Backend>(&self, model: &dyn Module<B>, epochs: u32) -> Result<()> {
        let changes = self.tables.iter().flat_map(|table| [table.before_epochs, table.after_epochs]);
        let names: Vec<&str> = parameters(model).iter().map(|parameter| parameter.name()).collect();
        for epoch in [0].into_iter().chain(changes.flatten()).filter(|epoch| *epoch < epochs) {
            let trains = |(name, trained): (&&str, &bool)| *trained && !self.holds(name, epoch, false);
            if !self.tables.is_empty() && !names.iter().zip(&self.trained).any(trains) {
                let patterns: Vec<&str> = self.tables.iter().take(3).map(|table| &*table.pattern).collect();
                let rule = format!("leaves nothing to train in epoch {}", epoch + 1);
                return Err(Error::recipe("freeze", patterns.join(", "), rule));
            }
        }
        Ok(())
    }

    /// Whether a parameter stays as it is in an epoch; or the statistics beside it.
    fn holds(&self, name: &str, epoch: u32, statistics: bool) -> bool {
        let holds = |table: &&FreezeRecipe| table.holds(epoch) && (table.statistics || !statistics);
        self.tables.iter().filter(holds).any(|table| matches(&table.pattern, name, &self.head))
    }

    /// What the names of the last layer's parameters begin with.
    pub(super) fn head(&self) -> &str {
        &self.head
    }

    /// Freezes what stays as it is in an epoch, counted from 0, and thaws what does not.
    pub(super) fn apply<B: Backend>(&self, model: &mut dyn Module<B>, epoch: u32) {
        let named = |name: &str| self.tables.iter().any(|table| matches(&table.pattern, name, &self.head));
        let mut trained = self.trained.iter();
        model.visit_mut(&mut Path::default(), &mut |path, leaf| match leaf {
            LeafMut::Param(parameter) => {
                let trained = trained.next().is_none_or(|trained| *trained);
                if named(parameter.name()) {
                    parameter.set_requires_grad(trained && !self.holds(path.as_str(), epoch, false));
                }
            }
            LeafMut::Statistic(statistic) => {
                // It belongs to the weight beside it.
                let layer = path.as_str().rsplit_once('.').map_or("", |(layer, _)| layer);
                let weight = format!("{layer}.weight");
                if named(&weight) {
                    statistic.set_frozen(self.holds(&weight, epoch, true));
                }
            }
            _ => {}
        });
    }
}

/// Whether a pattern is one of the parameter's called `name`.
fn matches(pattern: &str, name: &str, head: &str) -> bool {
    match pattern {
        HEAD => name.starts_with(head),
        BACKBONE => !name.starts_with(head),
        _ => Group::new(pattern, 1.0).matches(name),
    }
}

/// Refuses a pattern of `table` that matches none of the model's parameters.
pub(super) fn matching<B: Backend>(
    model: &dyn Module<B>,
    table: &str,
    pattern: &str,
    matches: impl Fn(&str) -> bool,
) -> Result<()> {
    let known: Vec<&str> = parameters(model).iter().map(|parameter| parameter.name()).collect();
    match known.iter().any(|name| matches(name)) {
        true => Ok(()),
        false => Err(Error::recipe(table, pattern, names::no_parameter(pattern, &known))),
    }
}
