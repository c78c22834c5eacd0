//! How files are written: a crash leaves the old file or the new one, never half of one.
//!
//! Every operation that changes a disk asks [`fault`] first, so that tests can end the process, or fail, at each of them.

use std::fs::{self, File, OpenOptions};
use std::io;
#[cfg(not(test))]
use std::io::Write;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result};

/// Replaces the file at `path` by `bytes`: a sibling is written, synced and renamed.
///
/// # Errors
/// The file cannot be written; the old one is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    // A name of its own: nobody else's file is touched, and several processes may write the same file.
    let name = format!(".cnn-{}-{}.tmp", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed));
    let staged = Staged { staged: path.with_file_name(name), path: path.to_owned() };
    staged.write(bytes)?;
    staged.commit().inspect_err(|_| staged.discard())
}

/// As [`write_atomically`], of a file in the folder of a run, which is locked: what a process that ended leaves there is
/// staged over by the next one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let staged = stage(path, bytes)?;
    staged.commit().inspect_err(|_| staged.discard())
}

/// A file that is written and synced, and waits beside the one whose place it takes.
#[derive(Debug)]
pub(crate) struct Staged {
    staged: PathBuf,
    path: PathBuf,
}

/// Writes and syncs what will become the file at `path`, in the folder of a run: what an earlier process staged there goes.
pub(crate) fn stage(path: &Path, bytes: &[u8]) -> Result<Staged> {
    let staged = Staged { staged: staged_path(path), path: path.to_owned() };
    staged.discard();
    staged.write(bytes)?;
    Ok(staged)
}

/// Where [`stage`] writes.
pub(crate) fn staged_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

impl Staged {
    /// Makes the staged file, which is not there yet.
    fn write(&self, bytes: &[u8]) -> Result<()> {
        fault().map_err(|error| Error::file(&self.path, error))?;
        let file = OpenOptions::new().write(true).create_new(true).open(&self.staged);
        let mut file = file.map_err(|error| Error::file(&self.staged, error))?;
        let mut write = || -> io::Result<()> {
            write_all(&mut file, bytes)?;
            fault()?;
            file.sync_all()
        };
        write().map_err(|error| {
            self.discard();
            Error::file(&self.path, error)
        })
    }

    /// What an earlier process staged for `path` and did not put in its place.
    pub(crate) fn left_for(path: &Path) -> Option<Self> {
        let staged = staged_path(path);
        staged.is_file().then(|| Staged { staged, path: path.to_owned() })
    }

    /// The staged file.
    pub(crate) fn file(&self) -> &Path {
        &self.staged
    }

    /// Puts the file in its place and syncs the folder.
    ///
    /// # Errors
    /// It could not be renamed; it is still where it was staged.
    pub(crate) fn commit(&self) -> Result<()> {
        fault().and_then(|()| fs::rename(&self.staged, &self.path)).map_err(|error| Error::file(&self.path, error))?;
        sync_folder_of(&self.path);
        Ok(())
    }

    /// Takes the file away; its place keeps what it has.
    pub(crate) fn discard(&self) {
        let _ = fs::remove_file(&self.staged);
    }
}

/// Takes the file at `path` away, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fault().and_then(|()| fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}

/// Gives the file at `from` a second name, `to`, in place of what had it. Nothing is written for that, but where the file
/// system knows no second names: there it is copied.
///
/// # Errors
/// It could not be done; `to` is then what it was.
pub(crate) fn keep(from: &Path, to: &Path) -> Result<()> {
    let kept = Staged { staged: staged_path(to), path: to.to_owned() };
    kept.discard();
    if fault().and_then(|()| fs::hard_link(from, &kept.staged)).is_err() {
        let bytes = fs::read(from).map_err(|error| Error::file(from, error))?;
        kept.write(&bytes)?;
    }
    let result = kept.commit();
    // Two names of the same file: to rename one to the other does nothing, and leaves both.
    kept.discard();
    result
}

/// Refuses a folder into which `bytes` more do not fit: they are written and taken away again, as nothing else knows of
/// quotas too.
///
/// # Errors
/// They do not fit, or nothing can be written there at all.
pub(crate) fn reserve(folder: &Path, bytes: u64) -> Result<()> {
    let tried = Staged { staged: staged_path(&folder.join("space")), path: folder.to_owned() };
    tried.discard();
    // Noise: a file system that compresses would find room for a file of zeros.
    let mut state = 1u64;
    let noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let block: Vec<u8> = iter::repeat_with(noise).take(bytes.min(BLOCK) as usize).collect();
    let write = || -> io::Result<()> {
        fault()?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&tried.staged)?;
        let mut left = bytes;
        while left > 0 {
            let part = left.min(BLOCK);
            write_all(&mut file, &block[..part as usize])?;
            left -= part;
        }
        fault()?;
        file.sync_all()
    };
    let written = write();
    tried.discard();
    written.map_err(|error| {
        Error::file(
            folder,
            format!("{bytes} bytes more must fit into this folder, for the checkpoints of the run: {error}"),
        )
    })
}

/// How much of [`reserve`]'s noise is made.
const BLOCK: u64 = 1 << 20;

/// Adds `text` to the end of the file at `path`, under `header` if the file is new, and syncs it.
pub(crate) fn append(path: &Path, header: &str, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        fault()?;
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let header = if file.metadata()?.len() == 0 { header } else { "" };
        write_all(&mut file, format!("{header}{text}").as_bytes())?;
        fault()?;
        file.sync_all()
    };
    write().map_err(|error| Error::file(path, error))?;
    sync_folder_of(path);
    Ok(())
}

/// Makes a file's entry in its folder last, or a folder's in its parent. Some file systems refuse to sync a folder; what was
/// done in it has been done.
pub(crate) fn sync_folder_of(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = fault().and_then(|()| File::open(parent)).and_then(|folder| folder.sync_all());
}

#[cfg(not(test))]
fn fault() -> io::Result<()> {
    Ok(())
}

#[cfg(not(test))]
fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)
}

#[cfg(test)]
pub(crate) use faults::{fault, write_all};

/// A disk that fails, or a process that ends, at a chosen operation.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::Cell;
    use std::fs::File;
    use std::io::{self, Error, ErrorKind, Write};

    /// What happens at an operation.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(crate) enum Fault {
        /// The process ends, as by SIGKILL: nothing is cleaned up.
        End,
        /// The operation fails as on a full disk.
        Full,
    }

    thread_local! {
        static NEXT: Cell<([u32; 2], Fault)> = const { Cell::new(([u32::MAX; 2], Fault::Full)) };
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }

    /// From now on this thread's operations are counted from 0, and the one numbered `at` meets the fault.
    pub(crate) fn plan(at: u32, fault: Fault) {
        plan_both([at; 2], fault);
    }

    /// As [`plan`], for two of them.
    pub(crate) fn plan_both(at: [u32; 2], fault: Fault) {
        COUNT.set(0);
        NEXT.set((at, fault));
    }

    /// Operations since [`plan`].
    pub(crate) fn count() -> u32 {
        COUNT.get()
    }

    pub(crate) fn fault() -> io::Result<()> {
        let number = COUNT.get();
        COUNT.set(number + 1);
        match NEXT.get() {
            (at, Fault::End) if at.contains(&number) => std::process::abort(),
            (at, Fault::Full) if at.contains(&number) => Err(Error::from(ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    /// In two halves, so that a fault can leave the first.
    pub(crate) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
        fault()?;
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        file.write_all(head)?;
        fault()?;
        file.write_all(tail)
    }
}
