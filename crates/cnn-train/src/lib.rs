//! The training loop as a library.
//!
//! A [`Recipe`] says everything that decides a run; a [`Trainer`] follows it and leaves a [`RunFolder`] with weights,
//! state and metrics; a [`Classifier`] is what a weights file becomes again: it evaluates, predicts and exports.
#![forbid(unsafe_code)]

mod checkpoint;
mod classifier;
mod diagnose;
mod error;
mod evaluation;
mod feed;
mod recipe;
mod run_folder;
mod trainer;
mod weights;

pub use classifier::Classifier;
pub use error::{Error, Result};
pub use evaluation::{EVALUATION_BATCH, Evaluation};
pub use recipe::{
    AugmentRecipe, BorderRecipe, OptimizerKind, OptimizerRecipe, Precision, Recipe, ScheduleKind, ScheduleRecipe,
};
pub use run_folder::{RunFolder, write_atomically};
pub use trainer::{Control, EpochReport, Event, StepReport, Summary, Trainer};
pub use weights::{Weights, WeightsInfo};
