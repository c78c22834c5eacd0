//! How far a command is, on stderr: bars on a terminal, otherwise a line for each epoch.

use std::io::IsTerminal;

use cnn::train::{EpochReport, Event, StepReport};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output;
use super::sparkline::Sparkline;

/// The progress of a training or an evaluation.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<Bars>,
    epochs: u32,
    losses: Sparkline,
    /// Images per second at which the machine would do nothing but multiply and add.
    peak: Option<f64>,
    /// What the part of the images that is right is called.
    right: &'static str,
}

/// The whole run above, and below the epoch or evaluation that is going on.
#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    run: ProgressBar,
    part: ProgressBar,
}

const RUN: &str = "{prefix:>11} {wide_bar} {percent:>3}%  {eta} left";
/// What does not fit beside the bar is cut off: a line that wraps cannot be drawn over.
const PART: &str = "{prefix:>11} {bar:8} {wide_msg}";

/// Characters of the loss's curve.
const CURVE: usize = 16;

impl Progress {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        let bars = can_draw().then(|| {
            let (all, run, part) = (MultiProgress::new(), ProgressBar::no_length(), ProgressBar::no_length());
            Bars { all, run: run.with_style(style(RUN)), part: part.with_style(style(PART)) }
        });
        Progress { bars, epochs: 0, losses: Sparkline::default(), peak: None, right: "accuracy" }
    }

    /// Also holds a training against the machine's peak, which fewer multiplications than the layers' own can pass, where somebody
    /// can watch it: `peak` measures at how many
    /// images per second the machine would do nothing but the multiplications and additions of the layers.
    pub(crate) fn beside_peak(mut self, peak: impl FnOnce() -> Option<f64>) -> Self {
        self.peak = if self.bars.is_some() { peak() } else { None };
        self
    }

    /// Calls right what it is where images may have several labels, if they may.
    pub(crate) fn of_labels(mut self, several: bool) -> Self {
        self.right = if several { "every class right" } else { self.right };
        self
    }

    /// Shows an event of a training.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::EpochBegin { epoch, epochs, done, steps } => self.epoch_begins(*epoch, *epochs, *done, *steps),
            Event::Step(step) => self.step(step),
            Event::Evaluating { done, total } => self.evaluating(*done, *total),
            Event::Warning { text } => self.line(&format!("warning: {text}")),
            Event::EpochEnd(epoch) => self.line(&epoch_line(epoch, self.epochs, self.right)),
            _ => {}
        }
    }

    fn epoch_begins(&mut self, epoch: u32, epochs: u32, done: u64, steps: u64) {
        let first = self.epochs == 0;
        self.epochs = epochs;
        let Some(Bars { all, run, part }) = &self.bars else { return };
        if first {
            all.add(run.clone());
            all.add(part.clone());
            run.set_length(steps * u64::from(epochs));
            run.set_position(steps * u64::from(epoch - 1) + done);
            run.reset_eta();
        }
        run.set_prefix(format!("epoch {epoch}/{epochs}"));
    }

    fn step(&mut self, step: &StepReport) {
        self.losses.push(step.loss);
        let Some(Bars { run, part, .. }) = &self.bars else { return };
        let StepReport { epoch, step, steps, loss, accuracy, images_per_second, .. } = *step;
        run.set_position(steps * u64::from(epoch - 1) + step);
        part.set_length(steps);
        part.set_position(step);
        part.set_prefix(format!("step {step}/{steps}"));
        let (accuracy, speed) = (100.0 * accuracy, output::grouped(images_per_second as u64));
        let share = |peak: f64| format!("  {:.0}% of peak", 100.0 * images_per_second / peak);
        let share = self.peak.filter(|peak| *peak > 0.0).map(share).unwrap_or_default();
        let curve = self.losses.draw(CURVE);
        let right = self.right;
        part.set_message(format!("loss {loss:.4}  {right} {accuracy:5.2}%  {speed:>6} images/s{share}  {curve}"));
    }

    /// Shows that `done` of `total` images are evaluated.
    pub(crate) fn evaluating(&mut self, done: u64, total: u64) {
        let Some(Bars { all, part, .. }) = &self.bars else { return };
        if self.epochs == 0 && part.length().is_none() {
            all.add(part.clone());
        }
        part.set_length(total);
        part.set_position(done);
        part.set_prefix("evaluating");
        part.set_message(format!("{done}/{total} images"));
    }

    /// Says something above the bars.
    pub(crate) fn line(&self, text: &str) {
        match &self.bars {
            // A terminal that cannot be written to is no reason to stop.
            Some(bars) => drop(bars.all.println(text)),
            None => output::note(text),
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        if let Some(Bars { all, run, part }) = &self.bars {
            run.finish_and_clear();
            part.finish_and_clear();
            let _ = all.clear();
        }
    }
}

/// A bar over the images that are read, if somebody can watch it.
pub(crate) fn reading() -> Option<ProgressBar> {
    let bar = || ProgressBar::no_length().with_style(style("{prefix:>11} {wide_bar} {pos}/{len} images  {eta} left"));
    can_draw().then(|| bar().with_prefix("reading"))
}

/// Whether stderr is a terminal on which a line can be drawn over. indicatif draws nothing where `TERM` is not set or
/// says `dumb`, and then swallows the lines above its bars too.
fn can_draw() -> bool {
    let capable = cfg!(windows) || std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
    capable && std::io::stderr().is_terminal()
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one would show as the plain bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─")
}

/// Part of an epoch's time that was waited for images of which more is said.
const WAITING: f64 = 0.01;

fn epoch_line(report: &EpochReport, epochs: u32, right: &str) -> String {
    let EpochReport { epoch, train_loss, train_accuracy, validation, seconds, images_per_second, waiting, .. } = report;
    let width = epochs.to_string().len();
    let waiting =
        waiting.filter(|part| *part >= WAITING).map(|part| format!("  {:.0}% waiting for images", 100.0 * part));
    let held_out = validation.as_ref().map(|held_out| {
        let of_several = held_out.several.as_ref().and_then(|several| several.mean_average_precision);
        let of_several = of_several.map(|map| format!("  mean average precision {:.2}%", 100.0 * map));
        format!(
            "  validation loss {:.4}  {right} {:.2}%{}",
            held_out.loss,
            100.0 * held_out.accuracy(),
            of_several.unwrap_or_default()
        )
    });
    format!(
        "epoch {epoch:>width$}/{epochs}  training loss {train_loss:.4}  {right} {:5.2}%{}  {} images/s{}  {}",
        100.0 * train_accuracy,
        held_out.unwrap_or_default(),
        output::grouped(*images_per_second as u64),
        waiting.unwrap_or_default(),
        output::duration(*seconds),
    )
}

/// The progress of a download, file by file.
#[cfg(feature = "download")]
#[derive(Debug, Default)]
pub(crate) struct DownloadBar {
    file: String,
    bar: Option<ProgressBar>,
}

#[cfg(feature = "download")]
impl DownloadBar {
    /// `done` bytes of `file` are here, of `total` if that is known.
    pub(crate) fn update(&mut self, file: &str, done: u64, total: Option<u64>) {
        if file != self.file {
            self.file = file.to_owned();
            self.clear();
            output::note(&format!("downloading {file}"));
            if can_draw() {
                let bar = ProgressBar::no_length().with_position(done);
                let style = style("{wide_bar} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left");
                self.bar = Some(bar.with_style(style));
            }
        }
        if let Some(bar) = &self.bar {
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(feature = "download")]
impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.clear();
    }
}
