//! `cnn data`, and the data set that an argument of another command means, fetched first if it is a published one that
//! is not here yet.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnn::data::{Dataset, Decoding, Error, ImageSet, Known, Listing, OpenOptions, Pool, Report, list};
use cnn::train::{Recipe, write_atomically};
use cnn_pages::sheet_page;

use super::args::{DATA_ROOT, DataArgs, DataCommandArgs, WeightsArgs};
use super::failure::Failure;
use super::output;
use super::progress;
use super::recipe;

/// Runs the command: what is in a data set, and what is wrong with it.
pub(crate) fn run(args: &DataCommandArgs) -> Result<(), Failure> {
    let pool = Pool::new(args.threads.unwrap_or(0)).map_err(Failure::usage)?;
    let sheet = args.sheet.as_deref().map(|file| output::replaceable(file, args.force)).transpose()?;
    let recipe = match &args.recipe {
        Some(recipe) => recipe::preset_or_file(recipe)?,
        None => recipe::default_of(None, Known::meant(&args.data).map_or(&args.data, |set| set.name()), args.size)?,
    };
    let size = args.size.or(recipe.size);
    let options = OpenOptions::default().size(size).preprocess(recipe.preprocess).pool(pool);
    let options = options.multi_label(args.multi_label.then_some(true));
    let report = watched(options.clone(), |options| Ok(found(&args.data, &args.source, options)?.check()))?;
    if args.json {
        output::print_json(&serde_json::to_value(&report).map_err(Failure::fault)?)?;
    } else {
        let lines = report.to_string();
        let lines: String = lines.lines().map(|line| output::printable(line) + "\n").collect();
        output::print(&lines)?;
    }
    if let (Some(out), Some(file)) = (sheet, &args.sheet) {
        // What cannot be decoded has been told.
        let dataset = watched(options.skip_bad(true), |options| Ok(found(&args.data, &args.source, options)?.read()?))?;
        write_atomically(&out, sheet_page(&dataset, &recipe)?.as_bytes())?;
        output::note(&format!("saved {}", output::shown(file)));
    }
    match report.bad.len() {
        0 => Ok(()),
        bad => Err(Failure::fault(format!("{}: {bad} pictures cannot be decoded", report.name))),
    }
}

/// Opens `spec`, and says what should be known about it.
pub(crate) fn open(spec: &str, source: &DataArgs, options: OpenOptions) -> Result<Dataset, Failure> {
    open_within(spec, source, options, |_| Ok(None))
}

/// As [`open`], where `limit` says of what was found how many bytes of pictures may be kept in memory.
fn open_within(
    spec: &str,
    source: &DataArgs,
    options: OpenOptions,
    limit: impl FnOnce(&Listing) -> Result<Option<usize>, Failure>,
) -> Result<Dataset, Failure> {
    let dataset = watched(options, |options| {
        let listing = found(spec, source, options)?;
        let listing = match limit(&listing)? {
            Some(bytes) => listing.resident_limit(bytes),
            None => listing,
        };
        listing.read().map_err(unread)
    })?;
    tell(&dataset.report);
    Ok(dataset)
}

/// Says what should be known about a set, and what of it was decoded before.
fn tell(report: &Report) {
    report.warnings().iter().for_each(|warning| output::note(&format!("note: {warning}")));
    report.cache.iter().for_each(|cache| output::note(&format!("cache: {cache}")));
}

/// Says that images of a cache were not as they had been written.
pub(crate) fn tell_mended<'a>(sets: impl IntoIterator<Item = &'a ImageSet>) {
    let mended = sets.into_iter().map(ImageSet::mended).max().unwrap_or(0);
    if mended > 0 {
        let what = output::count(mended as u64, "image");
        output::note(&format!(
            "warning: cache: {what} had been changed since, and were decoded again: by a disk, or by somebody"
        ));
    }
}

/// Opens the data of `recipe`, which is `spec` here, with the classes that it names; `options` are of
/// the machine, and `limit` says of what was found how many bytes of pictures may be kept in memory.
pub(crate) fn open_for(
    recipe: &Recipe,
    spec: &str,
    source: &DataArgs,
    options: OpenOptions,
    limit: impl FnOnce(&Listing) -> Result<Option<usize>, Failure>,
) -> Result<Dataset, Failure> {
    let options = options.size(recipe.size).preprocess(recipe.preprocess).skip_bad(recipe.skip_bad);
    let options = options.multi_label(recipe.multi_label.then_some(true));
    let options = if let Some(classes) = &recipe.classes { options.used_classes(classes) } else { options };
    let dataset = open_within(spec, source, options, limit)?;
    match &recipe.classes {
        Some(classes) => dataset.keep_classes(classes).map_err(Failure::usage),
        None => Ok(dataset),
    }
}

/// The images of `spec` to test with, and nothing else of it but what was found.
pub(crate) fn open_test(spec: &str, source: &DataArgs, options: OpenOptions) -> Result<(ImageSet, Report), Failure> {
    let (images, report) = watched(options, |options| found(spec, source, options)?.read_test().map_err(unread))?;
    tell(&report);
    Ok((images, report))
}

/// Where to look for the data of `recipe`: a set with a name that is not where `source` says is looked for where the run
/// found it.
pub(crate) fn found_before(source: &DataArgs, recipe: &Recipe) -> DataArgs {
    let moved = Known::meant(&recipe.data).filter(|set| set.find(&source.data_root).is_err());
    match (moved, &recipe.data_path) {
        (Some(set), Some(root)) if set.find(root.as_ref()).is_ok() => {
            DataArgs { data_root: root.into(), ..source.clone() }
        }
        _ => source.clone(),
    }
}

/// The recipe in a run's folder, which knows where the images are and how they were opened.
pub(crate) fn recipe_of(weights: &WeightsArgs) -> Option<Recipe> {
    let text = fs::read_to_string(weights.weights.join("recipe.toml")).ok()?;
    Recipe::from_toml(&text).ok()
}

/// The folder in which a set with a name was looked for, from the root, if it is not the usual one.
pub(crate) fn root_of(source: &DataArgs, recipe: &Recipe) -> Option<String> {
    Known::meant(&recipe.data).filter(|_| source.data_root != Path::new(DATA_ROOT))?;
    Some(std::path::absolute(&source.data_root).ok()?.to_str()?.to_owned())
}

fn found(spec: &str, source: &DataArgs, options: &OpenOptions) -> Result<Listing, Failure> {
    if let Some(set) = Known::meant(spec) {
        fetch(set, source)?;
    }
    Ok(list(spec, &source.data_root, options)?)
}

/// The error of a set with pictures that cannot be decoded, and what can be done about it.
fn unread(error: Error) -> Failure {
    match error {
        Error::Pictures { .. } | Error::Image { .. } => Failure::fault(format!(
            "{error} (--skip-bad goes on without what cannot be decoded; cnn data lists all of it)"
        )),
        error => error.into(),
    }
}

/// Does `work`, which reads pictures, under a bar if somebody is watching.
fn watched<T>(options: OpenOptions, work: impl FnOnce(&OpenOptions) -> Result<T, Failure>) -> Result<T, Failure> {
    let options = options.waiting(|file| {
        output::note(&format!("waiting for another run, which decodes pictures into {}", output::shown(file)));
    });
    let Some(bar) = progress::reading() else { return work(&options) };
    let shown = bar.clone();
    let result = work(&options.progress(move |Decoding { done, total }| {
        shown.set_length(total as u64);
        shown.set_position(done as u64);
    }));
    bar.finish_and_clear();
    result
}

#[cfg(feature = "download")]
fn fetch(set: Known, source: &DataArgs) -> Result<(), Failure> {
    use cnn::data::download::{self, FetchOptions};

    let missing = set.find(&source.data_root).err();
    let options = FetchOptions { mirror: source.mirror.clone(), offline: source.offline, ..FetchOptions::default() };
    if missing.is_some() && !source.offline {
        let (name, url) = (set.name(), source.mirror.as_deref().unwrap_or(set.url()));
        output::note(&format!("{name}: not in {}; fetching it from {url}", source.data_root.display()));
    }
    let mut bar = progress::DownloadBar::default();
    match download::fetch(set, &source.data_root, &options, &mut |at| bar.update(at.file, at.done, at.total)) {
        Ok(_) => Ok(()),
        // Whoever has no network needs to know where the files would be found, as with --offline.
        Err(error @ Error::Download { .. }) => Err(match missing {
            Some(missing) => Failure::usage(format!("{missing} ({error})")),
            None => Failure::fault(error),
        }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(feature = "download"))]
fn fetch(set: Known, source: &DataArgs) -> Result<(), Failure> {
    set.find(&source.data_root)?;
    Ok(())
}

impl WeightsArgs {
    /// The weights file that is meant.
    pub(crate) fn file(&self) -> Result<PathBuf, Failure> {
        if !self.best {
            return weights(&self.weights);
        }
        let path = self.weights.join("best.safetensors");
        if path.is_file() {
            return Ok(path);
        }
        let rule = "no such file: --best is of the folder of a run with images held out, as by --validation";
        Err(Failure::usage(format!("{}: {rule}", path.display())))
    }
}

/// The weights file that an argument means: itself, or that of the run whose folder it is.
pub(crate) fn weights(argument: &Path) -> Result<PathBuf, Failure> {
    let file = if argument.is_dir() { argument.join("model.safetensors") } else { argument.to_owned() };
    match fs::metadata(&file) {
        Ok(found) if found.is_file() => return Ok(file),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Failure::usage(format!("{}: {error}", file.display())));
        }
        _ => {}
    }
    let rule = "no such file: must be a weights file, or the folder of a run that has saved one";
    Err(Failure::usage(format!("{}: {rule}", file.display())))
}
