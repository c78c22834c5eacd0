//! Event files, which TensorBoard shows: `tensorboard --logdir RUN`.

mod wire;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};
use wire::Message;

/// An event file that is being written: scalars, histograms and pictures, each under a tag and of a step.
///
/// A run that is resumed writes another file beside the first ones, and TensorBoard drops what these have of later steps.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, for what comes behind step `step`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(format!("events.out.tfevents.{:010}.cnn.{process}.{count}", now() as u64));
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.map_err(|error| Error::file(&path, error))?;
        let mut events = EventFile { path, file };
        events.write(Message::default().double(1, now()).bytes(3, b"brain.Event:2"))?;
        // A session begins here: whatever another file has of this step and later ones is void.
        let session = Message::default().integer(1, 1);
        events.write(Message::default().double(1, now()).integer(2, step + 1).message(7, session))?;
        Ok(events)
    }

    /// Writes numbers of a step.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> Result<()> {
        let of = |(tag, value): (&str, f64)| Message::default().bytes(1, tag.as_bytes()).float(2, value as f32);
        self.summary(step, values.into_iter().map(of))
    }

    /// Writes how numbers are distributed, in 64 equal parts between the least and the greatest; those that are not finite are
    /// left out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn histogram(&mut self, step: u64, tag: &str, values: impl IntoIterator<Item = f64>) -> Result<()> {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if values.is_empty() {
            return Ok(());
        }
        let width = (greatest - least) / BUCKETS as f64;
        let mut counts = [0.0; BUCKETS];
        for value in &values {
            let bucket = if width > 0.0 { ((value - least) / width) as usize } else { 0 };
            counts[bucket.min(BUCKETS - 1)] += 1.0;
        }
        let limit = |i: usize| if i + 1 == BUCKETS { greatest } else { least + width * (i + 1) as f64 };
        let histogram = Message::default()
            .double(1, least)
            .double(2, greatest)
            .double(3, values.len() as f64)
            .double(4, values.iter().sum())
            .double(5, values.iter().map(|value| value * value).sum())
            .doubles(6, (0..BUCKETS).map(limit))
            .doubles(7, counts);
        self.summary(step, [Message::default().bytes(1, tag.as_bytes()).message(5, histogram)])
    }

    /// Writes a picture, encoded as PNG, of `width` x `height` pixels of three colours.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn image(&mut self, step: u64, tag: &str, [height, width]: [usize; 2], png: &[u8]) -> Result<()> {
        const RGB: u64 = 3;
        let image = Message::default().integer(1, height as u64).integer(2, width as u64).integer(3, RGB).bytes(4, png);
        self.summary(step, [Message::default().bytes(1, tag.as_bytes()).message(4, image)])
    }

    fn summary(&mut self, step: u64, values: impl IntoIterator<Item = Message>) -> Result<()> {
        let summary = values.into_iter().fold(Message::default(), |summary, value| summary.message(1, value));
        self.write(Message::default().double(1, now()).integer(2, step).message(5, summary))
    }

    fn write(&mut self, event: Message) -> Result<()> {
        self.file.write_all(&event.record()).map_err(|error| Error::file(&self.path, error))
    }
}

/// Parts of a histogram.
const BUCKETS: usize = 64;

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
