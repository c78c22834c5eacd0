//! The loop: steps, epochs, evaluation, checkpoints.

use std::fs;
use std::time::Instant;

use cnn_core::image::Border;
use cnn_core::optim::{Optimizer, Schedule};
use cnn_core::{Backend, Frozen, Pass};
use cnn_data::{Batch, Dataset, ImageSet, Loader};
use cnn_models::{Arch, Model};

use crate::checkpoint::{self, Progress};
use crate::diagnose::first_not_finite;
use crate::evaluation::{EVALUATION_BATCH, Evaluation, evaluate};
use crate::feed::Feed;
use crate::run_folder::{RunFolder, write_atomically};
use crate::weights::{LAYOUT, WeightsInfo};
use crate::{Error, Recipe, Result};

/// What an observer of a run answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save and end after this step.
    Stop,
}

/// What a run tells its observer.
#[derive(Clone, Debug)]
pub enum Event {
    /// An epoch begins, or goes on where the run was interrupted.
    EpochBegin {
        /// From 1.
        epoch: u32,
        /// Of the whole run.
        epochs: u32,
        /// Steps of this epoch that were done before.
        done: u64,
        /// Steps of an epoch.
        steps: u64,
    },
    /// A step was made.
    Step(StepReport),
    /// An evaluation goes on.
    Evaluating {
        /// Images so far.
        done: u64,
        /// All images.
        total: u64,
    },
    /// An epoch is complete.
    EpochEnd(EpochReport),
    /// Weights and state were written.
    Saved {
        /// The weights file.
        path: std::path::PathBuf,
    },
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// From 1.
    pub epoch: u32,
    /// Within the epoch, from 1.
    pub step: u64,
    /// Steps of an epoch.
    pub steps: u64,
    /// Mean loss of the batch.
    pub loss: f64,
    /// Part of this epoch's images so far that was correct when it was seen.
    pub accuracy: f64,
    /// Learning rate.
    pub lr: f64,
    /// Of this epoch so far.
    pub images_per_second: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochReport {
    /// From 1.
    pub epoch: u32,
    /// Steps of the run so far.
    pub step: u64,
    /// Mean loss over the epoch, each batch measured before its step.
    pub train_loss: f64,
    /// Part of the images that was correct when it was seen.
    pub train_accuracy: f64,
    /// On the images held out, if there are any.
    pub validation: Option<Evaluation>,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Spent in training.
    pub seconds: f64,
    /// In training.
    pub images_per_second: f64,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// On the test set, which is read once at the end; none if the run was interrupted.
    pub test: Option<Evaluation>,
    /// Epochs that are complete.
    pub epochs: u32,
    /// Steps in all.
    pub steps: u64,
    /// From the start of this process's part of the run to its end, evaluation included.
    pub seconds: f64,
    /// Training images per second of training, in this process.
    pub images_per_second: f64,
    /// The recipe's seed.
    pub seed: u64,
    /// Whether the observer stopped the run.
    pub interrupted: bool,
}

/// A run in progress.
pub struct Trainer<B: Backend> {
    backend: B,
    recipe: Recipe,
    model: Model<B>,
    optimizer: Optimizer<B>,
    schedule: Schedule,
    info: WeightsInfo,
    train: ImageSet,
    validation: Option<ImageSet>,
    test: ImageSet,
    loader: Loader,
    drop_last: bool,
    feed: Feed<B>,
    progress: Progress,
    trained_images: u64,
    trained_seconds: f64,
}

impl<B: Backend> Trainer<B> {
    /// A run from the beginning.
    ///
    /// # Errors
    /// A recipe that breaks a rule, or does not fit the images or the backend.
    pub fn new(backend: &B, recipe: Recipe, dataset: Dataset) -> Result<Self> {
        recipe.check()?;
        recipe.check_backend(backend)?;
        let dataset = match &recipe.classes {
            Some(names) => dataset.keep_classes(names)?,
            None => dataset,
        };
        let Dataset { name, train, test, mean, std } = dataset;
        if test.is_empty() {
            return Err(Error::recipe("test images", 0, format!("must be at least one in {name}")));
        }
        let (train, validation) = match (recipe.validation * train.len() as f64).round() as usize {
            0 => (train, None),
            held_out => {
                let (train, validation) = train.split_validation(held_out, recipe.seed)?;
                (train, Some(validation))
            }
        };
        let image = [train.height, train.width, train.channels];
        if let Some(padding) = Some(recipe.augment.crop_padding).filter(|&p| p >= image[0].min(image[1])) {
            let rule = format!("must be below the sides of the {}x{} images", image[0], image[1]);
            return Err(Error::recipe("crop_padding", padding, rule));
        }
        let arch: Arch = recipe.model.parse()?;
        let classes = train.classes().to_vec();
        let model = arch.build(backend, recipe.seed, image, classes.len())?;
        let optimizer = Optimizer::new(backend, &model, recipe.optimizer_options())?;
        // A last batch of one image has no variance to normalise by; it alone is left out.
        let drop_last = train.len() > recipe.batch && train.len() % recipe.batch == 1;
        let loader = Loader::new(train.clone(), recipe.batch, recipe.seed, 0)?;
        let steps = loader.batches(drop_last) as u64;
        if steps == 0 {
            return Err(Error::recipe("training images", train.len(), format!("must be at least one in {name}")));
        }
        let (schedule, augment) = (recipe.schedule(steps), recipe.augment());
        let feed = Feed::new(&train, augment.border, &mean, &std);
        let info = WeightsInfo {
            arch: arch.to_string(),
            classes,
            image,
            mean,
            std,
            data: name,
            layout: LAYOUT.to_owned(),
            step: 0,
            precision: recipe.precision,
            conv_algo: recipe.conv_algo,
        };
        Ok(Trainer {
            backend: backend.clone(),
            recipe,
            model,
            optimizer,
            schedule,
            info,
            train,
            validation,
            test,
            loader,
            drop_last,
            feed,
            progress: Progress::default(),
            trained_images: 0,
            trained_seconds: 0.0,
        })
    }

    /// The run in `folder`, from where it stands. Its next steps are bit for bit those that it would have made.
    ///
    /// # Errors
    /// Files that are missing, broken, or of another recipe or model.
    pub fn resume(backend: &B, folder: &RunFolder, dataset: Dataset) -> Result<Self> {
        let path = folder.recipe();
        let text = fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
        let recipe = Recipe::from_toml(&text).map_err(|error| Error::file(&path, error))?;
        let mut trainer = Trainer::new(backend, recipe, dataset)?;
        trainer.progress =
            checkpoint::load(folder, backend, &mut *trainer.model, &mut trainer.optimizer, &trainer.recipe)?;
        trainer.info.step = trainer.progress.step;
        let steps = trainer.steps();
        if trainer.progress.step != u64::from(trainer.progress.epoch) * steps + trainer.progress.batch {
            let reason = format!(
                "is of step {}, which {steps} steps an epoch do not lead to: the data is not that of the run",
                trainer.progress.step
            );
            return Err(Error::file(folder.state(), reason));
        }
        trim_metrics(folder, trainer.progress.epoch)?;
        Ok(trainer)
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

    /// Steps of an epoch.
    pub fn steps(&self) -> u64 {
        self.loader.batches(self.drop_last) as u64
    }

    /// Trains to the end of the recipe, saving after every epoch, and evaluates on the test set.
    ///
    /// # Errors
    /// Files that cannot be read or written, and a step that is not finite.
    pub fn run(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Summary> {
        let start = Instant::now();
        write_atomically(&folder.recipe(), self.recipe.to_toml()?.as_bytes())?;
        while self.progress.epoch < self.recipe.epochs {
            if self.epoch(folder, observe)? == Control::Stop {
                self.save(folder, observe)?;
                return Ok(self.summary(None, start));
            }
        }
        let test = self.evaluate(&self.test.clone(), observe)?;
        Ok(self.summary(Some(test), start))
    }

    fn summary(&self, test: Option<Evaluation>, start: Instant) -> Summary {
        Summary {
            interrupted: test.is_none(),
            test,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            seconds: start.elapsed().as_secs_f64(),
            images_per_second: self.trained_images as f64 / self.trained_seconds.max(1e-9),
            seed: self.recipe.seed,
        }
    }

    /// The rest of the current epoch, its validation and its checkpoint.
    fn epoch(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Control> {
        let (epoch, epochs, steps) = (self.progress.epoch + 1, self.recipe.epochs, self.steps());
        let begin = Event::EpochBegin { epoch, epochs, done: self.progress.batch, steps };
        if observe(&begin) == Control::Stop {
            return Ok(Control::Stop);
        }
        let augment = self.recipe.augment();
        let first = self.progress.batch as usize;
        let mut lr = self.schedule.rate(self.progress.step.saturating_sub(1));
        let batches = self.loader.epoch_from(epoch - 1, first, &augment, true, self.drop_last);
        let mut begun = Instant::now();
        for batch in batches {
            let batch = batch?;
            lr = self.schedule.rate(self.progress.step);
            let (loss, correct) = self.step(&batch, lr)?;
            let (images, seconds) = (batch.labels.len() as f64, begun.elapsed().as_secs_f64());
            begun = Instant::now();
            self.trained_images += batch.labels.len() as u64;
            self.trained_seconds += seconds;
            self.progress.batch += 1;
            for (sum, value) in self.progress.sums.iter_mut().zip([loss * images, f64::from(correct), images, seconds])
            {
                *sum += value;
            }
            let [_, correct, images, seconds] = self.progress.sums;
            let report = StepReport {
                epoch,
                step: self.progress.batch,
                steps,
                loss,
                accuracy: correct / images,
                lr,
                images_per_second: images / seconds,
            };
            if observe(&Event::Step(report)) == Control::Stop {
                return Ok(Control::Stop);
            }
        }
        let [loss, correct, images, seconds] = self.progress.sums;
        let validation = self.validation.clone().map(|images| self.evaluate(&images, observe)).transpose()?;
        self.progress = Progress { epoch, step: self.progress.step, ..Progress::default() };
        let report = EpochReport {
            epoch,
            step: self.progress.step,
            train_loss: loss / images,
            train_accuracy: correct / images,
            validation,
            lr,
            seconds,
            images_per_second: images / seconds,
        };
        folder.append_metrics(METRICS, &row(&report))?;
        self.save(folder, observe)?;
        Ok(observe(&Event::EpochEnd(report)))
    }

    /// One step; returns the mean loss of the batch and how many of its images were correct.
    fn step(&mut self, batch: &Batch, lr: f64) -> Result<(f64, u32)> {
        let (seed, smoothing) = (self.recipe.seed, self.recipe.label_smoothing);
        let at = self.progress.step as u32;
        let images = self.feed.images(&self.backend, &self.train, batch)?;
        let pass = Pass::train(&self.backend, seed).at_step(at);
        let loss = self.model.call(&pass.input(images)?)?.cross_entropy(&batch.labels, smoothing)?;
        let gradients = loss.backward()?;
        let health = self.optimizer.step(lr, &mut self.model, &gradients, &loss)?;
        let value = loss.to_f64()?;
        if self.backend.download(&health.finite)?.first() != Some(&1) {
            let images = self.feed.images(&self.backend, &self.train, batch)?;
            let pass = Pass::train(&self.backend, seed).at_step(at);
            let place = first_not_finite(&self.backend, &mut *self.model, images, &batch.labels, smoothing, pass)?;
            return Err(Error::NotFinite {
                epoch: self.progress.epoch + 1,
                step: self.progress.step + 1,
                what: if value.is_finite() { "a gradient".into() } else { "the loss".into() },
                place: place.map(|place| format!("; first seen in {place}")).unwrap_or_default(),
            });
        }
        self.progress.step += 1;
        self.info.step = self.progress.step;
        Ok((value, loss.correct()?))
    }

    fn evaluate(&mut self, images: &ImageSet, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Evaluation> {
        let mut feed = Feed::new(images, Border::Zero, &self.info.mean, &self.info.std);
        let model = Frozen::new(&self.backend, &mut *self.model, &self.info.image)?;
        evaluate(&self.backend, &model, &mut feed, images, EVALUATION_BATCH, &mut |done, total| {
            observe(&Event::Evaluating { done, total });
        })
    }

    fn save(&self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<()> {
        let Trainer { backend, model, optimizer, recipe, info, progress, .. } = self;
        checkpoint::save(folder, backend, &**model, optimizer, recipe, info, progress)?;
        observe(&Event::Saved { path: folder.weights() });
        Ok(())
    }
}

/// Header of `metrics.csv`.
const METRICS: &str =
    "epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_second";

fn row(report: &EpochReport) -> String {
    let EpochReport { epoch, step, train_loss, train_accuracy, lr, seconds, images_per_second, .. } = report;
    let (loss, accuracy) = match &report.validation {
        Some(validation) => (validation.loss.to_string(), validation.accuracy().to_string()),
        None => (String::new(), String::new()),
    };
    format!("{epoch},{step},{lr},{train_loss},{train_accuracy},{loss},{accuracy},{seconds:.3},{images_per_second:.1}")
}

/// Takes out rows of epochs that the checkpoint does not know of: they will be written again.
fn trim_metrics(folder: &RunFolder, epochs: u32) -> Result<()> {
    let path = folder.metrics();
    let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
    let known = |line: &&str| {
        line.split(',').next().and_then(|epoch| epoch.parse::<u32>().ok()).is_none_or(|epoch| epoch <= epochs)
    };
    let kept: String = text.lines().filter(known).map(|line| format!("{line}\n")).collect();
    if kept == text { Ok(()) } else { write_atomically(&path, kept.as_bytes()) }
}
