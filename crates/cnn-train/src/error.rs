//! The one error type of training: one line that names the file, step or layer, the value and the rule.

use std::path::PathBuf;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run could not start or go on.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a recipe breaks a rule.
    #[error("{field} {value}: {rule}")]
    Recipe {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// A file that should be part of a run is not what it should be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Loss or gradients stopped being numbers; the weights were not touched.
    #[error("epoch {epoch}, step {step}: {what} is not finite{place}; the weights are those of the step before")]
    NotFinite {
        /// From 1.
        epoch: u32,
        /// Within the run, from 1.
        step: u64,
        /// The loss, or a gradient.
        what: String,
        /// Where it was first seen.
        place: String,
    },
    /// What a model computes of an image is no number: its weights are of no use.
    #[error("{image}: the logits are not finite: the weights are of no use, as of a training that diverged")]
    NotFiniteLogits {
        /// The image, as messages call it.
        image: String,
    },
    /// The model or the device refused.
    #[error(transparent)]
    Core(#[from] cnn_core::Error),
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] cnn_data::Error),
}

/// The line that is displayed: it is what a `main` that returns the error prints.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Field `field` has `value`, which breaks `rule`.
    pub(crate) fn recipe(field: &str, value: impl ToString, rule: impl ToString) -> Self {
        Error::Recipe { field: field.to_owned(), value: value.to_string(), rule: rule.to_string() }
    }

    /// The file at `path` is wrong for `reason`.
    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Error::File { path: path.into(), reason: reason.to_string() }
    }
}
