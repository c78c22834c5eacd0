//! `metrics.csv`: a row for each epoch. The state of a checkpoint has the rows too, so that one that was changed is noticed.

use std::fs;

use crate::disk::{append, replace};
use crate::report::EpochReport;
use crate::run_folder::RunFolder;
use crate::{Error, Result};

const HEADER: &str =
    "epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds,images_per_second\n";

/// The first line, where images may have several labels with the figure that chooses the best epoch.
fn header(multi_label: bool) -> String {
    let more = if multi_label { ",validation_mean_average_precision" } else { "" };
    format!("{}{more}\n", HEADER.trim_end())
}

/// Adds the row of an epoch to the file, and returns it.
pub(crate) fn append_row(folder: &RunFolder, report: &EpochReport, multi_label: bool) -> Result<String> {
    let EpochReport { epoch, step, train_loss, train_accuracy, lr, seconds, images_per_second, .. } = report;
    let (loss, accuracy) = match &report.validation {
        Some(validation) => (validation.loss.to_string(), validation.accuracy().to_string()),
        None => (String::new(), String::new()),
    };
    let mut row = format!(
        "{epoch},{step},{lr},{train_loss},{train_accuracy},{loss},{accuracy},{seconds:.3},{images_per_second:.1}"
    );
    if multi_label {
        let several = report.validation.as_ref().and_then(|validation| validation.several.as_ref());
        let figure = several.and_then(|several| several.mean_average_precision);
        row += &format!(",{}", figure.map(|figure| figure.to_string()).unwrap_or_default());
    }
    row += "\n";
    append(&folder.metrics(), &header(multi_label), &row)?;
    Ok(row)
}

/// Brings the file to these rows, those of the epochs that are complete. Rows of later epochs and lines that were cut off go
/// without a word, as they will be written again; the warning is of anything else that was not as it had been written.
pub(crate) fn restore(folder: &RunFolder, rows: &str, multi_label: bool) -> Result<Option<String>> {
    let path = folder.metrics();
    let text = read(folder)?;
    let whole = if rows.is_empty() { String::new() } else { header(multi_label) + rows };
    if text.as_deref().unwrap_or_default() == whole {
        return Ok(None);
    }
    replace(&path, whole.as_bytes())?;
    let reason = match text {
        // A header may be cut off too.
        Some(text) if text.starts_with(&whole) => return Ok(None),
        Some(_) => "was changed",
        None => "is missing",
    };
    Ok(Some(format!("{}: {reason}, and is written again as it was", path.display())))
}

/// The rows of the file that are of the first `epochs` epochs and whole.
pub(crate) fn known_rows(folder: &RunFolder, epochs: u32) -> Result<String> {
    let fields = HEADER.split(',').count();
    let known = |line: &&str| {
        let epoch = line.split(',').next().and_then(|epoch| epoch.parse().ok());
        let row = line.ends_with('\n') && line.split(',').count() == fields;
        row && epoch.is_some_and(|epoch: u32| (1..=epochs).contains(&epoch))
    };
    Ok(read(folder)?.unwrap_or_default().split_inclusive('\n').filter(known).collect())
}

/// The text of the file, if it is there.
fn read(folder: &RunFolder) -> Result<Option<String>> {
    let path = folder.metrics();
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path, error)),
    }
}
