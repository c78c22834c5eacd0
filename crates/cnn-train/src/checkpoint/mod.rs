//! Two files that belong together: weights, and whatever else a resume needs.
//!
//! Both are staged and synced before either is renamed, the weights first, and the state names the digest of its weights.
//! After a crash between the two renames the weights are ahead of the state, whose staged file is then still there, and
//! opening the checkpoint finishes the job.
//!
//! Before the first rename the two files of the save before get second names, under which they stay: if the newest checkpoint is
//! found damaged, the run goes on from that one. Whenever a process ends, two such files that belong together are there.

mod load;

use std::collections::HashSet;
use std::fs;

use cnn_core::Backend;
use cnn_core::archive::{Archive, Array, Values, hexadecimal};
use cnn_core::nn::Module;
use cnn_core::optim::{Average, Optimizer};
use cnn_core::state_dict::{Naming, state_dict};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::disk::{self, Staged, stage};
use crate::run_folder::RunFolder;
use crate::weights::{Weights, WeightsInfo, read_archive};
use crate::{Error, Recipe, Result};

pub(crate) use load::{Loaded, load};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Epochs that are complete.
    pub(crate) epoch: u32,
    /// Batches of the next epoch that are done.
    pub(crate) batch: u64,
    /// Steps in all.
    pub(crate) step: u64,
    /// Steps behind which the average of the weights has last moved.
    pub(crate) averaged: u64,
    /// Of the unfinished epoch: summed loss, correct images, images, seconds.
    pub(crate) sums: [f64; 4],
    /// The epoch whose weights are kept as the best.
    pub(crate) best: Option<Best>,
    /// What early stopping waits for: a better figure than this.
    pub(crate) to_beat: Option<ToBeat>,
}

/// The epoch that did best on the images held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) epoch: u32,
    pub(crate) step: u64,
    pub(crate) correct: u64,
    pub(crate) count: u64,
    /// What decides where images may have several labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mean_average_precision: Option<f64>,
}

impl Best {
    /// What another epoch has to exceed: [`Evaluation::score`](crate::Evaluation::score).
    pub(crate) fn score(&self) -> f64 {
        self.mean_average_precision.unwrap_or(self.correct as f64 / (self.count as f64).max(1.0))
    }
}

/// The best figure that early stopping has seen, and the epoch it was of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ToBeat {
    pub(crate) figure: f64,
    pub(crate) epoch: u32,
}

/// What was measured of a run besides, which no two runs have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timed {
    /// The rows of `metrics.csv`.
    pub(crate) metrics: String,
    /// Seconds that the run took, evaluations and checkpoints included.
    pub(crate) seconds: f64,
}

/// What a run moves.
pub(crate) struct Trained<'a, B: Backend> {
    pub(crate) model: &'a mut dyn Module<B>,
    pub(crate) optimizer: &'a mut Optimizer<B>,
    pub(crate) average: &'a mut Option<Average<B>>,
}

/// Key of the state's arrays: the weights that training goes on from, where those of the weights file are their average.
const TRAINED: &str = "trained.";

/// Keys of the state's arrays: what was measured of the run.
const METRICS: &str = "timed.metrics";
const SECONDS: &str = "timed.seconds";
/// Key of the state's arrays: [`ToBeat`].
const TO_BEAT: &str = "early_stopping";
/// Key of the state's metadata: the last move of the average. States of version 0.1 have none.
const AVERAGED: &str = "averaged";
/// Key of the state's metadata: [`Best`].
const BEST: &str = "best";

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
    (progress, timed): (&Progress, &Timed),
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
    describe(&mut state, progress, timed);
    state.metadata.insert(ARITHMETIC.into(), json!(backend.arithmetic()));
    state.metadata.insert("recipe".into(), json!(recipe.to_toml()?));
    state.metadata.insert(WEIGHTS.into(), json!(weights.digest()));

    finish(folder)?;
    let staged_weights = stage(&folder.weights(), &weights.to_bytes()?)?;
    let staged_state = stage(&folder.state(), &state.to_bytes()?).inspect_err(|_| staged_weights.discard())?;
    keep_previous(folder).and_then(|()| staged_weights.commit()).inspect_err(|_| {
        staged_weights.discard();
        staged_state.discard();
    })?;
    // From here on the staged state is the one that belongs to the weights: if it stays, `load` puts it in its place.
    staged_state.commit()?;
    match &progress.best {
        // Its state says so already: if that ends here, `load` does it.
        Some(best) if best.step == info.step => disk::keep(&folder.weights(), &folder.best()),
        _ => Ok(()),
    }
}

/// Writes down where the run stands.
fn describe(state: &mut Archive, progress: &Progress, timed: &Timed) {
    let Progress { epoch, batch, step, averaged, sums, best, to_beat } = progress;
    let bytes = timed.metrics.as_bytes().to_vec();
    let arrays = [
        ("progress.sums", Some(Array::float(vec![4], sums))),
        (TO_BEAT, to_beat.map(|ToBeat { figure, epoch }| Array::float(vec![2], &[figure, f64::from(epoch)]))),
        (METRICS, Some(Array { shape: vec![bytes.len()], values: Values::U8(bytes) })),
        (SECONDS, Some(Array::float(vec![1], &[timed.seconds]))),
    ];
    state.arrays.extend(arrays.into_iter().filter_map(|(name, array)| Some((name.to_owned(), array?))));
    let counts = [("epoch", json!(epoch)), ("batch", json!(batch)), ("step", json!(step)), (AVERAGED, json!(averaged))];
    let entries = counts.into_iter().chain([(BEST, json!(best))]);
    state.metadata.extend(entries.filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.to_owned(), v)));
}

/// Gives the checkpoint that is there the names of the one before.
fn keep_previous(folder: &RunFolder) -> Result<()> {
    if folder.weights().exists() && folder.state().exists() {
        disk::keep(&folder.weights(), &folder.previous_weights())?;
        disk::keep(&folder.state(), &folder.previous_state())?;
    }
    Ok(())
}

/// Refuses a folder that has no room for what the run in it will write: two checkpoints, a third that is staged, and the
/// weights of the best epoch if images are held out.
///
/// # Errors
/// There is too little room, or nothing can be written there.
pub(crate) fn check_room(folder: &RunFolder, held_out: bool) -> Result<()> {
    let file = |path| fs::metadata(path).ok();
    let length = |path| file(path).map_or(0, |file| file.len());
    let (weights, state) = (length(folder.weights()), length(folder.state()));
    let needed = 3 * (weights + state) + if held_out { weights } else { 0 };
    let there = [folder.weights(), folder.state(), folder.previous_weights(), folder.previous_state(), folder.best()];
    // Two names of one file have its time too.
    let there: HashSet<_> = there.into_iter().filter_map(file).map(|file| (file.len(), file.modified().ok())).collect();
    disk::reserve(folder.path(), needed.saturating_sub(there.into_iter().map(|(length, _)| length).sum()))
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
