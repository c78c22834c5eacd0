//! `cnn train --explain`: what the network makes of some images, recorded after every epoch from the weights that the run saves.
//! The training itself knows nothing of it, so it is the same to the bit.

use std::path::{Path, PathBuf};

use cnn::core::Backend;
use cnn::data::{Preprocess, decode_image};
use cnn::train::{Networks, RunFolder, Trained, Trainer, Weights, WeightsInfo};
use cnn_pages::{TIMELINE, Timeline};

use super::failure::Failure;
use super::output;

/// Refuses images that cannot be followed, before anything is downloaded or made.
pub(super) fn check(images: &[PathBuf]) -> Result<(), Failure> {
    let most = Timeline::MOST_IMAGES;
    if images.len() > most {
        return Err(Failure::usage(format!("explain: {} images: must be at most {most}", images.len())));
    }
    images.iter().try_for_each(|image| Ok(decode_image(image, [1, 1, 3], &Preprocess::default()).map(|_| ())?))
}

/// The timeline of a run that is about to begin, or to go on in `resumed`; none if none is asked for or there.
///
/// # Errors
/// An image cannot be read, or there are too many with those of before.
pub(super) fn of(
    resumed: Option<&RunFolder>,
    info: &WeightsInfo,
    images: &[PathBuf],
) -> Result<Option<Timeline>, Failure> {
    let before = resumed.map(|folder| Timeline::read(folder.path(), info)).transpose().unwrap_or_else(|error| {
        let next = match resumed.filter(|_| !images.is_empty()).map(|folder| Timeline::set_aside(folder.path())) {
            None => "the run goes on without one; --explain IMAGE begins another".to_owned(),
            Some(Ok(aside)) => format!("it is now {}, and another begins here", output::shown(&aside)),
            Some(Err(error)) => format!("it cannot be set aside ({error}), and another begins here in its place"),
        };
        output::note(&format!("warning: the timeline cannot be read: {error}: {next}"));
        None
    });
    let mut timeline = before.flatten().unwrap_or_else(|| Timeline::new(info));
    images.iter().try_for_each(|image| timeline.follow(image))?;
    Ok((!timeline.is_empty()).then_some(timeline))
}

/// What records the timeline of a run.
pub(super) struct Recorder<'a, B: Backend> {
    backend: &'a B,
    folder: &'a Path,
    /// Of an epoch.
    steps: u64,
    timeline: Timeline,
}

impl<'a, B: Backend> Recorder<'a, B> {
    /// For the run of `trainer` in `folder`, from where it stands.
    pub(super) fn new(backend: &'a B, folder: &'a RunFolder, trainer: &Trainer<B>, mut timeline: Timeline) -> Self {
        let (step, steps) = (trainer.info().step, trainer.steps());
        let epoch = (step / steps) as u32;
        timeline.forget_after(epoch);
        let mut recorder = Recorder { backend, folder: folder.path(), steps, timeline };
        // The process before may have ended between the save and its record; and an image may be new.
        if folder.weights().is_file() && !recorder.timeline.has(epoch) {
            recorder.saved(&folder.weights()).unwrap_or_else(|warning| output::note(&warning));
        }
        recorder
    }

    /// Records the epoch whose weights were saved at `path`, if they are those of the end of one.
    ///
    /// # Errors
    /// The warning that it could not be done.
    pub(super) fn saved(&mut self, path: &Path) -> Result<(), String> {
        self.record(path).map_err(|error| format!("warning: {TIMELINE} lacks an epoch: {error}"))
    }

    fn record(&mut self, path: &Path) -> cnn::Result<()> {
        let weights = Weights::read(path)?;
        let step = weights.info().step;
        if step.is_multiple_of(self.steps) {
            let mut trained = Trained::from_weights(self.backend, weights, &Networks::new())?;
            self.timeline.record((step / self.steps) as u32, &mut trained)?;
            self.timeline.save(self.folder)?;
        }
        Ok(())
    }

    /// The page.
    pub(super) fn page(&self) -> PathBuf {
        self.folder.join(TIMELINE)
    }
}
