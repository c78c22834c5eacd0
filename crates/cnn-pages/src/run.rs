//! What a run's folder says of the run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnn_train::{Error, Recipe, Result, RunFolder};
use serde_json::{Map, Value};

/// The file in a run's folder that says on what machine it was made: any names with their values, which pages show as they are.
pub const MACHINE: &str = "machine.json";

/// A run as its folder tells it. What a run that has not ended has not written is missing.
#[derive(Clone, Debug)]
pub struct Run {
    /// Name of the folder.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// How it was made.
    pub recipe: Recipe,
    /// A row of `metrics.csv` for each epoch, in order.
    pub epochs: Vec<Epoch>,
    /// `results.json`, once the run has ended.
    pub results: Option<Map<String, Value>>,
    /// [`MACHINE`], if it was written.
    pub machine: Option<Map<String, Value>>,
}

/// A row of `metrics.csv`. What is not there is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub epoch: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean over the epoch.
    pub train_loss: f64,
    /// Mean over the epoch, of 1.
    pub train_accuracy: f64,
    /// On the images held out.
    pub validation_loss: f64,
    /// On the images held out.
    pub validation_accuracy: f64,
    /// On the images held out, where they may have several labels.
    pub validation_mean_average_precision: f64,
    /// Spent in training.
    pub seconds: f64,
    /// In training.
    pub images_per_second: f64,
}

impl Run {
    /// Reads the folder at `path`.
    ///
    /// # Errors
    /// It is not the folder of a run, or a file in it cannot be read or is not what it should be.
    pub fn read(path: &Path) -> Result<Run> {
        if !RunFolder::holds_run(path) {
            return Err(wrong(path, "is not the folder of a run: it has no recipe.toml"));
        }
        let file = path.join("recipe.toml");
        let text = read(&file)?.unwrap_or_default();
        let recipe = Recipe::from_toml(&text).map_err(|error| wrong(&file, error))?;
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned();
        let object = |name: &str| -> Result<Option<Map<String, Value>>> {
            let file = path.join(name);
            let Some(text) = read(&file)? else { return Ok(None) };
            match serde_json::from_str(&text) {
                Ok(Value::Object(object)) => Ok(Some(object)),
                Ok(_) => Err(wrong(&file, "must be a JSON object")),
                Err(error) => Err(wrong(&file, error)),
            }
        };
        let epochs = read(&path.join("metrics.csv"))?.map_or_else(Vec::new, |text| epochs(&text));
        Ok(Run {
            name,
            path: path.to_owned(),
            recipe,
            epochs,
            results: object("results.json")?,
            machine: object(MACHINE)?,
        })
    }

    /// A number of `results.json`.
    pub fn result(&self, field: &str) -> Option<f64> {
        self.results.as_ref()?.get(field)?.as_f64()
    }

    /// Time spent in training, over all epochs that are complete.
    pub fn training_seconds(&self) -> Option<f64> {
        let seconds: Vec<f64> =
            self.epochs.iter().map(|epoch| epoch.seconds).filter(|seconds| seconds.is_finite()).collect();
        (!seconds.is_empty()).then(|| seconds.iter().sum())
    }

    /// Accuracy by epoch: on the images held out, if there are any, else on those that were trained on.
    pub(crate) fn accuracies(&self) -> Vec<(f64, f64)> {
        let held_out = self.epochs.iter().any(|epoch| epoch.validation_accuracy.is_finite());
        let accuracy = |row: &Epoch| if held_out { row.validation_accuracy } else { row.train_accuracy };
        self.epochs.iter().map(|row| (row.epoch, accuracy(row))).collect()
    }

    /// Whether `other` is a run by the same recipe, but for its seed, and for how often it was saved and where its data lay.
    pub fn is_again(&self, other: &Run) -> bool {
        let plain = |recipe: &Recipe| Recipe { seed: 0, checkpoint_minutes: 0.0, data_path: None, ..recipe.clone() };
        plain(&self.recipe) == plain(&other.recipe)
    }
}

/// The text of a file, if it is there.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(path, error)),
    }
}

/// The file at `path` is wrong for `reason`.
pub(crate) fn wrong(path: &Path, reason: impl ToString) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_string() }
}

/// The rows of `metrics.csv` by the names in its first line. A line that was cut off as a run was killed has fewer fields, and
/// is not a row.
fn epochs(text: &str) -> Vec<Epoch> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != names.len() {
            return None;
        }
        let value = |name: &str| {
            let at = names.iter().position(|other| *other == name);
            at.and_then(|at| fields[at].parse().ok()).unwrap_or(f64::NAN)
        };
        Some(Epoch {
            epoch: value("epoch"),
            lr: value("lr"),
            train_loss: value("train_loss"),
            train_accuracy: value("train_accuracy"),
            validation_loss: value("validation_loss"),
            validation_accuracy: value("validation_accuracy"),
            validation_mean_average_precision: value("validation_mean_average_precision"),
            seconds: value("seconds"),
            images_per_second: value("images_per_second"),
        })
    };
    lines.filter_map(row).filter(|row| row.epoch.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_by_their_names() {
        let rows = epochs("epoch,lr,seconds,train_loss\n1,0.5,2,1.5\n2,0.1,\n3,0.1,2,\n");
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!((rows[0].lr, rows[0].train_loss, rows[1].epoch), (0.5, 1.5, 3.0));
        assert!(rows[1].train_loss.is_nan() && rows[0].validation_loss.is_nan());
    }
}
