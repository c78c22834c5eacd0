//! `cnn train`: a recipe, then the run.
//!
//! Everything that can be refused is refused before the run's folder is made, cheapest first, so that a typing error
//! costs neither a download nor an empty folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnn::core::Backend;
use cnn::core::nn::parameters;
use cnn::core::pretrained::Taken;
use cnn::data::{Dataset, OpenOptions};
use cnn::train::{Control, Error, Event, Loaded, Monitor, Recipe, RunFolder, Stopped, Summary, Trainer};
use cnn_measure::Machine;
use serde_json::json;

use super::args::{RecipeArgs, TrainArgs};
use super::device::{self, Command, Device};
use super::failure::Failure;
use super::memory;
use super::multi_label;
use super::output::{self, count, grouped, shown};
use super::progress::Progress;
use super::recipe;
use super::report;
use super::signals::Signals;
use super::timeline::{self, Recorder};

/// Runs the command.
pub(crate) fn run(args: &TrainArgs) -> Result<(), Failure> {
    // clap does not say so where an option is given that contradicts --resume.
    if args.extend.is_some() && args.resume.is_none() {
        return Err(Failure::usage("extend: needs a run to add epochs to: --resume DIR"));
    }
    let start = match &args.resume {
        Some(folder) => Start::Resumed(RunFolder::open(folder).map_err(Failure::usage)?),
        None => Start::New(new_folder(args.out.as_deref())?),
    };
    let mut recipe = match &start {
        Start::Resumed(folder) => recipe::read(&folder.recipe())?,
        Start::New(_) => recipe::of(&args.recipe, args.device.conv_algo.as_ref())?,
    };
    timeline::check(&args.explain)?;
    let began_with = matches!(&start, Start::Resumed(_)).then_some(recipe.multi_label);
    recipe.skip_bad |= args.pictures.skip_bad;
    let source = super::data::found_before(&args.source, &recipe);
    if recipe.data_path.is_none() {
        recipe.data_path = super::data::root_of(&source, &recipe);
    }
    let device = Device::open(&args.device, recipe.precision, &recipe.conv_algo)?;
    let data = args.recipe.data.as_deref().unwrap_or(recipe.find_data());
    let options = OpenOptions::default().pool(device.pool()?).cache(args.pictures.cache.clone());
    let options = match args.memory {
        Some(allowed) => options.decode_memory(memory::decoding(allowed)),
        None => options,
    };
    let dataset = super::data::open_for(&recipe, data, &source, options, |listing| {
        let Some(allowed) = args.memory else { return Ok(None) };
        let mut fitted = recipe.clone();
        if matches!(start, Start::New(_)) {
            let images = fitted.trained_on(listing.report().images()[0]);
            recipe::fit(&mut fitted, images, &args.recipe);
        }
        let (bytes, said) = memory::left(allowed, &fitted, &device, listing)?;
        output::note(&said);
        Ok(Some(bytes))
    })?;
    if let Some(several) = began_with.filter(|several| *several != dataset.train.is_multi_label()) {
        let words = |several| if several { "several labels for an image" } else { "one label for each image" };
        let rule = format!("must have {}, as when the run began", words(several));
        return Err(Failure::usage(format!("{}: {rule}", dataset.name)));
    }
    if dataset.train.is_multi_label() && !args.explain.is_empty() {
        let rule = "must not be given for several labels: the page tells how probabilities of one answer change";
        return Err(Failure::usage(format!("explain: {rule}")));
    }
    if let (Start::New(out), Some(images)) = (&start, &dataset.path) {
        outside(out.as_deref().unwrap_or(Path::new(RUNS)), images)?;
    }
    if !dataset.train.is_multi_label() && recipe.classes.as_ref().map_or(dataset.train.classes().len(), Vec::len) < 2 {
        return Err(Failure::usage("classes: there is one, and nothing to tell it apart from"));
    }
    if dataset.validation.is_some() && recipe::is_fine_tuning(&args.recipe) && args.recipe.validation.is_none() {
        // Nothing has to be held out of what the set trains on.
        recipe.validation = 0.0;
    }
    fit(&start, &mut recipe, &dataset, &args.recipe);
    if dataset.validation.is_some() && recipe.validation > 0.0 {
        output::note("note: the set's own validation images are not used: --validation holds some of the others out");
    }
    device.run(Train { recipe, dataset, start, args })
}

/// Fits the defaults of a new run to few images, and says so of them and of a batch that is larger than the data.
fn fit(start: &Start, recipe: &mut Recipe, dataset: &Dataset, args: &RecipeArgs) {
    let images = recipe.trained_on(dataset.train.len());
    if matches!(start, Start::New(_)) {
        recipe::fit(recipe, images, args).iter().for_each(|said| output::note(&format!("note: {said}")));
    }
    if recipe.batch > images && images > 0 {
        let epochs = recipe.all_epochs();
        output::note(&format!(
            "note: a step of {} takes every image, {images}: {} in all, which may be too few to learn by",
            count(recipe.batch as u64, "image"),
            count(epochs.into(), "step"),
        ));
    }
}

/// Everything that a run needs but for a device.
struct Train<'a> {
    recipe: Recipe,
    dataset: Dataset,
    start: Start,
    args: &'a TrainArgs,
}

impl Command for Train<'_> {
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure> {
        output::note(&device::describe(backend));
        let Train { recipe, dataset, start, args } = self;
        let json = args.json;
        let (data, train, test) = (dataset.name.clone(), dataset.train.clone(), dataset.test.clone());
        let mut trainer = match &start {
            Start::Resumed(folder) => resumed(backend, folder, dataset, args)?,
            Start::New(_) => Trainer::new(backend, recipe, dataset)?,
        };
        trainer.loaded().iter().flat_map(|loaded| tell_loaded(loaded)).for_each(|line| output::note(&line));
        let resumed = if let Start::Resumed(folder) = &start { Some(folder) } else { None };
        let timeline = timeline::of(resumed, trainer.info(), &args.explain)?;
        let memory = trainer.rehearse()?;
        let folder = match start {
            Start::Resumed(folder) => folder,
            Start::New(Some(out)) => RunFolder::create(out).map_err(Failure::usage)?,
            Start::New(None) => next_run(Path::new(RUNS), &format!("{}-{data}", trainer.recipe().model))?,
        };
        announce(backend, &trainer, &folder);
        if let Some(memory) = memory {
            let [peak, total] = [memory.peak, memory.total].map(output::bytes);
            output::note(&format!("memory: {peak} of the device's {total}, by a step that was tried"));
        }
        let mut recorder = timeline.map(|timeline| Recorder::new(backend, &folder, &trainer, timeline));
        let signals = Signals::noted()?;
        let several = trainer.info().multi_label;
        let mut progress = Progress::new().of_labels(several).beside_peak(|| peak(backend, trainer.macs()).ok());
        let (mut written, mut asked) = (Ok(()), false);
        let summary = trainer.run(&folder, &mut |event| {
            progress.event(event);
            if let (Event::EpochEnd(report), true, Ok(())) = (event, json, &written) {
                written = output::print_json(&epoch_json(report));
            }
            if let (Event::Saved { path }, Some(recorder)) = (event, &mut recorder) {
                recorder.saved(path).unwrap_or_else(|warning| progress.line(&warning));
            }
            match event {
                Event::Saved { path } if asked => {
                    asked = false;
                    progress.line(&format!("saved {}, as asked by SIGUSR1", shown(path)));
                }
                // Elsewhere there is nothing new to save.
                Event::Step(_) => asked |= signals.save(),
                _ => {}
            }
            match () {
                () if signals.stop().is_some() || written.is_err() => Control::Stop,
                () if asked => Control::Save,
                () => Control::Continue,
            }
        });
        progress.finish();
        super::data::tell_mended([&train, &test]);
        let summary = summary.inspect_err(|error| advise(error, &folder))?;
        written?;
        if let Some(evaluation) = &summary.test {
            report::at_the_end(backend, &folder, evaluation, &test);
        }
        tell(&summary, trainer.recipe(), &folder, recorder.map(|recorder| recorder.page()), json)?;
        match signals.stop() {
            Some(signal) if summary.interrupted => Err(Failure::Stopped(signal)),
            _ => Ok(()),
        }
    }
}

/// What of a file of weights was taken, a line each.
pub(super) fn tell_loaded(loaded: &Loaded) -> Vec<String> {
    let Taken { prefix, taken, new, missing, unexpected, elsewhere, .. } = &loaded.taken;
    let some = |names: &[String]| {
        let more = names.len().saturating_sub(4);
        let listed = names.iter().take(4).map(|name| output::printable(name)).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{listed} and {more} more") } else { listed }
    };
    let named = if prefix.is_empty() { String::new() } else { format!(" under {}", output::printable(prefix)) };
    let fresh = if new.is_empty() { String::new() } else { format!("; {} new, as the classes are others", some(new)) };
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

/// Says where a run that an error ended can go on; from a step that was not finite it would come to the same one.
fn advise(error: &Error, folder: &RunFolder) {
    if RunFolder::holds_checkpoint(folder.path())
        && !matches!(error, Error::NotFinite { .. } | Error::NotFiniteLogits { .. })
    {
        output::note(&format!(
            "what was saved before goes on with: cnn train --resume {}",
            output::quoted(folder.path())
        ));
    }
}

/// Images per second of training at which the machine would do nothing but multiply and add, each multiplication forward once and
/// twice on the way back.
fn peak<B: Machine>(backend: &B, macs: u64) -> cnn::core::Result<f64> {
    let flops = 3 * 2 * macs.max(1);
    Ok(1e9 * backend.fma_peak(0.2)? / flops as f64)
}

/// The run in `folder`, with what the options add to it.
fn resumed<B: Machine>(
    backend: &B,
    folder: &RunFolder,
    dataset: Dataset,
    args: &TrainArgs,
) -> Result<Trainer<B>, Failure> {
    let mut trainer = Trainer::resume(backend, folder, dataset)?;
    trainer.warnings().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    if let Some(epochs) = args.extend {
        trainer.extend(epochs)?;
        output::note(&format!("{} more: {} in all", count(epochs.into(), "epoch"), trainer.recipe().all_epochs()));
    } else if trainer.is_complete() {
        let epochs = count(trainer.recipe().all_epochs().into(), "epoch");
        output::note(&format!("this run is complete, {epochs}, and is only tested; --extend N adds epochs"));
    }
    if let Some(seconds) = args.recipe.max_seconds {
        trainer.limit_seconds(seconds)?;
    }
    Ok(trainer)
}

/// Where runs are put that are given no folder.
const RUNS: &str = "runs";

/// Refuses to put a run into the folder of its own pictures: it would be taken for a class of them the next time.
fn outside(out: &Path, images: &Path) -> Result<(), Failure> {
    let whole = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    if whole.starts_with(images) && images.is_dir() {
        let rule = format!("must not be inside of the images' folder, {}: give another --out", shown(images));
        return Err(Failure::usage(format!("out {}: {rule}", shown(out))));
    }
    Ok(())
}

/// Where a run begins.
enum Start {
    /// In this folder, or in the next free one under `runs`.
    New(Option<PathBuf>),
    /// Where the run in this folder stands.
    Resumed(RunFolder),
}

fn new_folder(out: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    match out {
        Some(out) if RunFolder::holds_checkpoint(out) => {
            let advice = "holds a run already: choose another folder, or go on with that run by --resume";
            Err(Failure::usage(format!("{}: {advice}", out.display())))
        }
        out => Ok(out.map(Path::to_owned)),
    }
}

/// A fresh folder `NAME-001`, `NAME-002`, ... in `root`.
fn next_run(root: &Path, name: &str) -> Result<RunFolder, Failure> {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let failed = |path: &Path, error| Failure::fault(format!("{}: {error}", path.display()));
    fs::create_dir_all(root).map_err(|error| failed(root, error))?;
    for number in 1u32.. {
        let path = root.join(format!("{name}-{number:03}"));
        // Making the folder is the atomic test: two processes cannot both take a name.
        match fs::create_dir(&path) {
            Ok(()) => return Ok(RunFolder::create(path)?),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Err(Failure::fault(format!("{}: has no free name", root.display())))
}

fn announce<B: Backend>(backend: &B, trainer: &Trainer<B>, folder: &RunFolder) {
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

fn epoch_json(report: &cnn::train::EpochReport) -> serde_json::Value {
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

/// The results line.
fn tell(
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
