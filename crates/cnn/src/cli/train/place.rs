//! Where a run begins: in a folder of its own, or where it stands.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cnn::train::RunFolder;

use crate::cli::failure::Failure;
use crate::cli::output::shown;

/// Where a run begins.
pub(super) enum Start {
    /// In this folder, or in the next free one under `runs`.
    New(Option<PathBuf>),
    /// Where the run in this folder stands.
    Resumed(RunFolder),
}

pub(super) fn new_folder(out: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    match out {
        Some(out) if RunFolder::holds_checkpoint(out) => {
            let advice = "holds a run already: choose another folder, or go on with that run by --resume";
            Err(Failure::usage(format!("{}: {advice}", out.display())))
        }
        out => Ok(out.map(Path::to_owned)),
    }
}

/// Where runs are put that are given no folder.
pub(super) const RUNS: &str = "runs";

/// Refuses to put a run into the folder of its own pictures: it would be taken for a class of them the next time.
pub(super) fn outside(out: &Path, images: &Path) -> Result<(), Failure> {
    let whole = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    if whole.starts_with(images) && images.is_dir() {
        let rule = format!("must not be inside of the images' folder, {}: give another --out", shown(images));
        return Err(Failure::usage(format!("out {}: {rule}", shown(out))));
    }
    Ok(())
}

/// A fresh folder `NAME-001`, `NAME-002`, ... in `root`.
pub(super) fn next_run(root: &Path, name: &str) -> Result<RunFolder, Failure> {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let failed = |path: &Path, error| Failure::fault(format!("{}: {error}", path.display()));
    fs::create_dir_all(root).map_err(|error| failed(root, error))?;
    for number in 1u32.. {
        let path = root.join(format!("{name}-{number:03}"));
        // Making the folder is the atomic test: two processes cannot both take a name.
        match fs::create_dir(&path) {
            Ok(()) => return Ok(RunFolder::create(path)?),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Err(Failure::fault(format!("{}: has no free name", root.display())))
}
