//! The loop: steps, epochs, evaluation, checkpoints.

use std::fmt::{Debug, Formatter};
use std::fs;
use std::time::{Duration, Instant};

use cnn_core::image::{Border, ImageSpec};
use cnn_core::optim::{Optimizer, Schedule};
use cnn_core::{Backend, Frozen, Pass};
use cnn_data::{Batch, Dataset, Loader, LoaderOptions};
use cnn_models::Model;

use crate::batches::DeviceBatches;
use crate::checkpoint::{self, Progress, digest};
use crate::diagnose::first_not_finite;
use crate::disk::write_atomically;
use crate::evaluation::{EVALUATION_BATCH, Evaluation, evaluate};
use crate::memory::{Need, free};
use crate::metrics;
use crate::networks::Networks;
use crate::report::{Control, EpochReport, Event, StepReport, Summary};
use crate::run_folder::RunFolder;
use crate::weights::{LAYOUT, WeightsInfo};
use crate::{Error, Recipe, Result};

/// A run in progress.
pub struct Trainer<B: Backend> {
    backend: B,
    recipe: Recipe,
    model: Model<B>,
    optimizer: Optimizer<B>,
    schedule: Schedule,
    info: WeightsInfo,
    loader: Loader,
    train: DeviceBatches<B>,
    validation: Option<DeviceBatches<B>>,
    test: DeviceBatches<B>,
    progress: Progress,
    /// What the files of the run say, and since when.
    saved: Option<(Progress, Instant)>,
    trained_images: u64,
    trained_seconds: f64,
}

/// What an evaluation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Validation,
    Test,
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
    pub fn with_networks(backend: &B, mut recipe: Recipe, dataset: Dataset, networks: &Networks<B>) -> Result<Self> {
        recipe.check()?;
        recipe.check_backend(backend)?;
        let dataset = match &recipe.classes {
            Some(names) => dataset.keep_classes(names)?,
            None => dataset,
        };
        let Dataset { name, path, train, validation, test, mean, std, .. } = dataset;
        // A path that is no text cannot be written down.
        recipe.data_path = path.filter(|_| recipe.data_is_a_path()).and_then(|path| Some(path.to_str()?.to_owned()));
        if test.is_empty() {
            return Err(Error::recipe("test images", 0, format!("must be at least one in {name}")));
        }
        let (images, labels) = (train.len() as u64, train.labels());
        let labels = digest(&labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<u8>>());
        let (train, validation) = match (recipe.validation * train.len() as f64).round() as usize {
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
        let image = train.size();
        if let Some(padding) = Some(recipe.augment.crop_padding).filter(|&p| p >= image[0].min(image[1])) {
            let rule = format!("must be below the sides of the {}x{} images", image[0], image[1]);
            return Err(Error::recipe("crop_padding", padding, rule));
        }
        let classes = train.classes().to_vec();
        let mut model = networks.build(&recipe.model, backend, recipe.seed, image, classes.len())?;
        Need::of(backend, &mut *model, image)?.check(recipe.batch.min(train.len()), free())?;
        let optimizer = Optimizer::new(backend, &model, recipe.optimizer_options())?;
        // A last batch of one image has no variance to normalise by; it alone is left out.
        let drop_last = train.len() > recipe.batch && train.len() % recipe.batch == 1;
        let options = LoaderOptions::new(recipe.batch).seed(recipe.seed).shuffle(true).drop_last(drop_last);
        let loader = Loader::new(train.clone(), options)?;
        let steps = loader.batches() as u64;
        if steps == 0 {
            return Err(Error::recipe("training images", train.len(), format!("must be at least one in {name}")));
        }
        let (schedule, augment) = (recipe.schedule(steps), recipe.augment());
        let spec = |border| ImageSpec::new(image, border, &mean, &std);
        let train = DeviceBatches::new(backend, &train, spec(augment.border));
        let validation = validation.map(|images| train.beside(&images, spec(Border::Zero)));
        let test = train.beside(&test, spec(Border::Zero));
        let info = WeightsInfo {
            arch: recipe.model.clone(),
            classes,
            image,
            mean,
            std,
            data: name,
            layout: LAYOUT.to_owned(),
            step: 0,
            precision: recipe.precision,
            conv_algo: recipe.conv_algo.clone(),
            images: Some(images),
            labels: Some(labels),
        };
        Ok(Trainer {
            backend: backend.clone(),
            recipe,
            model,
            optimizer,
            schedule,
            info,
            loader,
            train,
            validation,
            test,
            progress: Progress::default(),
            saved: None,
            trained_images: 0,
            trained_seconds: 0.0,
        })
    }

    /// The run in `folder`, from where it stands. Its next steps are bit for bit those that it would have made.
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
        let mut trainer = Trainer::with_networks(backend, recipe, dataset, networks)?;
        let Trainer { model, optimizer, recipe, info, .. } = &mut trainer;
        let progress = checkpoint::load(folder, backend, &mut **model, optimizer, recipe, info)?;
        info.step = progress.step;
        let steps = trainer.steps();
        if progress.step != u64::from(progress.epoch) * steps + progress.batch {
            let reason = format!(
                "is of step {}, which {steps} steps an epoch do not lead to: the data is not that of the run",
                progress.step
            );
            return Err(Error::file(folder.state(), reason));
        }
        metrics::trim(folder, progress.epoch)?;
        if folder.weights().exists() {
            trainer.saved = Some((progress.clone(), Instant::now()));
        }
        trainer.progress = progress;
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
        self.loader.batches() as u64
    }

    /// Trains to the end of the recipe and evaluates on the test set. Saves before the first step, every
    /// [`Recipe::checkpoint_minutes`], after every epoch, and whatever could be done when an error ends the run.
    ///
    /// # Errors
    /// Files that cannot be read or written, a step or an evaluation that is not finite. The checkpoint is then of the
    /// last step before, or, if that could not be saved, the one before.
    pub fn run(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Summary> {
        let start = Instant::now();
        write_atomically(&folder.recipe(), self.recipe.to_toml()?.as_bytes())?;
        if self.saved.is_none() {
            self.save(folder, observe)?;
        }
        while self.progress.epoch < self.recipe.epochs {
            match self.epoch(folder, observe) {
                Ok(Control::Continue) => {}
                Ok(Control::Stop) => {
                    self.save_if_new(folder, observe)?;
                    return Ok(self.summary(None, start));
                }
                Err(error) => {
                    // The error that is told is the one that ended the run; what could not be saved stays as it was.
                    let _ = self.save_if_new(folder, observe);
                    return Err(error);
                }
            }
        }
        let test = self.evaluate(Split::Test, observe)?;
        let summary = self.summary(Some(test), start);
        write_atomically(&folder.results(), summary.results(&self.info.classes).as_bytes())?;
        Ok(summary)
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
        let pause = Duration::try_from_secs_f64(60.0 * self.recipe.checkpoint_minutes).unwrap_or(Duration::MAX);
        let first = self.progress.batch as usize;
        let mut lr = self.schedule.rate(self.progress.step.saturating_sub(1));
        let batches = self.loader.epoch_from(epoch - 1, first, &augment);
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
            // The end of an epoch saves anyway.
            if self.progress.batch < steps && self.saved.as_ref().is_none_or(|(_, at)| at.elapsed() >= pause) {
                self.save(folder, observe)?;
                begun = Instant::now();
            }
        }
        let [loss, correct, images, seconds] = self.progress.sums;
        let validation = self.validation.is_some().then(|| self.evaluate(Split::Validation, observe)).transpose()?;
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
        // The row first: a row too many is taken out by a resume, one too few would be missed for ever.
        metrics::append_row(folder, &report)?;
        self.progress = Progress { epoch, step: self.progress.step, ..Progress::default() };
        self.save(folder, observe)?;
        Ok(observe(&Event::EpochEnd(report)))
    }

    /// One step; returns the mean loss of the batch and how many of its images were correct.
    fn step(&mut self, batch: &Batch, lr: f64) -> Result<(f64, u32)> {
        let (seed, smoothing) = (self.recipe.seed, self.recipe.label_smoothing);
        let at = self.progress.step as u32;
        let images = self.train.tensor(batch)?;
        let pass = Pass::train(&self.backend, seed).at_step(at);
        let loss = self.model.call(&pass.input(images)?)?.cross_entropy(&batch.labels, smoothing)?;
        let gradients = loss.backward()?;
        let health = self.optimizer.step(lr, &mut self.model, &gradients)?;
        let value = loss.to_f64()?;
        if self.backend.download(&health.finite)?.first() != Some(&1) {
            let images = self.train.tensor(batch)?;
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

    fn evaluate(&mut self, split: Split, observe: &mut dyn FnMut(&Event) -> Control) -> Result<Evaluation> {
        let model = Frozen::new(&self.backend, &mut *self.model, &self.info.image)?;
        let batches = match (split, &self.validation) {
            (Split::Validation, Some(validation)) => validation,
            _ => &self.test,
        };
        evaluate(&self.backend, &model, batches, EVALUATION_BATCH, &mut |done, total| {
            observe(&Event::Evaluating { done, total });
        })
    }

    fn save(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<()> {
        let Trainer { backend, model, optimizer, recipe, info, progress, .. } = &*self;
        checkpoint::save(folder, backend, &**model, optimizer, recipe, info, progress)?;
        self.saved = Some((self.progress.clone(), Instant::now()));
        observe(&Event::Saved { path: folder.weights() });
        Ok(())
    }

    /// Saves, unless this is what was saved last.
    fn save_if_new(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) -> Result<()> {
        if self.saved.as_ref().is_some_and(|(saved, _)| *saved == self.progress) {
            return Ok(());
        }
        self.save(folder, observe)
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
