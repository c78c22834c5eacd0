//! What a run leaves for TensorBoard: its curves, how its weights are distributed, and what it sees. A run needs none of it, and
//! goes on without what cannot be written.

use cnn_core::nn::parameters;
use cnn_core::{Backend, Real};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::Trainer;
use crate::control::Control;
use crate::events::EventFile;
use crate::report::{EpochReport, Event};
use crate::run_folder::RunFolder;
use crate::{Error, Result};

/// Pictures of a sheet, at most: so many a row and rows.
const SIDE: usize = 8;

impl<B: Backend> Trainer<B> {
    /// Begins the event file of this process, with a sheet of training images if the run begins.
    pub(super) fn watch(&mut self, folder: &RunFolder, observe: &mut dyn FnMut(&Event) -> Control) {
        let begun = EventFile::create(folder.path(), self.progress.step).and_then(|mut events| {
            if self.progress.step == 0 {
                self.write_images(&mut events)?;
            }
            Ok(events)
        });
        self.keep(begun, observe);
    }

    /// Writes an epoch's figures, and how each parameter is distributed.
    pub(super) fn watch_epoch(&mut self, report: &EpochReport, observe: &mut dyn FnMut(&Event) -> Control) {
        if let Some(mut events) = self.events.take() {
            let written = self.write_epoch(&mut events, report).map(|()| events);
            self.keep(written, observe);
        }
    }

    fn keep(&mut self, events: Result<EventFile>, observe: &mut dyn FnMut(&Event) -> Control) {
        match events {
            Ok(events) => self.events = Some(events),
            Err(error) => {
                observe(&Event::Warning { text: format!("TensorBoard will not see the rest of this run: {error}") });
            }
        }
    }

    fn write_epoch(&self, events: &mut EventFile, report: &EpochReport) -> Result<()> {
        let EpochReport { step, train_loss, train_accuracy, lr, images_per_second, gradient_norm, waiting, .. } =
            *report;
        let trained = [
            ("loss/train", train_loss),
            ("accuracy/train", train_accuracy),
            ("lr", lr),
            ("images per second", images_per_second),
        ];
        let watched = [("gradient norm", gradient_norm), ("waiting for images", waiting)];
        let watched = watched.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let validation = report.validation.as_ref();
        let validated = validation.map(|v| [("loss/validation", v.loss), ("accuracy/validation", v.accuracy())]);
        let several = validation.and_then(|validation| validation.several.as_ref());
        let precision = several.and_then(|several| several.mean_average_precision);
        let precision = precision.map(|figure| ("mean average precision/validation", figure));
        let validated = validated.into_iter().flatten().chain(precision);
        events.scalars(step, trained.into_iter().chain(watched).chain(validated))?;
        for parameter in parameters(&*self.model) {
            let values = self.backend.download(parameter.value())?;
            events.histogram(step, parameter.name(), values.into_iter().map(Real::as_f64))?;
        }
        Ok(())
    }

    /// Writes a sheet of the first images of the run as the network will see them, in their own colours.
    fn write_images(&self, events: &mut EventFile) -> Result<()> {
        let Some(batch) = self.loader.epoch(0, &self.recipe.augment()).next() else { return Ok(()) };
        let batch = batch?;
        let Some(first) = batch.parts(batch.len().div_ceil(SIDE * SIDE)).into_iter().next() else { return Ok(()) };
        let [height, width, channels] = self.info.image;
        let seen = self.train.tensor(&first)?.to_vec(&self.backend)?;
        let (rows, columns) = (first.len().div_ceil(SIDE) * height, SIDE * width);
        let mut sheet = vec![0u8; rows * columns * 3];
        for (i, image) in seen.chunks_exact((height * width * channels).max(1)).enumerate() {
            let [top, left] = [i / SIDE * height, i % SIDE * width];
            for (at, pixel) in image.chunks_exact(channels).enumerate() {
                let place = (top + at / width) * columns + left + at % width;
                for (c, to) in sheet[place * 3..][..3].iter_mut().enumerate() {
                    let c = c.min(channels - 1); // grey three times
                    let value = pixel[c].as_f64() * f64::from(self.info.std[c]) + f64::from(self.info.mean[c]);
                    *to = (255.0 * value).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&sheet, columns as u32, rows as u32, ExtendedColorType::Rgb8)
            .map_err(|error| Error::recipe("sheet of training images", format!("{columns}x{rows}"), error))?;
        events.image(0, "training images", [rows, columns], &png)
    }
}
