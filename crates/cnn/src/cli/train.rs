//! `cnn train`: a recipe, then the run.
//!
//! Everything that can be refused is refused before the run's folder is made, cheapest first, so that a typing error
//! costs neither a download nor an empty folder.

mod place;
mod told;

use std::path::Path;

use cnn::data::{Dataset, OpenOptions};
use cnn::models::Arch;
use cnn::train::{Control, Event, Recipe, RunFolder, Trainer};
use cnn_measure::Machine;

use super::args::{RecipeArgs, TrainArgs};
use super::device::{self, Command, Device};
use super::failure::Failure;
use super::memory;
use super::output::{self, count, shown};
use super::progress::Progress;
use super::recipe;
use super::report;
use super::signals::Signals;
use super::timeline::{self, Recorder};
use place::{RUNS, Start, new_folder, next_run, outside};
pub(super) use told::tell_loaded;
use told::{advise, announce, epoch_json, tell};

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
    if let (Start::New(_), Some(_), Ok(arch)) = (start, &recipe.pretrained, recipe.model.parse::<Arch>()) {
        let ([rows, columns, _], [usual, _]) = (dataset.train.shown(), arch.usual_size());
        if 2 * rows.max(columns) < usual {
            output::note(&format!(
                "note: images of {rows}x{columns}, where {arch} is meant for {usual}x{usual}: larger ones, as by --size {}, take \
                 longer and are mostly told apart better",
                usual / 2
            ));
        }
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
