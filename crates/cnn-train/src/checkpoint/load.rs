//! A checkpoint read back: the newest, or the one before where that is damaged.

use std::path::PathBuf;

use cnn_core::Backend;
use cnn_core::archive::{Archive, Values};
use cnn_core::state_dict::load_state_dict;

use super::{
    ARITHMETIC, AVERAGED, BEST, Best, METRICS, Progress, SECONDS, TO_BEAT, TRAINED, Timed, ToBeat, Trained, belongs,
};
use crate::disk::{self, Staged};
use crate::run_folder::RunFolder;
use crate::weights::{Weights, WeightsInfo, read_archive};
use crate::{Error, Recipe, Result, metrics};

/// What a resume learns besides the weights.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) progress: Progress,
    pub(crate) timed: Timed,
    /// The [arithmetic](cnn_core::Device::arithmetic) of the steps before, if it is known.
    pub(crate) arithmetic: Option<String>,
    /// What was not as it had been written, each in a line.
    pub(crate) warnings: Vec<String>,
}

/// Weights and state that belong together.
struct Pair {
    weights: Weights,
    state: Archive,
    /// The state's file.
    path: PathBuf,
}

/// Brings model and optimiser to where the run in `folder` stands. A run that ended before its first checkpoint stands
/// where it began.
///
/// # Errors
/// Files that are broken, with no older checkpoint beside them, or do not belong together, or belong to another run than one of
/// `recipe` on the data of `info`.
pub(crate) fn load<B: Backend>(
    folder: &RunFolder,
    backend: &B,
    trained: Trained<'_, B>,
    recipe: &Recipe,
    info: &WeightsInfo,
) -> Result<Loaded> {
    if !folder.is_saved() {
        return Ok(Loaded::default());
    }
    let mut warnings = Vec::new();
    let pair = match newest(folder) {
        Ok(pair) => pair,
        Err(error) => {
            let pair = older(folder, error)?;
            warnings.push(pair.1);
            pair.0
        }
    };
    let Pair { weights, state, path } = &pair;
    let fail = |reason: String| Error::file(path, reason);
    let (mut progress, timed) = described(state).map_err(fail)?;
    let written = state.metadata.get("recipe").and_then(|text| text.as_str());
    let written = written.and_then(|text| Recipe::from_toml(text).ok()).ok_or_else(|| fail("has no recipe".into()))?;
    if let Some(difference) = written.difference(recipe, progress.step) {
        let rule = "a run is resumed as it was started";
        return Err(fail(format!("was written with another recipe than recipe.toml: {difference}: {rule}")));
    }
    weights.info.check_data(info).map_err(|reason| Error::file(&weights.path, reason))?;
    restore(&pair, backend, trained)?;
    put_in_place(folder, &pair)?;
    warnings.extend(check_best(folder, &pair, &mut progress)?);
    let timed = match timed {
        Some(timed) => timed,
        // Version 0.1 kept no rows in the state: those of the file are believed.
        None => Timed { metrics: metrics::known_rows(folder, progress.epoch)?, seconds: 0.0 },
    };
    let arithmetic = state.metadata.get(ARITHMETIC).and_then(serde_json::Value::as_str).map(str::to_owned);
    Ok(Loaded { progress, timed, arithmetic, warnings })
}

/// The checkpoint that was saved last. A save that ended between its two renames is finished.
fn newest(folder: &RunFolder) -> Result<Pair> {
    let weights = Weights::read(folder.weights())?;
    let path = folder.state();
    let state = read_archive(&path).and_then(|state| match belongs(&state, &weights) {
        Ok(()) => Ok(state),
        Err(reason) => Err(Error::file(&path, reason)),
    });
    let staged = Staged::left_for(&path);
    let state = match (state, staged) {
        (Ok(state), _) => state,
        (Err(error), None) => return Err(error),
        (Err(error), Some(staged)) => match read_archive(staged.file()) {
            Ok(next) if belongs(&next, &weights).is_ok() => {
                staged.commit()?;
                next
            }
            _ => return Err(error),
        },
    };
    Ok(Pair { weights, state, path })
}

/// The checkpoint before the newest, which `error` is about, and the warning that says so.
///
/// # Errors
/// There is none; or both files of the newest are whole and have nothing to do with each other: somebody has put one of them
/// there, and it is not written over.
fn older(folder: &RunFolder, error: Error) -> Result<(Pair, String)> {
    let Ok(weights) = Weights::read(folder.previous_weights()) else { return Err(error) };
    let of_these = |path: PathBuf| {
        let state = read_archive(&path).ok()?;
        belongs(&state, &weights).is_ok().then_some((state, path))
    };
    let step = weights.info.step;
    // A save that ended between its renames has not moved this one.
    let beside = of_these(folder.state());
    let both_whole = Weights::read(folder.weights()).is_ok() && read_archive(&folder.state()).is_ok();
    if beside.is_none() && both_whole {
        let advice = "the checkpoint before it is whole: to go on from that, remove";
        return Err(Error::file(
            folder.state(),
            format!("{}; {advice} {}", reason(&error), folder.weights().display()),
        ));
    }
    match beside.or_else(|| of_these(folder.previous_state())) {
        Some((state, path)) => {
            let warning = format!("{error}: the run goes on from the checkpoint before that, of step {step}");
            Ok((Pair { weights, state, path }, warning))
        }
        None => Err(error),
    }
}

/// What is wrong with a file, without its name.
fn reason(error: &Error) -> String {
    match error {
        Error::File { reason, .. } => reason.clone(),
        error => error.to_string(),
    }
}

/// Makes the checkpoint the newest, and takes away what was staged. An older one becomes the one before again when the next is
/// saved.
fn put_in_place(folder: &RunFolder, pair: &Pair) -> Result<()> {
    for (path, place) in [(&pair.weights.path, folder.weights()), (&pair.path, folder.state())] {
        if *path != place {
            disk::keep(path, &place)?;
        }
    }
    // What is still staged belongs to nothing that is there.
    Staged::left_for(&folder.state()).iter().for_each(Staged::discard);
    folder.discard_staged();
    Ok(())
}

/// Where the run stood, and what was measured of it if the state has that.
fn described(state: &Archive) -> Result<(Progress, Option<Timed>), String> {
    let field = |name: &str| {
        let value = state.metadata.get(name).and_then(serde_json::Value::as_u64);
        value.ok_or_else(|| format!("metadata {name} is missing or no number"))
    };
    let numbers = |name: &str| match state.arrays.get(name) {
        None => Ok(None),
        Some(array) => match array.to_float::<f64>() {
            Ok(numbers) if numbers.iter().all(|number| number.is_finite()) => Ok(Some(numbers)),
            Ok(numbers) => Err(format!("{name} {numbers:?}: must be finite")),
            Err(error) => Err(format!("{name}: {error}")),
        },
    };
    let sums = numbers("progress.sums")?.ok_or("progress.sums is missing")?;
    let sums = sums.try_into().map_err(|_| "progress.sums: must be 4 numbers")?;
    let to_beat = match numbers(TO_BEAT)?.as_deref() {
        None => None,
        Some(&[figure, epoch]) => Some(ToBeat { figure, epoch: epoch as u32 }),
        Some(_) => return Err(format!("{TO_BEAT}: must be 2 numbers")),
    };
    let best = state.metadata.get(BEST).cloned().map(serde_json::from_value::<Best>).transpose();
    let best = best.map_err(|error| format!("metadata {BEST}: {error}"))?;
    let epoch = u32::try_from(field("epoch")?).map_err(|error| format!("epoch: {error}"))?;
    let averaged = if state.metadata.contains_key(AVERAGED) { field(AVERAGED)? } else { 0 };
    let progress = Progress { epoch, batch: field("batch")?, step: field("step")?, averaged, sums, best, to_beat };
    let timed = match (state.arrays.get(METRICS), numbers(SECONDS)?.as_deref()) {
        (None, None) => None,
        (Some(rows), Some(&[seconds])) => match &rows.values {
            Values::U8(bytes) => {
                let metrics = String::from_utf8(bytes.clone()).map_err(|error| format!("{METRICS}: {error}"))?;
                Some(Timed { metrics, seconds })
            }
            _ => return Err(format!("{METRICS}: must be bytes")),
        },
        _ => return Err(format!("{METRICS} and {SECONDS}: must be there both, {SECONDS} as one number")),
    };
    Ok((progress, timed))
}

fn restore<B: Backend>(pair: &Pair, backend: &B, trained: Trained<'_, B>) -> Result<()> {
    let Pair { weights, state, path } = pair;
    let Trained { model, optimizer, average } = trained;
    load_state_dict(backend, model, &weights.archive).map_err(|error| Error::file(&weights.path, error))?;
    if let Some(average) = average {
        average.update_by(&*model, 0.0)?;
        let own = state
            .arrays
            .iter()
            .filter_map(|(name, array)| Some((name.strip_prefix(TRAINED)?.to_owned(), array.clone())));
        let own = Archive { arrays: own.collect(), ..Archive::default() };
        load_state_dict(backend, model, &own).map_err(|error| Error::file(path, error))?;
    }
    optimizer.load(&*model, state).map_err(|error| Error::file(path, error))
}

/// Looks whether the best weights are those that the state speaks of. If they are not, they cannot be had again, which the warning
/// says; the best of the epochs to come are then kept.
fn check_best(folder: &RunFolder, pair: &Pair, progress: &mut Progress) -> Result<Option<String>> {
    let Some(best) = &progress.best else { return Ok(None) };
    let path = folder.best();
    let error = match Weights::read(&path) {
        // Ahead of an older checkpoint: the run will come to them again.
        Ok(found) if found.info.step == best.step || found.info.step > progress.step => return Ok(None),
        _ if best.step == pair.weights.info.step => return disk::keep(&folder.weights(), &path).map(|()| None),
        Ok(found) => {
            Error::file(&path, format!("is of step {}: must be of step {}, the best", found.info.step, best.step))
        }
        Err(error) => error,
    };
    let warning = format!("{error}: the weights of epoch {}, the best so far, are lost", best.epoch);
    progress.best = None;
    Ok(Some(warning))
}
