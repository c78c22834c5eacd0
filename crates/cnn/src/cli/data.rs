//! The data set that an argument means, fetched first if it is a published one that is not here yet.

use std::path::{Path, PathBuf};

use cnn::data::{Dataset, Known, OpenOptions, open};

use super::args::{DataArgs, DeviceArgs};
use super::failure::Failure;

/// Opens `spec`, its images at `size` if they are files.
pub(crate) fn find(
    spec: &str,
    size: Option<[usize; 2]>,
    source: &DataArgs,
    device: &DeviceArgs,
) -> Result<Dataset, Failure> {
    if let Some(set) = Known::parse(spec) {
        fetch(set, source)?;
    }
    let options = OpenOptions { size, threads: device.threads.unwrap_or(0), ..OpenOptions::default() };
    Ok(open(spec, &source.data_root, &options)?)
}

#[cfg(feature = "download")]
fn fetch(set: Known, source: &DataArgs) -> Result<(), Failure> {
    use cnn::data::Error;
    use cnn::data::download::{self, FetchOptions};

    let missing = set.find(&source.data_root).err();
    let options = FetchOptions { mirror: source.mirror.clone(), offline: source.offline, ..FetchOptions::default() };
    if missing.is_some() && !source.offline {
        let (name, url) = (set.name(), source.mirror.as_deref().unwrap_or(set.url()));
        super::output::note(&format!("{name}: not in {}; fetching it from {url}", source.data_root.display()));
    }
    let mut bar = super::progress::DownloadBar::default();
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

/// The weights file that an argument means: itself, or that of the run whose folder it is.
pub(crate) fn weights(argument: &Path) -> Result<PathBuf, Failure> {
    let file = if argument.is_dir() { argument.join("model.safetensors") } else { argument.to_owned() };
    if file.is_file() {
        return Ok(file);
    }
    let rule = "no such file: must be a weights file, or the folder of a run that has saved one";
    Err(Failure::usage(format!("{}: {rule}", file.display())))
}
