//! A run's folder: its files, and the lock that makes them one process's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::{Staged, sync_folder_of};
use crate::{Error, Result};

/// The folder of one run, for the process that writes it: `model.safetensors` (weights and statistics),
/// `state.safetensors` (what else a resume needs), `model-previous.safetensors` and `state-previous.safetensors` (the same as
/// they were saved the time before), `best.safetensors` (the weights of the best epoch, if images are held out),
/// `recipe.toml`, `metrics.csv`, `results.json` at the end, and `lock`.
///
/// As long as a `RunFolder` or a clone of it lives, nobody else can make one of the same folder; who only reads files in
/// it needs none. Where the file system has no locks there is none, which [`RunFolder::is_locked`] tells.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    locked: bool,
    _lock: Arc<File>,
}

impl RunFolder {
    /// A folder for a new run, made with its parents. One in which a run was started and ended before it saved anything will
    /// do for the same run.
    ///
    /// # Errors
    /// It holds a run already, is in use by another process, or cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        Self::check_free(&path)?;
        let new = !path.exists();
        fs::create_dir_all(&path).map_err(|error| Error::file(&path, error))?;
        if new {
            sync_folder_of(&path);
        }
        let folder = Self::lock(path)?;
        // Once more: another process may have been here in between.
        Self::check_free(&folder.path)?;
        Ok(folder)
    }

    /// Refuses a folder that holds files of a run, but for a recipe of which nothing came.
    fn check_free(path: &Path) -> Result<()> {
        let Some(file) = FILES.map(|file| path.join(file)).into_iter().find(|file| file.exists()) else {
            return Ok(());
        };
        Err(Error::file(file, "exists: a run is never overwritten; resume it or choose another folder"))
    }

    /// The folder of a run that was started before, to go on with it.
    ///
    /// # Errors
    /// There is no run in it, or it is in use by another process.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !Self::holds_run(&path) {
            return Err(Error::file(path, "is not the folder of a run: it has no recipe.toml"));
        }
        Self::lock(path)
    }

    /// Whether a run was started in the folder at `path`.
    pub fn holds_run(path: &Path) -> bool {
        path.join(RECIPE).is_file()
    }

    /// Whether a run in the folder at `path` has saved a checkpoint, whole or not.
    pub fn holds_checkpoint(path: &Path) -> bool {
        CHECKPOINT.iter().any(|file| path.join(file).exists())
    }

    /// Whether the run has saved a checkpoint, whole or not.
    pub(crate) fn is_saved(&self) -> bool {
        Self::holds_checkpoint(&self.path)
    }

    /// Takes away what an earlier process staged and did not put in its place; a staged state, which may belong to weights
    /// that have theirs, is not touched.
    pub(crate) fn discard_staged(&self) {
        let files = FILES.into_iter().filter(|&file| file != STATE).chain([RECIPE]);
        files.filter_map(|file| Staged::left_for(&self.path.join(file))).for_each(|staged| staged.discard());
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let file = path.join("lock");
        let fail = |error| Error::file(&file, error);
        if file.exists() && !file.is_file() {
            return Err(Error::file(&file, "is no file: a run's folder has a file of this name for its lock"));
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file).map_err(fail)?;
        match locked(&lock) {
            Ok(()) => Ok(RunFolder { path, locked: true, _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(Error::file(path, "is in use by another process")),
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                Ok(RunFolder { path, locked: false, _lock: Arc::new(lock) })
            }
            Err(TryLockError::Error(error)) => Err(fail(error)),
        }
    }

    /// Whether others are kept out; not where the file system has no locks.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Weights and statistics.
    pub fn weights(&self) -> PathBuf {
        self.path.join(WEIGHTS)
    }

    /// What else a resume needs.
    pub fn state(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// The weights as they were saved the time before.
    pub fn previous_weights(&self) -> PathBuf {
        self.path.join(PREVIOUS_WEIGHTS)
    }

    /// What else a resume from those needs.
    pub fn previous_state(&self) -> PathBuf {
        self.path.join(PREVIOUS_STATE)
    }

    /// The weights of the epoch that did best on the images held out, if there are any.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// The recipe.
    pub fn recipe(&self) -> PathBuf {
        self.path.join(RECIPE)
    }

    /// What the run came to on the test set, once it has ended.
    pub fn results(&self) -> PathBuf {
        self.path.join(RESULTS)
    }

    /// One row per epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }
}

/// Whether a lock was refused because the file system knows none, or its server does not answer for them (ENOLCK).
fn has_no_locks(error: &std::io::Error) -> bool {
    let no_lock_server = if cfg!(target_os = "linux") { 37 } else { 77 };
    error.kind() == ErrorKind::Unsupported || cfg!(unix) && error.raw_os_error() == Some(no_lock_server)
}

pub(crate) const WEIGHTS: &str = "model.safetensors";
const STATE: &str = "state.safetensors";
const PREVIOUS_WEIGHTS: &str = "model-previous.safetensors";
const PREVIOUS_STATE: &str = "state-previous.safetensors";
const BEST: &str = "best.safetensors";
/// What makes a folder that of a run: it is the first file to be written.
const RECIPE: &str = "recipe.toml";
const METRICS: &str = "metrics.csv";
const RESULTS: &str = "results.json";

/// The files of the two checkpoints that are kept.
const CHECKPOINT: [&str; 4] = [WEIGHTS, STATE, PREVIOUS_WEIGHTS, PREVIOUS_STATE];
/// All that a run writes after its recipe.
const FILES: [&str; 7] = [WEIGHTS, STATE, PREVIOUS_WEIGHTS, PREVIOUS_STATE, BEST, METRICS, RESULTS];

/// How long a lock that another holds is waited for: a process that was just ended, or a program that this one is starting, holds it
/// for some milliseconds yet.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// The file's lock, if it comes within that time.
fn locked(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => thread::sleep(Duration::from_millis(10)),
            result => return result,
        }
    }
}
