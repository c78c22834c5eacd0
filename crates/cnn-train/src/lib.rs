//! The training loop as a library.
//!
//! A [`Recipe`] says everything that decides a run; a [`Trainer`] follows it and leaves a [`RunFolder`] with weights,
//! state and metrics; a [`Classifier`] is what a weights file becomes again: it evaluates, predicts and exports.
#![forbid(unsafe_code)]

mod answers;
mod batches;
mod blocks;
mod checkpoint;
mod classifier;
mod control;
#[cfg(test)]
mod damage_tests;
mod diagnose;
mod disk;
mod error;
mod evaluation;
mod events;
#[cfg(test)]
mod fault_tests;
mod memory;
mod metrics;
mod multi_label;
mod networks;
mod pretrained;
mod recipe;
mod report;
mod run_folder;
mod trained;
mod trainer;
mod weights;

pub use batches::DeviceBatches;
pub use classifier::{Classifier, Prediction};
pub use control::Control;
pub use disk::write_atomically;
pub use error::{Error, Result};
pub use evaluation::{EVALUATION_BATCH, Evaluation, Judged, evaluation_batch};
pub use events::EventFile;
pub use multi_label::{ClassFigures, MultiLabelFigures};
pub use networks::Networks;
pub use pretrained::{ImportOptions, Loaded, import, load_pretrained, usual_preprocess, weights_info};
pub use recipe::{
    AugmentRecipe, AverageKind, AverageRecipe, BorderRecipe, Chosen, ClassWeightsRecipe, EarlyStoppingRecipe,
    ExtensionRecipe, FreezeRecipe, InitRecipe, Monitor, NamedWeights, OptimizerKind, OptimizerRecipe, Precision,
    PretrainedRecipe, Recipe, ScheduleKind, ScheduleRecipe,
};
pub use report::{BestEpoch, EpochReport, Event, StepReport, Stopped, Summary};
pub use run_folder::RunFolder;
pub use trained::Trained;
pub use trainer::{Overfit, RateRange, Trainer};
pub use weights::{Weights, WeightsInfo};
