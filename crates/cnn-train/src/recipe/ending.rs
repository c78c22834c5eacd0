//! What ends a run before its last epoch, and what comes after that.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{Error, Recipe, Result};

/// A run ends where it gets no better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStoppingRecipe {
    /// Epochs in a row that may pass without a better figure.
    pub patience: u32,
    /// Which figure, of the images held out.
    #[serde(default)]
    pub by: Monitor,
}

/// A figure of the images held out, by which epochs are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monitor {
    /// Their mean loss, the smaller the better.
    Loss,
    /// The part of them that is correct, the larger the better.
    #[default]
    Accuracy,
}

/// Epochs that were added to a run, and the step at which that was decided: from there on the rates are those of the longer
/// run. A run that has this in its recipe from its start makes the same steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionRecipe {
    /// Steps that were made before.
    pub after_steps: u64,
    /// Epochs that were added.
    pub epochs: u32,
}

impl Recipe {
    /// Epochs in all, as far as step `step`, counted from 0, could know.
    pub(crate) fn epochs_at(&self, step: u64) -> u32 {
        let added = self.extended.iter().filter(|added| added.after_steps <= step).map(|added| added.epochs);
        added.fold(self.epochs, u32::saturating_add)
    }

    /// Epochs in all, those that were added among them.
    pub fn all_epochs(&self) -> u32 {
        self.epochs_at(u64::MAX)
    }

    /// The recipe without what was decided behind its first `steps` steps.
    pub(super) fn before(&self, steps: u64) -> Recipe {
        let mut recipe = self.clone();
        recipe.extended.retain(|added| added.after_steps < steps);
        recipe
    }

    /// Refuses what no run can end by.
    pub(super) fn check_ending(&self) -> Result<()> {
        if let Some(EarlyStoppingRecipe { patience: 0, .. }) = self.early_stopping {
            return Err(Error::recipe("early_stopping.patience", 0, "must be at least 1"));
        }
        if self.extended.iter().any(|added| added.epochs == 0) {
            return Err(Error::recipe("extended.epochs", 0, "must be at least 1"));
        }
        if let Some(pair) = self.extended.windows(2).find(|pair| pair[0].after_steps > pair[1].after_steps) {
            let rule = format!("must be at least {}, that of the one before", pair[0].after_steps);
            return Err(Error::recipe("extended.after_steps", pair[1].after_steps, rule));
        }
        let epochs = self.extended.iter().map(|added| u64::from(added.epochs)).sum::<u64>() + u64::from(self.epochs);
        match u32::try_from(epochs) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::recipe("epochs", epochs, format!("must be at most {} in all", u32::MAX))),
        }
    }
}

/// The first key whose values differ, with both.
pub(super) fn difference(one: &Recipe, other: &Recipe) -> Option<String> {
    if one == other {
        return None;
    }
    let table = |recipe: &Recipe| Table::try_from(recipe).unwrap_or_default();
    let (one, other) = (table(one), table(other));
    Some(first_difference("", &one, &other).unwrap_or_else(|| "a value differs in its last bits".to_owned()))
}

fn first_difference(prefix: &str, one: &Table, other: &Table) -> Option<String> {
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    keys.filter(|key| one.get(*key) != other.get(*key)).find_map(|key| {
        let name = format!("{prefix}{key}");
        match (one.get(key), other.get(key)) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => first_difference(&format!("{name}."), one, other),
            (here, there) => {
                let text = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
                Some(format!("{name} {} there, {} here", text(there), text(here)))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe::default_for("small", "shapes").unwrap()
    }

    #[test]
    fn a_run_is_as_long_as_it_was_known_to_be() {
        let added = |after_steps, epochs| ExtensionRecipe { after_steps, epochs };
        let extended = Recipe { epochs: 10, extended: vec![added(30, 2), added(50, 3)], ..recipe() };
        assert_eq!([0, 29, 30, 49, 50, 99].map(|step| extended.epochs_at(step)), [10, 10, 12, 12, 15, 15]);
        assert_eq!(extended.schedule(5, 29), Recipe { epochs: 10, ..recipe() }.schedule(5, 29));
        assert_eq!(extended.schedule(5, 50).total, 75);
        assert_eq!(Recipe::from_toml(&extended.to_toml().unwrap()).unwrap(), extended);
        let error = |extended| Recipe { extended, ..recipe() }.check().unwrap_err().to_string();
        assert_eq!(error(vec![added(0, 0)]), "extended.epochs 0: must be at least 1");
        assert_eq!(
            error(vec![added(9, 1), added(8, 1)]),
            "extended.after_steps 8: must be at least 9, that of the one before"
        );
        assert_eq!(error(vec![added(9, u32::MAX)]), "epochs 4294967301: must be at most 4294967295 in all");
    }

    #[test]
    fn what_differs_is_named_by_its_key() {
        let changed = |change: &dyn Fn(&mut Recipe)| {
            let mut other = recipe();
            change(&mut other);
            recipe().difference(&other, 50)
        };
        assert_eq!(changed(&|_| {}), None);
        assert_eq!(changed(&|other| other.optimizer.lr = 0.5).unwrap(), "optimizer.lr 0.5 there, 0.05 here");
        assert_eq!(changed(&|other| other.epochs = 7).unwrap(), "epochs 7 there, 6 here");
        let stop = Some(EarlyStoppingRecipe { patience: 3, by: Monitor::Loss });
        let difference = changed(&|other| other.early_stopping = stop.clone()).unwrap();
        assert!(difference.starts_with("early_stopping ") && difference.ends_with("not set here"), "{difference}");
        // What does not count, and an extension before and behind what is done.
        assert_eq!(changed(&|other| (other.max_seconds, other.checkpoint_minutes) = (Some(9.0), 1.0)), None);
        let extend = |other: &mut Recipe, after_steps| other.extended.push(ExtensionRecipe { after_steps, epochs: 1 });
        assert_eq!(changed(&|other| extend(other, 50)), None);
        assert!(changed(&|other| extend(other, 49)).unwrap().starts_with("extended "));
    }

    #[test]
    fn patience_is_at_least_an_epoch() {
        let stopping = |by| Recipe { early_stopping: Some(EarlyStoppingRecipe { patience: 2, by }), ..recipe() };
        for by in [Monitor::Loss, Monitor::Accuracy] {
            assert_eq!(Recipe::from_toml(&stopping(by).to_toml().unwrap()).unwrap(), stopping(by));
        }
        let text = stopping(Monitor::Accuracy).to_toml().unwrap();
        let error = Recipe::from_toml(&text.replace("patience = 2", "patience = 0")).unwrap_err().to_string();
        assert_eq!(error, "early_stopping.patience 0: must be at least 1");
    }
}
