//! Decoded pictures in a file, so that they are decoded once, and not in every epoch and every run.
//!
//! A picture is known by its path. Its image counts as long as its file is the one that it was, with the length and the times that it had;
//! where those are others, or were too new to tell, as long as its content is the same (SHA-256). An image is read with its checksum, and one that is not as it was written
//! is decoded again and put right: a cache can be damaged, cut short or deleted at any time, and no result depends on it.
//!
//! Processes can share one: who writes new pictures keeps others from that until they are there, and who reads an image that
//! another process has replaced sees it by the checksum.

mod entry;
mod file;

use crate::images::Images;
use crate::pool::Pool;
use crate::report::CacheUse;
use crate::{Error, Result};
use entry::{Entry, Stamp};
use file::Places;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of the way in which pictures are decoded: another one wherever a picture's bytes become others.
const DECODING: u32 = 1;

/// The images of one size and preprocessing in a folder for such files.
#[derive(Debug)]
pub(crate) struct Cache {
    places: Places,
    mended: AtomicUsize,
}

/// A cache that no other process writes to.
#[derive(Debug)]
pub(crate) struct Writer {
    cache: Arc<Cache>,
    /// What is at each place.
    entries: Vec<Option<Entry>>,
    /// The place of each picture.
    index: HashMap<[u8; 16], u32>,
    /// No place before this one is free.
    free: usize,
    found: usize,
    decoded: usize,
}

impl Writer {
    /// The cache in `folder`, which is made where there is none, of images of `size` that are made as `how` says; what of an
    /// image's making is not in there must not change its bytes.
    ///
    /// While another process writes to it, which `waiting` is told of, this waits.
    pub(crate) fn open(folder: &Path, size: [usize; 3], how: &impl Serialize, waiting: &dyn Fn(&Path)) -> Result<Self> {
        let how = serde_json::to_vec(how).map_err(|error| Error::invalid("preprocessing", "cannot be told", error))?;
        let key = Sha256::new().chain_update(format!("{DECODING} {size:?} ")).chain_update(how).finalize();
        if !folder.is_dir() {
            let refused =
                |error| Error::invalid(format!("cache {}", folder.display()), error, "must be a folder, or a new one");
            fs::create_dir_all(folder).map_err(refused)?;
        }
        let [height, width, channels] = size;
        let digest: String = key[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("{height}x{width}x{channels}-{digest}.images"));
        let places = Places::open(path, height * width * channels)?;
        places.lock(waiting)?;
        let entries = places.entries()?;
        let known = entries.iter().zip(0u32..).filter_map(|(entry, place)| Some((entry.as_ref()?.picture, place)));
        let index = known.collect();
        let cache = Arc::new(Cache { places, mended: AtomicUsize::new(0) });
        Ok(Writer { cache, entries, index, free: 0, found: 0, decoded: 0 })
    }

    /// `source` with the images that are in the cache, or are now: all that can be decoded. Each of the others with its error.
    /// `each` is called for every image, by any thread.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(crate) fn fill(&mut self, source: &Arc<dyn Images>, pool: &Pool, each: &(dyn Fn() + Sync)) -> Result<Filled> {
        let paths = (0..source.len()).map(|i| absolute(source.as_ref(), i)).collect::<Result<Vec<PathBuf>>>()?;
        let known = pool.map(paths.len(), |i| {
            let picture = entry::picture(&paths[i]);
            let entry = self.index.get(&picture).and_then(|&place| *self.entries.get(place as usize)?);
            let stamp = Stamp::of(&paths[i]);
            (picture, stamp, entry)
        });
        let places: Vec<u32> = known.iter().map(|(picture, ..)| self.place(*picture)).collect();
        let cache = &self.cache;
        let results = pool.map(paths.len(), |i| {
            let (picture, stamp, entry) = &known[i];
            let kept = cache.keep(source.as_ref(), i, &paths[i], places[i], (*picture, stamp, *entry));
            each();
            kept
        });
        let end = places.iter().max().map_or(0, |&last| last as usize + 1);
        self.entries.resize(end.max(self.entries.len()), None);
        let mut checksums = Vec::with_capacity(paths.len());
        let mut errors = Vec::with_capacity(paths.len());
        for (kept, &place) in results.into_iter().zip(&places) {
            let (entry, error) = match kept? {
                Ok(Kept { entry, decoded }) => {
                    if decoded {
                        self.decoded += 1
                    } else {
                        self.found += 1
                    }
                    (Some(entry), Ok(()))
                }
                Err(error) => (None, Err(error)),
            };
            // Another split may have the same picture.
            self.entries[place as usize] = entry;
            checksums.push(entry.map(|entry| entry.checksum));
            errors.push(error);
        }
        let cached = Cached { source: source.clone(), cache: cache.clone(), places, checksums };
        Ok(Filled { images: Arc::new(cached), results: errors })
    }

    /// The cache that is written to.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Where a picture is, also when it has become another one, or a free place.
    fn place(&mut self, picture: [u8; 16]) -> u32 {
        if let Some(&place) = self.index.get(&picture) {
            return place;
        }
        while self.entries.get(self.free).is_some_and(Option::is_some) {
            self.free += 1;
        }
        let place = self.free as u32;
        self.free += 1;
        self.index.insert(picture, place);
        place
    }

    /// Lets other processes write, and says what was found.
    pub(crate) fn finish(self) -> Result<CacheUse> {
        let Writer { cache, found, decoded, .. } = self;
        cache.places.unlock()?;
        let file = cache.places.path().display().to_string();
        Ok(CacheUse { file, found, decoded })
    }
}

/// The file of image `i`, from the root.
fn absolute(source: &dyn Images, i: usize) -> Result<PathBuf> {
    let file = source.file(i).ok_or_else(|| Error::invalid(source.name(i), "no file", "a cache is of files"))?;
    std::path::absolute(file).map_err(|error| Error::io(file, error))
}

/// A source whose images are in a cache.
pub(crate) struct Filled {
    pub(crate) images: Arc<dyn Images>,
    /// Of each image, whether it is, or why it cannot be.
    pub(crate) results: Vec<Result<()>>,
}

/// A picture whose image is in the cache.
struct Kept {
    entry: Entry,
    /// Whether it was not there before.
    decoded: bool,
}

impl Cache {
    /// Sees to it that image `i` of `source` is at `place`, given what is known of it. The outer error is that of the cache, the inner
    /// one that of the picture.
    fn keep(
        &self,
        source: &dyn Images,
        i: usize,
        path: &Path,
        place: u32,
        (picture, stamp, entry): ([u8; 16], &std::io::Result<Stamp>, Option<Entry>),
    ) -> Result<Result<Kept>> {
        // A file that cannot be looked at cannot be decoded either, and the error of that tells more.
        let stamp = stamp.as_ref().ok().copied();
        if let Some(entry) = entry
            && stamp.is_some_and(|stamp| entry.is_of(&stamp))
        {
            return Ok(Ok(Kept { entry, decoded: false }));
        }
        let seen = entry::now();
        let content = stamp.map(|_| entry::content(path)).and_then(|content| content.ok());
        if let (Some(entry), Some(stamp)) = (entry, stamp)
            && entry.stamp.length == stamp.length
            && Some(entry.content) == content
        {
            let entry = Entry { stamp, seen, ..entry };
            // Where it cannot be written, its content is compared again the next time.
            if self.places.writable().is_ok() {
                self.places.enter(place, entry)?;
            }
            return Ok(Ok(Kept { entry, decoded: false }));
        }
        let mut image = vec![0; source.size().iter().product()];
        if let Err(error) = source.decode_into(i, &mut image) {
            return Ok(Err(error));
        }
        self.places.writable()?;
        let (Some(stamp), Some(content)) = (stamp, content) else {
            let error = Error::invalid(path.display(), "cannot be looked at", "though it was decoded a moment later");
            return Ok(Err(error));
        };
        let entry = Entry { picture, stamp, seen, content, checksum: crc32c::crc32c(&image) };
        self.places.write(place, &image)?;
        self.places.enter(place, entry)?;
        Ok(Ok(Kept { entry, decoded: true }))
    }

    /// How many images were not as they had been written, and were decoded again.
    pub(crate) fn mended(&self) -> usize {
        self.mended.load(Ordering::Relaxed)
    }
}

/// Images that are read from a cache.
#[derive(Debug)]
struct Cached {
    source: Arc<dyn Images>,
    cache: Arc<Cache>,
    /// Of each image its place.
    places: Vec<u32>,
    /// And its checksum; none of one that cannot be decoded.
    checksums: Vec<Option<u32>>,
}

impl Images for Cached {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn size(&self) -> [usize; 3] {
        self.source.size()
    }

    fn label(&self, i: usize) -> u32 {
        self.source.label(i)
    }

    fn name(&self, i: usize) -> String {
        self.source.name(i)
    }

    fn decode_into(&self, i: usize, out: &mut [u8]) -> Result<()> {
        let Some(checksum) = self.checksums[i] else { return self.source.decode_into(i, out) };
        let place = self.places[i];
        if self.cache.places.read(place, out).is_ok() && crc32c::crc32c(out) == checksum {
            return Ok(());
        }
        self.source.decode_into(i, out)?;
        self.cache.mended.fetch_add(1, Ordering::Relaxed);
        // Where it cannot be written, it is decoded again the next time.
        let _ = self.cache.places.write(place, out);
        Ok(())
    }

    fn file(&self, i: usize) -> Option<&Path> {
        self.source.file(i)
    }

    fn decoding_bytes(&self, i: usize) -> u64 {
        self.source.decoding_bytes(i)
    }
}
