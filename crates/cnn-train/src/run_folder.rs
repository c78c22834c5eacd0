//! A run's files, and how they are written: a crash leaves the old file or the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder of one run: `model.safetensors` (weights and statistics), `state.safetensors` (what else a resume needs),
/// `recipe.toml`, `metrics.csv`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A folder for a new run, made with its parents.
    ///
    /// # Errors
    /// It holds a run already, or cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let folder = RunFolder { path: path.into() };
        for file in [folder.weights(), folder.state(), folder.recipe(), folder.metrics()] {
            if file.exists() {
                return Err(Error::file(
                    file,
                    "exists: a run is never overwritten; resume it or choose another folder",
                ));
            }
        }
        fs::create_dir_all(&folder.path).map_err(|error| Error::file(&folder.path, error))?;
        Ok(folder)
    }

    /// The folder of a run that was started before.
    ///
    /// # Errors
    /// There is no run in it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let folder = RunFolder { path: path.into() };
        if !folder.recipe().is_file() {
            return Err(Error::file(&folder.path, "is not the folder of a run: it has no recipe.toml"));
        }
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Weights and statistics.
    pub fn weights(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// What else a resume needs.
    pub fn state(&self) -> PathBuf {
        self.path.join("state.safetensors")
    }

    /// The recipe.
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// One row per epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.csv")
    }

    /// Adds a row to `metrics.csv`, under a header if the file is new.
    pub(crate) fn append_metrics(&self, header: &str, row: &str) -> Result<()> {
        let path = self.metrics();
        let fail = |error| Error::file(&path, error);
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        let empty = file.metadata().map_err(fail)?.len() == 0;
        let text = if empty { format!("{header}\n{row}\n") } else { format!("{row}\n") };
        file.write_all(text.as_bytes()).map_err(fail)
    }
}

/// Replaces the file at `path` by `bytes`: a sibling is written, synced and renamed.
///
/// # Errors
/// The file cannot be written; the old one is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = stage(path, bytes)?;
    commit(&staged, path)
}

/// Writes and syncs what will become the file at `path`.
pub(crate) fn stage(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let staged = staged_path(path);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&staged);
        Error::file(&staged, error)
    })?;
    Ok(staged)
}

/// Where [`stage`] writes.
pub(crate) fn staged_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Puts a staged file in its place and syncs the folder.
pub(crate) fn commit(staged: &Path, path: &Path) -> Result<()> {
    fs::rename(staged, path).map_err(|error| Error::file(path, error))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Some file systems refuse to sync a folder; the rename itself has happened.
    let _ = File::open(parent).and_then(|folder| folder.sync_all());
    Ok(())
}
