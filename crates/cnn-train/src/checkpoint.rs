//! Two files that belong together: weights, and whatever else a resume needs.
//!
//! Both are staged and synced before either is renamed, the weights first, and the state names the digest of its weights.
//! After a crash between the two renames the weights are ahead of the state, whose staged file is then still there, and
//! opening the checkpoint finishes the job.

use cnn_core::archive::{Archive, Array, Values, hexadecimal};
use cnn_core::nn::Module;
use cnn_core::optim::{Average, Optimizer};
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_core::{Backend, Real};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::disk::{Staged, stage};
use crate::run_folder::RunFolder;
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

/// What a run moves.
pub(crate) struct Trained<'a, B: Backend> {
    pub(crate) model: &'a mut dyn Module<B>,
    pub(crate) optimizer: &'a mut Optimizer<B>,
    pub(crate) average: &'a mut Option<Average<B>>,
}

/// Key of the state's arrays: the weights that training goes on from, where those of the weights file are their average.
const TRAINED: &str = "trained.";

/// Writes weights and state to the folder of a run. The weights are the average, if there is one.
///
/// # Errors
/// Values that are not finite, and files that cannot be written. The checkpoint that was there before still is, or can be
/// put together from what is there.
pub(crate) fn save<B: Backend>(
    folder: &RunFolder,
    backend: &B,
    trained: Trained<'_, B>,
    recipe: &Recipe,
    info: &WeightsInfo,
    progress: &Progress,
) -> Result<()> {
    let Trained { model, optimizer, average } = trained;
    let mut state = Archive::default();
    optimizer.save(&*model, &mut state)?;
    let mut weights = state_dict(backend, &*model, Naming::Torchvision)?;
    if let Some(average) = average {
        state.arrays.extend(weights.arrays.into_iter().map(|(name, array)| (format!("{TRAINED}{name}"), array)));
        average.swap(model)?;
        let averaged = state_dict(backend, &*model, Naming::Torchvision);
        average.swap(model)?;
        weights = averaged?;
    }
    info.store(&mut weights)?;
    for (path, archive) in [(folder.weights(), &weights), (folder.state(), &state)] {
        if let Some(name) = first_not_finite(archive) {
            let reason = format!("not saved: {name} of step {} is not finite; the file before is kept", info.step);
            return Err(Error::file(path, reason));
        }
    }
    state.arrays.insert("progress.sums".into(), Array::float(vec![4], &progress.sums));
    state.metadata.insert("epoch".into(), json!(progress.epoch));
    state.metadata.insert("batch".into(), json!(progress.batch));
    state.metadata.insert("step".into(), json!(progress.step));
    state.metadata.insert(ARITHMETIC.into(), json!(backend.arithmetic()));
    state.metadata.insert("recipe".into(), json!(recipe.to_toml()?));
    state.metadata.insert(WEIGHTS.into(), json!(weights.digest()));

    finish(folder)?;
    let staged_weights = stage(&folder.weights(), &weights.to_bytes()?)?;
    let staged_state = stage(&folder.state(), &state.to_bytes()?).inspect_err(|_| staged_weights.discard())?;
    staged_weights.commit().inspect_err(|_| {
        staged_weights.discard();
        staged_state.discard();
    })?;
    // From here on the staged state is the one that belongs to the weights: if it stays, `load` puts it in its place.
    staged_state.commit()
}

/// Completes an earlier save whose weights have their place and whose state does not: it is the only one that belongs to
/// them, and the next one is staged where it is.
fn finish(folder: &RunFolder) -> Result<()> {
    let Some(staged) = Staged::left_for(&folder.state()) else { return Ok(()) };
    let (Ok(weights), Ok(state)) = (Weights::read(folder.weights()), read_archive(staged.file())) else {
        return Ok(()); // half of a file belongs to nothing
    };
    match belongs(&state, &weights) {
        Ok(()) => staged.commit(),
        Err(_) => Ok(()),
    }
}

/// Key of the state's metadata: digest of the weights that it belongs to. Version 0.1 did not write it.
const WEIGHTS: &str = "weights";

/// Key of the state's metadata: what rounded the steps. Version 0.1 did not write it.
const ARITHMETIC: &str = "arithmetic";

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes))
}

/// The first array that has a value that is not finite.
fn first_not_finite(archive: &Archive) -> Option<&str> {
    let finite = |array: &Array| match &array.values {
        Values::F32(values) => values.iter().all(|value| value.is_finite()),
        Values::F64(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    };
    archive.arrays.iter().find(|(_, array)| !finite(array)).map(|(name, _)| name.as_str())
}

/// Brings model and optimiser to where the run in `folder` stands. A run that ended before its first checkpoint stands
/// where it began. Returned with that: the [arithmetic](cnn_core::Device::arithmetic) of the steps before, if it is known.
///
/// # Errors
/// Files that are broken, do not belong together, or belong to another run than one of `recipe` on the data of `info`.
pub(crate) fn load<B: Backend>(
    folder: &RunFolder,
    backend: &B,
    trained: Trained<'_, B>,
    recipe: &Recipe,
    info: &WeightsInfo,
) -> Result<(Progress, Option<String>)> {
    let Trained { model, optimizer, average } = trained;
    if !folder.weights().exists() && !folder.state().exists() {
        return Ok((Progress::default(), None));
    }
    let weights = Weights::read(folder.weights())?;
    let state = state_of(folder, &weights)?;
    let fail = |reason: String| Error::file(folder.state(), reason);
    let written = state.metadata.get("recipe").and_then(|text| text.as_str());
    if !written.and_then(|text| Recipe::from_toml(text).ok()).is_some_and(|written| written.same_run(recipe)) {
        return Err(fail(
            "was written with another recipe than recipe.toml: a run is resumed as it was started".into(),
        ));
    }
    weights.info.check_data(info).map_err(|reason| Error::file(folder.weights(), reason))?;
    let field = |name: &str| {
        let value = state.metadata.get(name).and_then(serde_json::Value::as_u64);
        value.ok_or_else(|| fail(format!("metadata {name} is missing or no number")))
    };
    let sums = state.arrays.get("progress.sums").ok_or_else(|| fail("progress.sums is missing".into()))?;
    let sums: Vec<f64> = sums.to_float().map_err(|error| fail(error.to_string()))?;
    let sums: [f64; 4] = sums.try_into().map_err(|_| fail("progress.sums: must be 4 numbers".into()))?;
    if !sums.iter().all(|sum| Real::as_f64(*sum).is_finite()) {
        return Err(fail(format!("progress.sums {sums:?}: must be finite")));
    }
    let epoch = u32::try_from(field("epoch")?).map_err(|error| fail(format!("epoch: {error}")))?;
    let progress = Progress { epoch, batch: field("batch")?, step: field("step")?, sums };
    load_state_dict(backend, model, &weights.archive).map_err(|error| Error::file(folder.weights(), error))?;
    if let Some(average) = average {
        average.update_by(&*model, 0.0)?;
        let own = state
            .arrays
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(TRAINED)?.to_owned(), array.clone())));
        let own = Archive { arrays: own.collect(), ..Archive::default() };
        load_state_dict(backend, model, &own).map_err(|error| fail(error.to_string()))?;
    }
    optimizer.load(&*model, &state).map_err(|error| fail(error.to_string()))?;
    let arithmetic = state.metadata.get(ARITHMETIC).and_then(serde_json::Value::as_str);
    Ok((progress, arithmetic.map(str::to_owned)))
}

/// Whether this is the state that was saved with `weights`.
fn belongs(state: &Archive, weights: &Weights) -> Result<(), String> {
    let (step, digest) = (weights.info.step, weights.archive.digest());
    let at = state.metadata.get("step").and_then(serde_json::Value::as_u64);
    let of = state.metadata.get(WEIGHTS).and_then(serde_json::Value::as_str);
    match (at, of) {
        (None, _) => Err("metadata step is missing or no number".to_owned()),
        (Some(at), _) if at != step => Err(format!("is of step {at}: must be of step {step}, that of the weights")),
        (_, Some(of)) if of != digest => Err(format!(
            "belongs to other weights than {}, which were changed or are of another run",
            weights.path.display()
        )),
        // Version 0.1 wrote no digest.
        (_, _) => Ok(()),
    }
}

/// The state that belongs to these weights: the one in its place, or the staged one, which is then put there.
fn state_of(folder: &RunFolder, weights: &Weights) -> Result<Archive> {
    let path = folder.state();
    let state = read_archive(&path).and_then(|state| match belongs(&state, weights) {
        Ok(()) => Ok(state),
        Err(reason) => Err(Error::file(&path, reason)),
    });
    let staged = Staged::left_for(&path);
    match (state, staged) {
        (Ok(state), staged) => {
            staged.iter().for_each(Staged::discard);
            Ok(state)
        }
        (Err(error), None) => Err(error),
        (Err(error), Some(staged)) => match read_archive(staged.file()) {
            Ok(next) if belongs(&next, weights).is_ok() => {
                staged.commit()?;
                Ok(next)
            }
            _ => Err(error),
        },
    }
}
