//! A run: made from a recipe and a data set, or found again in its folder. Its file `run` is the loop, `rehearsal` a step that is
//! taken back, `trial` steps that belong to no run.

mod freezing;
mod guards;
mod rehearsal;
mod run;
mod step;
mod trial;
mod watch;

use std::fmt::{Debug, Formatter};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cnn_core::image::{Border, ImageSpec};
use cnn_core::nn::{Module, parameters_mut};
use cnn_core::ops::ClassWeights;
use cnn_core::optim::{Average, Group, Optimizer};
use cnn_core::{Backend, Real, Tensor};
use cnn_data::{Augment, Dataset, ImageSet, Loader, LoaderOptions, Preprocess};
use cnn_models::Model;

use crate::batches::DeviceBatches;
use crate::blocks::Blocks;
use crate::checkpoint::{self, Progress, Timed, digest};
use crate::events::EventFile;
use crate::memory::{Need, free};
use crate::metrics;
use crate::networks::Networks;
use crate::run_folder::RunFolder;
use crate::weights::{LAYOUT, WeightsInfo};
use crate::{Error, ExtensionRecipe, InitRecipe, Loaded, Recipe, Result};

use freezing::Freezing;
use guards::Guards;
pub use trial::{Overfit, RateRange};

/// A run in progress.
pub struct Trainer<B: Backend> {
    backend: B,
    recipe: Recipe,
    model: Model<B>,
    optimizer: Optimizer<B>,
    /// The average of the weights that the run is about, if it is.
    average: Option<Average<B>>,
    /// What the classes count in the loss, if not all alike.
    class_weights: Option<ClassWeights<B>>,
    /// The loss of who knows nothing.
    guess: f64,
    info: WeightsInfo,
    loader: Loader,
    train: DeviceBatches<B>,
    validation: Option<DeviceBatches<B>>,
    test: DeviceBatches<B>,
    progress: Progress,
    timed: Timed,
    /// Multiplications of an image on its way forward.
    macs: u64,
    /// The folder whose run this is, once it has one.
    home: Option<PathBuf>,
    /// What was not as it had been written.
    warnings: Vec<String>,
    /// What TensorBoard shows of the run, as long as that can be written.
    events: Option<EventFile>,
    /// What of the weights the file had that they began as.
    loaded: Option<Loaded>,
    /// Which parameters stay as they are, and when.
    freezing: Freezing,
    /// What is looked at on the way.
    guards: Guards,
    /// Steps that the device may run behind the loop.
    behind: usize,
    /// The arithmetic of the steps before, if it was another.
    other_arithmetic: Option<String>,
    /// What was saved last.
    saved: Option<Saved>,
    /// Whether an update has failed, so that the weights are those of no step.
    torn: bool,
    trained_images: u64,
    trained_seconds: f64,
}

/// What the files of a run say, and since when.
struct Saved {
    progress: Progress,
    at: Instant,
}

impl Saved {
    fn now(progress: &Progress) -> Self {
        Saved { progress: progress.clone(), at: Instant::now() }
    }
}

/// A folder by the one name that it has for everybody; by that which it was given if it is not there.
fn full(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

/// The most numbers of images that initial values are computed from: those of 5,000 images of CIFAR-10.
const INITIALISING: usize = 5000 * 32 * 32 * 3;

/// Lets the model compute initial values from some of the images that it will learn from, if it has such.
fn initialise<B: Backend>(backend: &B, model: &mut dyn Module<B>, images: &ImageSet, spec: ImageSpec) -> Result<()> {
    let mut failed = None;
    let some = || -> Result<Tensor<B>> {
        let count = (INITIALISING / spec.numel().max(1)).clamp(1, images.len().max(1));
        let loader = Loader::new(images.clone(), LoaderOptions::new(count))?;
        let batch = loader.epoch(0, &Augment::NONE).next();
        let none = || Error::recipe("training images", 0, "must be at least one");
        DeviceBatches::new(backend, images, spec.clone()).tensor(&batch.ok_or_else(none)??)
    };
    let mut images = || {
        some().map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            cnn_core::Error::invalid("images to begin with", text, "must be read")
        })
    };
    let initialised = model.initialise(backend, &mut images);
    // What could not be read is told as it is.
    match failed {
        Some(error) => Err(error),
        None => Ok(initialised?),
    }
}

/// Of a network that cannot be made for its images, the error that names them; others as they are.
fn refused(error: Error, model: &str, [height, width, channels]: [usize; 3]) -> Error {
    match error {
        Error::Core(error @ (cnn_core::Error::Invalid { .. } | cnn_core::Error::Layer { .. })) => {
            let rule = format!("{model} cannot take them: {error}");
            Error::recipe("images", format!("{height}x{width}x{channels}"), rule)
        }
        other => other,
    }
}

/// What an evaluation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Validation,
    Test,
    /// The test images by several views of each.
    TestByViews,
}

impl<B: Backend> Trainer<B> {
    /// A run from the beginning, of one of the networks of `cnn-models`.
    ///
    /// # Errors
    /// A recipe that breaks a rule, or does not fit the images, the backend or the memory that there is.
    pub fn new(backend: &B, recipe: Recipe, dataset: Dataset) -> Result<Self> {
        Self::with_networks(backend, recipe, dataset, &Networks::new())
    }

    /// A run from the beginning, of one of `networks`.
    ///
    /// # Errors
    /// As [`Trainer::new`], and those of the network.
    pub fn with_networks(backend: &B, recipe: Recipe, dataset: Dataset, networks: &Networks<B>) -> Result<Self> {
        Self::made(backend, recipe, dataset, networks, true)
    }

    /// A run at its beginning; `fresh` if its first weights are to be read where the recipe says so, and not to be replaced by
    /// those of a checkpoint.
    fn made(backend: &B, mut recipe: Recipe, dataset: Dataset, networks: &Networks<B>, fresh: bool) -> Result<Self> {
        recipe.check()?;
        recipe.check_backend(backend)?;
        let dataset = match &recipe.classes {
            Some(names) => dataset.keep_classes(names)?,
            None => dataset,
        };
        let Dataset { name, path, train, validation, test, mut mean, mut std, .. } = dataset;
        let (image @ [height, width, _], [rows, columns, _]) = (train.shown(), train.size());
        let found = [height, width];
        let resize = Some([rows, columns]).filter(|stored| *stored != found);
        let preprocess = Preprocess { resize, ..recipe.preprocess };
        if let Some([h, w]) = recipe.size.filter(|size| *size != found) {
            let rule = format!("must be {height}x{width}, the size of the images of {name}");
            return Err(Error::recipe("size", format!("{h}x{w}"), rule));
        }
        if recipe.data_is_a_path() {
            // Whoever resumes the run opens the data as the recipe says.
            recipe.size = path.is_some().then_some(found).or(recipe.size);
            recipe.preprocess = if path.is_some() { preprocess } else { recipe.preprocess };
            // A path that is no text cannot be written down.
            recipe.data_path = path.and_then(|path| Some(path.to_str()?.to_owned()));
        }
        if test.is_empty() {
            return Err(Error::recipe("test images", 0, format!("must be at least one in {name}")));
        }
        recipe.multi_label = recipe.of_labels(&name, train.is_multi_label())?;
        let (images, labels) = (train.len() as u64, train.labels());
        let mut labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        if train.is_multi_label() {
            // Where those of an image end.
            labels.extend((0..train.len()).flat_map(|i| (train.classes_of(i).len() as u32).to_le_bytes()));
        }
        let labels = digest(&labels);
        let (train, validation) = match recipe.held_out(train.len()) {
            0 if recipe.validation > 0.0 => {
                let rule = format!("holds out none of the {} training images", train.len());
                return Err(Error::recipe("validation", recipe.validation, rule));
            }
            0 => (train, validation),
            held_out => {
                let (train, validation) = train.split_validation(held_out, recipe.seed)?;
                (train, Some(validation))
            }
        };
        if let Some(padding) = Some(recipe.augment.crop_padding).filter(|&p| p >= rows.min(columns)) {
            let rule = format!("must be below the sides of the {rows}x{columns} images");
            return Err(Error::recipe("crop_padding", padding, rule));
        }
        let classes = train.classes().to_vec();
        let mut model = networks
            .build(&recipe.model, backend, recipe.seed, image, classes.len())
            .map_err(|error| refused(error, &recipe.model, image))?;
        let need = Need::of(backend, &mut *model, image)?;
        need.check(recipe.batch.min(train.len()).div_ceil(recipe.accumulate), free(backend)?)?;
        let freezing = Freezing::new(&*model, &recipe)?;
        for InitRecipe { pattern, .. } in &recipe.init {
            freezing::matching(&*model, "init", pattern, |name| Group::new(pattern, 1.0).matches(name))?;
        }
        let options = recipe.optimizer_options(freezing.head());
        let options = match recipe.optimizer.layer_decay {
            Some(decay) => Blocks::of(&*model, freezing.head()).decayed(options, decay),
            None => options,
        };
        let optimizer = Optimizer::new(backend, &model, options)?;
        let weights = recipe.weights_of(&classes, &train.class_sizes(), train.len())?;
        let guess = recipe.guess(&train.class_sizes(), train.len(), weights.as_deref());
        let class_weights = weights.map(|weights| ClassWeights::new(backend, &weights)).transpose()?;
        let options = LoaderOptions::new(recipe.batch).seed(recipe.seed).shuffle(true).balanced(recipe.balanced);
        let samples = Loader::new(train.clone(), options.clone())?.samples();
        // A last batch of one image has no variance to normalise by; it alone is left out.
        let drop_last = samples > recipe.batch && samples % recipe.batch == 1;
        let loader = Loader::new(train.clone(), options.drop_last(drop_last))?;
        let steps = loader.batches() as u64;
        if steps == 0 {
            return Err(Error::recipe("training images", train.len(), format!("must be at least one in {name}")));
        }
        if let Some(validation) = validation.as_ref().filter(|set| set.is_multi_label() && set.labels().is_empty()) {
            let rule = "must have some with a label, as they choose the best epoch";
            return Err(Error::recipe("validation images", format!("{}, none with a label", validation.len()), rule));
        }
        if let (Some(stopping), None) = (&recipe.early_stopping, &validation) {
            let rule = "must have images that are held out to go by: set validation to a part of the training images";
            return Err(Error::recipe("early_stopping.patience", stopping.patience, rule));
        }
        let augment = recipe.augment();
        let plain = ImageSpec::new(train.size(), Border::Zero, &mean, &std).with_output(found);
        initialise(backend, &mut *model, &train, plain)?;
        for InitRecipe { pattern, value } in &recipe.init {
            let group = Group::new(pattern, 1.0);
            for parameter in parameters_mut(&mut *model).into_iter().filter(|p| group.matches(p.name())) {
                *parameter.value_mut() = backend.fill(parameter.shape().numel(), Real::from_f64(*value))?;
            }
        }
        let mut loaded = None;
        if let Some(pretrained) = &mut recipe.pretrained {
            if fresh {
                loaded = Some(pretrained.load(backend, &mut *model, &recipe.model, &classes, image[2])?);
            }
            (mean, std) = pretrained.normalisation(image[2])?;
        }
        let average = recipe.average.as_ref().map(|of| Average::new(backend, &model, of.decay)).transpose()?;
        let info = WeightsInfo {
            arch: recipe.model.clone(),
            classes,
            image,
            preprocess,
            mean,
            std,
            data: name,
            layout: LAYOUT.to_owned(),
            step: 0,
            precision: recipe.precision,
            conv_algo: recipe.conv_algo.clone(),
            images: Some(images),
            labels: Some(labels),
            multi_label: recipe.multi_label,
        };
        let train = DeviceBatches::new(backend, &train, info.spec(augment.border));
        let validation = validation.map(|images| train.beside(&images, info.spec(Border::Zero)));
        // What is plain reads nothing outside of an image.
        let test = train.beside(&test, info.spec(Border::Reflect));
        Ok(Trainer {
            backend: backend.clone(),
            recipe,
            model,
            optimizer,
            average,
            class_weights,
            guess,
            info,
            loader,
            train,
            validation,
            test,
            progress: Progress::default(),
            timed: Timed::default(),
            macs: need.macs,
            home: None,
            warnings: Vec::new(),
            events: None,
            loaded,
            freezing,
            guards: Guards::default(),
            behind: backend.steps_behind(),
            other_arithmetic: None,
            saved: None,
            torn: false,
            trained_images: 0,
            trained_seconds: 0.0,
        })
    }

    /// The run in `folder`, from where it stands. Its next steps are bit for bit those that it would have made, if
    /// [this arithmetic](Trainer::other_arithmetic) made those before.
    ///
    /// # Errors
    /// Files that are missing, broken, or of another recipe or model.
    pub fn resume(backend: &B, folder: &RunFolder, dataset: Dataset) -> Result<Self> {
        Self::resume_with_networks(backend, folder, dataset, &Networks::new())
    }

    /// The run in `folder` of one of `networks`, as [`Trainer::resume`].
    ///
    /// # Errors
    /// As [`Trainer::resume`].
    pub fn resume_with_networks(
        backend: &B,
        folder: &RunFolder,
        dataset: Dataset,
        networks: &Networks<B>,
    ) -> Result<Self> {
        let path = folder.recipe();
        let text = fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
        let recipe = Recipe::from_toml(&text).map_err(|error| Error::file(&path, error))?;
        let mut trainer = Trainer::made(backend, recipe, dataset, networks, false)?;
        let Trainer { model, optimizer, average, recipe, info, .. } = &mut trainer;
        let trained = checkpoint::Trained { model: &mut **model, optimizer, average };
        let loaded = checkpoint::load(folder, backend, trained, recipe, info)?;
        let checkpoint::Loaded { progress, timed, arithmetic, mut warnings } = loaded;
        info.step = progress.step;
        let steps = trainer.steps();
        if progress.step != u64::from(progress.epoch) * steps + progress.batch {
            let reason = format!(
                "is of step {}, which {steps} steps an epoch do not lead to: the data is not that of the run",
                progress.step
            );
            return Err(Error::file(folder.state(), reason));
        }
        warnings.extend(metrics::restore(folder, &timed.metrics, trainer.info.multi_label)?);
        trainer.saved = folder.is_saved().then(|| Saved::now(&progress));
        trainer.home = Some(full(folder.path()));
        (trainer.progress, trainer.timed, trainer.warnings) = (progress, timed, warnings);
        trainer.other_arithmetic = arithmetic.filter(|arithmetic| *arithmetic != backend.arithmetic());
        Ok(trainer)
    }

    /// What of its first weights came from the file that the recipe names, if it names one; none of a run that was resumed.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// What the recipe does about classes of different sizes, in a sentence; none where it does nothing.
    pub fn tell_classes(&self) -> Option<String> {
        let weights = self.class_weights.as_ref().map(ClassWeights::values);
        self.recipe.tell_classes(&self.info.classes, &self.train.images().class_sizes(), weights)
    }

    /// Whether all of its epochs are made.
    pub fn is_complete(&self) -> bool {
        self.progress.epoch >= self.recipe.all_epochs()
    }

    /// Adds epochs to the run, behind those that it has: from the next step on the learning rate is that which a run of so many
    /// epochs has there. The recipe notes that, and a run of that recipe makes the same steps from its start.
    ///
    /// Where the schedule falls to its end, the rate thus rises again and falls to its end anew; a constant one stays what it
    /// is. A run that [stopped early](crate::EarlyStoppingRecipe) has all its patience again.
    ///
    /// # Errors
    /// No epoch, or more than can be counted.
    pub fn extend(&mut self, epochs: u32) -> Result<()> {
        let mut recipe = self.recipe.clone();
        recipe.extended.push(ExtensionRecipe { after_steps: self.progress.step, epochs });
        recipe.check()?;
        self.recipe = recipe;
        Ok(())
    }

    /// Gives the whole run this many [seconds](Recipe::max_seconds), those before it was resumed among them.
    ///
    /// # Errors
    /// A number that is none, or not above 0.
    pub fn limit_seconds(&mut self, seconds: f64) -> Result<()> {
        let recipe = Recipe { max_seconds: Some(seconds), ..self.recipe.clone() };
        recipe.check()?;
        self.recipe = recipe;
        Ok(())
    }

    /// What of the files of the run that was resumed was not as it had been written, each in a line: a checkpoint that is damaged,
    /// in place of which the one before is used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What the weights file will say.
    pub fn info(&self) -> &WeightsInfo {
        &self.info
    }

    /// The model.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// The [arithmetic](cnn_core::Device::arithmetic) of the steps before this one was resumed, if it was another than
    /// this backend's: the next steps are then rounded differently than the run would have rounded them there.
    pub fn other_arithmetic(&self) -> Option<&str> {
        self.other_arithmetic.as_deref()
    }

    /// Multiplications of one image on its way forward; training takes three times as many.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// Steps of an epoch.
    pub fn steps(&self) -> u64 {
        self.loader.batches() as u64
    }
}

impl<B: Backend> Debug for Trainer<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Trainer { recipe, info, progress, .. } = self;
        f.debug_struct("Trainer")
            .field("recipe", recipe)
            .field("info", info)
            .field("progress", progress)
            .finish_non_exhaustive()
    }
}
