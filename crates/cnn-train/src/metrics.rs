//! `metrics.csv`: a row for each epoch.

use std::fs;

use crate::disk::{append, replace};
use crate::report::EpochReport;
use crate::run_folder::RunFolder;
use crate::{Error, Result};

const HEADER: &str =
    "epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_second";

/// Adds the row of an epoch.
pub(crate) fn append_row(folder: &RunFolder, report: &EpochReport) -> Result<()> {
    let EpochReport { epoch, step, train_loss, train_accuracy, lr, seconds, images_per_second, .. } = report;
    let (loss, accuracy) = match &report.validation {
        Some(validation) => (validation.loss.to_string(), validation.accuracy().to_string()),
        None => (String::new(), String::new()),
    };
    let row = format!(
        "{epoch},{step},{lr},{train_loss},{train_accuracy},{loss},{accuracy},{seconds:.3},{images_per_second:.1}\n"
    );
    append(&folder.metrics(), &format!("{HEADER}\n"), &row)
}

/// Takes out what the checkpoint of `epochs` epochs does not know of, and lines that were cut off: these rows will be
/// written again.
pub(crate) fn trim(folder: &RunFolder, epochs: u32) -> Result<()> {
    let path = folder.metrics();
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file(path, error)),
    };
    let fields = HEADER.split(',').count();
    let known = |line: &&str| {
        let epoch = line.split(',').next().and_then(|epoch| epoch.parse().ok());
        let row = line.ends_with('\n') && line.split(',').count() == fields;
        row && epoch.is_some_and(|epoch: u32| (1..=epochs).contains(&epoch))
    };
    let rows: String = text.split_inclusive('\n').filter(known).collect();
    let kept = format!("{HEADER}\n{rows}");
    if kept == text { Ok(()) } else { replace(&path, kept.as_bytes()) }
}
