//! The file of a cache: groups of places, each with the entries of its places and then their images.
//!
//! It is read and written at places, and not mapped into memory: a mapped file that somebody cuts short kills the process that reads
//! from it, and the system keeps what was read in the same memory either way.

use super::entry::{ENTRY, Entry};
use crate::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Places of a group.
const GROUP: u64 = 4096;

/// The file, open to read and, where that is allowed, to write.
#[derive(Debug)]
pub(super) struct Places {
    file: File,
    /// Why it cannot be written.
    read_only: Option<ErrorKind>,
    path: PathBuf,
    /// Bytes of an image.
    image: u64,
}

impl Places {
    /// The file at `path`, which is made where there is none, of images of `image` bytes.
    pub(super) fn open(path: PathBuf, image: usize) -> Result<Self> {
        let failed = |error| Error::io(&path, error);
        let (file, read_only) = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)
        {
            Ok(file) => (file, None),
            // Somebody else's, or on a disk that only can be read: what is in there can be used.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                (File::open(&path).map_err(failed)?, Some(error.kind()))
            }
            Err(error) => return Err(failed(error)),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::invalid(path.display(), "is no file", "decoded pictures are kept in one"));
        }
        Ok(Places { file, read_only, path, image: image as u64 })
    }

    /// Refuses a file that cannot be written.
    pub(super) fn writable(&self) -> Result<()> {
        match self.read_only {
            None => Ok(()),
            Some(why) => {
                let rule = "not all pictures are in it, and it cannot be written: give another folder, or none";
                Err(Error::invalid(format!("cache {}", self.path.display()), why, rule))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other process writes to the file, which `waiting` is told of; until [`Places::unlock`], none will.
    pub(super) fn lock(&self, waiting: &dyn Fn(&Path)) -> Result<()> {
        let failed = |error| Error::io(&self.path, error);
        match self.file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                waiting(&self.path);
                self.file.lock().map_err(failed)
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
            Ok(()) => Ok(()),
        }
    }

    pub(super) fn unlock(&self) -> Result<()> {
        self.file.unlock().map_err(|error| Error::io(&self.path, error))
    }

    fn group(&self, place: u32) -> (u64, u64) {
        let (group, at) = (u64::from(place) / GROUP, u64::from(place) % GROUP);
        (group * GROUP * (ENTRY as u64 + self.image), at)
    }

    fn entry_at(&self, place: u32) -> u64 {
        let (group, at) = self.group(place);
        group + at * ENTRY as u64
    }

    fn image_at(&self, place: u32) -> u64 {
        let (group, at) = self.group(place);
        group + GROUP * ENTRY as u64 + at * self.image
    }

    /// What each place holds, None where nothing was written, or damaged.
    pub(super) fn entries(&self) -> Result<Vec<Option<Entry>>> {
        let failed = |error| Error::io(&self.path, error);
        let length = self.file.metadata().map_err(failed)?.len();
        let (mut all, mut table) = (Vec::new(), vec![0; GROUP as usize * ENTRY]);
        while self.entry_at(all.len() as u32) < length {
            let start = self.entry_at(all.len() as u32);
            let read = usize::try_from(length - start).map_or(table.len(), |left| left.min(table.len()));
            read_at(&self.file, &mut table[..read], start).map_err(failed)?;
            table[read..].fill(0);
            let before = all.len();
            all.extend(table.as_chunks::<ENTRY>().0.iter().map(Entry::from_bytes));
            // Places are taken in their order: behind a group of which nothing is known there is nothing but what somebody else wrote.
            if all[before..].iter().all(Option::is_none) {
                break;
            }
        }
        Ok(all)
    }

    /// Reads the image at `place` into `out`.
    pub(super) fn read(&self, place: u32, out: &mut [u8]) -> io::Result<()> {
        read_at(&self.file, out, self.image_at(place))
    }

    /// Writes the image at `place`.
    pub(super) fn write(&self, place: u32, image: &[u8]) -> Result<()> {
        write_at(&self.file, image, self.image_at(place)).map_err(|error| Error::io(&self.path, error))
    }

    /// Writes what the image at `place`, which is written already, is of.
    pub(super) fn enter(&self, place: u32, entry: Entry) -> Result<()> {
        let written = write_at(&self.file, &entry.to_bytes(), self.entry_at(place));
        written.map_err(|error| Error::io(&self.path, error))
    }
}

#[cfg(unix)]
fn read_at(file: &File, out: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, start)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, start)
}

#[cfg(windows)]
fn read_at(file: &File, mut out: &mut [u8], mut start: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !out.is_empty() {
        match file.seek_read(out, start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (out, start) = (&mut out[read..], start + read as u64),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut start: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, start)?;
        (bytes, start) = (&bytes[written..], start + written as u64);
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(any(unix, windows)))]
fn write_at(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Stamp, picture};
    use super::*;

    #[test]
    fn places_of_every_group_hold_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let places = Places::open(path.clone(), 5).unwrap();
        assert!(places.entries().unwrap().is_empty());
        let stamp = Stamp::of(folder.path()).unwrap();
        let entry =
            |place: u32| Entry { picture: picture(&path), stamp, seen: 1, content: [place as u8; 16], checksum: place };
        let (some, image) = ([0, 1, 4095, 4096, 9000], |place: u32| [place as u8; 5]);
        for place in some {
            places.write(place, &image(place)).unwrap();
            places.enter(place, entry(place)).unwrap();
        }
        let again = Places::open(path.clone(), 5).unwrap();
        let entries = again.entries().unwrap();
        let found: Vec<usize> = (0..entries.len()).filter(|&place| entries[place].is_some()).collect();
        assert_eq!(found, some.map(|place| place as usize));
        for place in some {
            let mut out = [0; 5];
            again.read(place, &mut out).unwrap();
            assert_eq!((out, entries[place as usize]), (image(place), Some(entry(place))));
        }
    }
}
