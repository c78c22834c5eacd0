//! What `cnn train` says: what it begins with, every epoch, and what came of it.

use std::path::PathBuf;

use cnn::core::Backend;
use cnn::core::nn::parameters;
use cnn::core::pretrained::Taken;
use cnn::train::{EpochReport, Error, Loaded, Monitor, Recipe, RunFolder, Stopped, Summary, Trainer};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::multi_label;
use crate::cli::output::{self, count, grouped, shown};

/// What of a file of weights was taken, a line each.
pub(in crate::cli) fn tell_loaded(loaded: &Loaded) -> Vec<String> {
    let Taken { prefix, taken, new, headless, missing, unexpected, elsewhere, .. } = &loaded.taken;
    let some = |names: &[String]| {
        let more = names.len().saturating_sub(4);
        let listed = names.iter().take(4).map(|name| output::printable(name)).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{listed} and {more} more") } else { listed }
    };
    let named = if prefix.is_empty() { String::new() } else { format!(" under {}", output::printable(prefix)) };
    let why = if *headless { "the file has none" } else { "the classes are others" };
    let fresh = if new.is_empty() { String::new() } else { format!("; {} new, as {why}", some(new)) };
    let mut lines = vec![format!("{}: {}{named} taken{fresh}", shown(&loaded.file), count(*taken as u64, "array"))];
    if !missing.is_empty() {
        lines.push(format!("note: the file does not have {}", some(missing)));
    }
    if !unexpected.is_empty() {
        lines.push(format!("note: the network has no place for {}", some(unexpected)));
    }
    if *elsewhere > 0 {
        lines.push(format!(
            "note: not read: {} of the file, of an optimiser or a copy",
            count(*elsewhere as u64, "other array")
        ));
    }
    lines
}

pub(super) fn announce<B: Backend>(backend: &B, trainer: &Trainer<B>, folder: &RunFolder) {
    let (recipe, info) = (trainer.recipe(), trainer.info());
    let [h, w, c] = info.image;
    let weights: usize = parameters(trainer.model()).iter().map(|parameter| parameter.shape().numel()).sum();
    output::note(&format!(
        "{}: {} parameters; {}: {h}x{w}x{c}, {}, {} of {} an epoch",
        recipe.model,
        grouped(weights as u64),
        info.data,
        count(info.classes.len() as u64, "class"),
        count(trainer.steps(), "step"),
        count(recipe.batch as u64, "image"),
    ));
    if let Some(told) = trainer.tell_classes() {
        output::note(&output::printable(&told));
    }
    output::note(&shown(folder.path()));
    if !folder.is_locked() {
        output::note("note: the file system of this folder has no locks: see that no other process trains in it");
    }
    if let Some(other) = trainer.other_arithmetic() {
        let now = backend.arithmetic();
        output::note(&format!(
            "note: the steps before were rounded by {other}, the next ones by {now}: the weights will differ in their last bits \
             from those of a run that went on there",
        ));
    }
}

/// The line of an epoch.
pub(super) fn epoch_json(report: &EpochReport) -> serde_json::Value {
    json!({
        "event": "epoch",
        "epoch": report.epoch,
        "step": report.step,
        "train_loss": report.train_loss,
        "train_accuracy": report.train_accuracy,
        "validation_mean_average_precision": report.validation.as_ref().and_then(|validation| {
            validation.several.as_ref().and_then(|several| several.mean_average_precision)
        }),
        "validation_loss": report.validation.as_ref().map(|validation| validation.loss),
        "validation_accuracy": report.validation.as_ref().map(|validation| validation.accuracy()),
        "lr": report.lr,
        "seconds": report.seconds,
        "images_per_second": report.images_per_second,
        "gradient_norm": report.gradient_norm,
        "waiting": report.waiting,
    })
}

/// Says where a run that an error ended can go on; from a step that was not finite it would come to the same one.
pub(super) fn advise(error: &Error, folder: &RunFolder) {
    if RunFolder::holds_checkpoint(folder.path())
        && !matches!(error, Error::NotFinite { .. } | Error::NotFiniteLogits { .. })
    {
        output::note(&format!(
            "what was saved before goes on with: cnn train --resume {}",
            output::quoted(folder.path())
        ));
    }
}

/// The results line.
pub(super) fn tell(
    summary: &Summary,
    recipe: &Recipe,
    folder: &RunFolder,
    timeline: Option<PathBuf>,
    json: bool,
) -> Result<(), Failure> {
    let Summary { test, test_tta, epochs, steps, seconds, images_per_second, seed, interrupted, .. } = summary;
    let (weights, peak) = (folder.weights(), cnn_measure::timing::peak_memory());
    let best = summary.best.filter(|_| folder.best().is_file());
    let timeline = timeline.filter(|page| page.is_file());
    let several = test.as_ref().and_then(|test| test.several.as_ref());
    match summary.stopped {
        Some(Stopped::Early) => {
            let figure = recipe.early_stopping.as_ref().map_or("figure", |stopping| match stopping.by {
                Monitor::Accuracy if recipe.multi_label => "mean average precision",
                Monitor::Accuracy => "accuracy",
                Monitor::Loss => "loss",
            });
            output::note(&format!(
                "stopped early after epoch {epochs}: no better {figure} of the images held out since"
            ));
        }
        Some(Stopped::Time) => {
            let (folder, more) = (output::quoted(folder.path()), 2.0 * recipe.max_seconds.unwrap_or(*seconds).min(1e9));
            let advice = format!("go on with: cnn train --resume {folder} --max-seconds {more} (of the whole run)");
            let made = [count((*epochs).into(), "epoch"), count(*steps, "step")].join(", ");
            output::note(&format!("its time is over after {made}; {advice}"));
        }
        None => {}
    }
    if json {
        return output::print_json(&json!({
            "event": if *interrupted { "interrupted" } else { "result" },
            "test_accuracy": test.as_ref().map(|test| test.accuracy()),
            "test_accuracy_tta": test_tta.as_ref().map(|test| test.accuracy()),
            "test_loss": test.as_ref().map(|test| test.loss),
            "test_mean_average_precision": several.and_then(|several| several.mean_average_precision),
            "test_mean_average_precision_tta": (test_tta.as_ref())
                .and_then(|test| test.several.as_ref()?.mean_average_precision),
            "test_f1_micro": several.and_then(|several| several.f1_micro),
            "test_f1_macro": several.and_then(|several| several.f1_macro),
            "correct": test.as_ref().map(|test| test.correct),
            "count": test.as_ref().map(|test| test.count),
            "epochs": epochs,
            "steps": steps,
            "seconds": seconds,
            "images_per_second": images_per_second,
            "peak_rss_bytes": peak,
            "seed": seed,
            "run": folder.path().display().to_string(),
            "weights": weights.display().to_string(),
            "stopped": summary.stopped,
            "best_epoch": best.map(|best| best.epoch),
            "best_validation_accuracy": best.map(|best| best.validation_accuracy),
            "best_validation_mean_average_precision": best.and_then(|best| best.validation_mean_average_precision),
            "best_weights": best.map(|_| folder.best().display().to_string()),
            "timeline": timeline.map(|page| page.display().to_string()),
        }));
    }
    if let Some(page) = &timeline {
        output::note(&format!("its view of the images, epoch by epoch: {}", shown(page)));
    }
    let Some(test) = test else {
        let (path, folder) = (shown(&weights), output::quoted(folder.path()));
        let made = [count((*epochs).into(), "epoch"), count(*steps, "step")].join(", ");
        output::note(&format!("stopped after {made}; go on with: cnn train --resume {folder}"));
        return output::print(&format!("saved {path}\n"));
    };
    let best = best.map(|best| {
        let path = shown(&folder.best());
        let (what, figure) = match best.validation_mean_average_precision {
            Some(figure) => ("mean average precision", figure),
            None => ("accuracy", best.validation_accuracy),
        };
        let folder = output::quoted(folder.path());
        format!(
            "best epoch {}, validation {what} {:.2}%: {path}, tested by: cnn eval {folder} --best\n",
            best.epoch,
            100.0 * figure
        )
    });
    let peak = peak.map(|peak| format!(", peak memory {}", output::bytes(peak))).unwrap_or_default();
    let by_views = match test_tta {
        Some(test) => format!(", {} by six views of each", output::percent(test.correct, test.count)),
        None => String::new(),
    };
    let margin = output::margin(test.correct, test.count);
    // A finished run that was resumed made no step.
    let speed = Some(*images_per_second as u64).filter(|speed| *speed > 0);
    let speed = speed.map(|speed| format!(", {} images/s", grouped(speed))).unwrap_or_default();
    let accuracy = match several {
        Some(several) => format!("test {}\nevery class right in", multi_label::figures(several)),
        None => "test accuracy".to_owned(),
    };
    output::print(&format!(
        "{accuracy} {} ({} of {}{margin}){by_views}, loss {:.4}, {} in {}{speed}{peak}, seed {seed}\n{}saved {}\n",
        output::percent(test.correct, test.count),
        test.correct,
        test.count,
        test.loss,
        count((*epochs).into(), "epoch"),
        output::duration(*seconds),
        best.unwrap_or_default(),
        shown(&weights),
    ))
}
