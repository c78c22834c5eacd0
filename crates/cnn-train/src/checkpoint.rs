//! Two files that belong together: weights, and whatever else a resume needs.
//!
//! Both are staged and synced before either is renamed, the weights first. Each names its step: after a crash between
//! the two renames the weights are one step ahead of the state, whose staged file is then still there, and opening the
//! checkpoint finishes the job.

use cnn_core::archive::{Archive, Array};
use cnn_core::nn::Module;
use cnn_core::optim::Optimizer;
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_core::{Backend, Real};
use serde_json::json;

use crate::run_folder::{RunFolder, commit, stage, staged_path};
use crate::weights::{Weights, WeightsInfo, read_archive};
use crate::{Error, Recipe, Result};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Epochs that are complete.
    pub(crate) epoch: u32,
    /// Batches of the next epoch that are done.
    pub(crate) batch: u64,
    /// Steps in all.
    pub(crate) step: u64,
    /// Of the unfinished epoch: summed loss, correct images, images, seconds.
    pub(crate) sums: [f64; 4],
}

/// Writes weights and state to the folder of a run.
pub(crate) fn save<B: Backend>(
    folder: &RunFolder,
    backend: &B,
    model: &dyn Module<B>,
    optimizer: &Optimizer<B>,
    recipe: &Recipe,
    info: &WeightsInfo,
    progress: &Progress,
) -> Result<()> {
    let mut weights = state_dict(backend, model, Naming::Torchvision)?;
    info.store(&mut weights)?;

    let mut state = Archive::default();
    optimizer.save(model, &mut state)?;
    state.arrays.insert("progress.sums".into(), Array::float(vec![4], &progress.sums));
    state.metadata.insert("epoch".into(), json!(progress.epoch));
    state.metadata.insert("batch".into(), json!(progress.batch));
    state.metadata.insert("step".into(), json!(progress.step));
    state.metadata.insert("recipe".into(), json!(recipe.to_toml()?));

    let staged_weights = stage(&folder.weights(), &weights.to_bytes()?)?;
    let staged_state = stage(&folder.state(), &state.to_bytes()?)?;
    commit(&staged_weights, &folder.weights())?;
    commit(&staged_state, &folder.state())
}

/// Brings model and optimiser to where the run in `folder` stands.
pub(crate) fn load<B: Backend>(
    folder: &RunFolder,
    backend: &B,
    model: &mut dyn Module<B>,
    optimizer: &mut Optimizer<B>,
    recipe: &Recipe,
) -> Result<Progress> {
    let Weights { archive: weights, info, .. } = Weights::read(folder.weights())?;
    let mut state = read_archive(&folder.state())?;
    let staged = staged_path(&folder.state());
    if step(&state) != Some(info.step) && staged.is_file() {
        let next = read_archive(&staged)?;
        if step(&next) == Some(info.step) {
            commit(&staged, &folder.state())?;
            state = next;
        }
    }
    let fail = |reason: String| Error::file(folder.state(), reason);
    let field = |name: &str| {
        let value = state.metadata.get(name).and_then(serde_json::Value::as_u64);
        value.ok_or_else(|| fail(format!("metadata {name} is missing or no number")))
    };
    let step = field("step")?;
    if step != info.step {
        return Err(fail(format!("is of step {step}: must be of step {}, that of the weights", info.step)));
    }
    let written = state.metadata.get("recipe").and_then(|text| text.as_str());
    if written.and_then(|text| Recipe::from_toml(text).ok()).as_ref() != Some(recipe) {
        return Err(fail(
            "was written with another recipe than recipe.toml: a run is resumed as it was started".into(),
        ));
    }
    let sums = state.arrays.get("progress.sums").ok_or_else(|| fail("progress.sums is missing".into()))?;
    let sums: Vec<f64> = sums.to_float().map_err(|error| fail(error.to_string()))?;
    let sums: [f64; 4] = sums.try_into().map_err(|_| fail("progress.sums: must be 4 numbers".into()))?;
    if !sums.iter().all(|sum| Real::as_f64(*sum).is_finite()) {
        return Err(fail(format!("progress.sums {sums:?}: must be finite")));
    }
    let epoch = u32::try_from(field("epoch")?).map_err(|error| fail(format!("epoch: {error}")))?;
    let progress = Progress { epoch, batch: field("batch")?, step, sums };
    load_state_dict(backend, model, &weights).map_err(|error| Error::file(folder.weights(), error))?;
    optimizer.load(&*model, &state).map_err(|error| fail(error.to_string()))?;
    Ok(progress)
}

fn step(state: &Archive) -> Option<u64> {
    state.metadata.get("step").and_then(serde_json::Value::as_u64)
}
