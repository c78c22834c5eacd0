//! A data set that has been found, and of which nothing has been decoded yet.

use crate::cache::Writer;
use crate::dataset::{Dataset, multi_label_count};
use crate::duplicates::{self, FileSize};
use crate::image_set::{ImageSet, decoded_bytes};
use crate::options::{Decoding, OpenOptions};
use crate::report::{BadFile, CacheUse, ClassCount, Report, SameFile};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The splits of a data set and what was found, before pictures are decoded: whoever needs one split decodes one.
#[derive(Clone, Debug)]
pub struct Listing {
    pub(crate) name: String,
    pub(crate) path: Option<PathBuf>,
    pub(crate) train: ImageSet,
    pub(crate) validation: Option<ImageSet>,
    pub(crate) test: ImageSet,
    /// The files to train on and the others, where an image is a file.
    pub(crate) files: [Vec<FileSize>; 2],
    pub(crate) report: Report,
    pub(crate) options: OpenOptions,
}

impl Listing {
    /// Two splits that are the files' own.
    pub(crate) fn new(name: &str, format: &str, train: ImageSet, test: ImageSet) -> Self {
        let split = if format == GENERATED { "drawn apart" } else { "the files'" };
        let report = Report { format: format.to_owned(), split: split.to_owned(), ..Report::default() };
        let (files, options) = (Default::default(), OpenOptions::default());
        Listing { name: name.to_owned(), path: None, train, validation: None, test, files, report, options }
    }

    /// The same, found at `path`, to be read as the options say.
    ///
    /// # Errors
    /// A size that no image may have.
    pub(crate) fn at(self, path: Option<&Path>, options: &OpenOptions) -> Result<Self> {
        // A working directory that is gone leaves the path as it was given.
        let path = path.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        let [height, width, _] = self.train.shown();
        let shown = options.size.unwrap_or([height, width]);
        let opened = |set: ImageSet| set.with_pool(options.pool.clone()).with_shown(shown);
        let listing = Listing {
            train: opened(self.train)?,
            validation: self.validation.map(opened).transpose()?,
            test: opened(self.test)?,
            path,
            options: options.clone(),
            ..self
        };
        Ok(listing.counted())
    }

    /// Brings the report to what the splits hold.
    fn counted(mut self) -> Self {
        let sizes = |set: &ImageSet| set.class_sizes();
        let (train, test) = (sizes(&self.train), sizes(&self.test));
        let validation = self.validation.as_ref().map(sizes);
        let count = |(class, name): (usize, &String)| ClassCount {
            name: name.clone(),
            train: train[class],
            validation: validation.as_ref().map_or(0, |sizes| sizes.get(class).copied().unwrap_or(0)),
            test: test.get(class).copied().unwrap_or(0),
        };
        self.report.classes = self.train.classes().iter().enumerate().map(count).collect();
        self.report.multi_label = multi_label_count(&self.train, self.validation.as_ref(), &self.test);
        self.report.size = self.train.shown();
        self.report.name = self.name.clone();
        self.report.path = self.path.as_ref().map(|path| path.display().to_string());
        self
    }

    /// What was found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Bytes of one image, as it is kept.
    pub fn image_bytes(&self) -> usize {
        self.train.image_bytes()
    }

    /// Bytes that decoding the picture takes that takes most, as far as the headers of all of them tell; 0 where there is nothing to
    /// decode.
    pub fn decoding_bytes(&self) -> u64 {
        let splits = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        splits.into_iter().flatten().map(ImageSet::decoding_bytes).max().unwrap_or(0)
    }

    /// As [`OpenOptions::resident_limit`], for a set whose size has been seen.
    pub fn resident_limit(mut self, bytes: usize) -> Self {
        self.options.resident_limit = bytes;
        self
    }

    /// Reads all splits, see [`open`](crate::open()).
    ///
    /// # Errors
    /// Pictures that cannot be decoded, all of them, unless [`OpenOptions::skip_bad`]; then a class without any other.
    pub fn read(mut self) -> Result<Dataset> {
        self.check_cache()?;
        let splits = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        let total = splits.into_iter().flatten().map(ImageSet::len).sum();
        let mut reading = Reading::new(&self.options, self.train.size(), total);
        let (train, test) = (reading.split(&self.train)?, reading.split(&self.test)?);
        let validation = self.validation.as_ref().map(|set| reading.split(set)).transpose()?;
        (self.report.bad, self.report.cache) = reading.finish()?;
        self.tell_unused_cache();
        lost_class(&train, &self.train)?;
        self.compare();
        let listing = Listing { train, validation, test, ..self }.counted();
        Dataset::of(listing.name, listing.path, [listing.train, listing.test], listing.validation, listing.report)
    }

    /// Reads the test split alone, and says what was found.
    ///
    /// # Errors
    /// As [`Listing::read`].
    pub fn read_test(mut self) -> Result<(ImageSet, Report)> {
        self.check_cache()?;
        let mut reading = Reading::new(&self.options, self.test.size(), self.test.len());
        let test = reading.split(&self.test)?;
        (self.report.bad, self.report.cache) = reading.finish()?;
        self.tell_unused_cache();
        Ok((test.clone(), Listing { test, ..self }.counted().report))
    }

    /// Decodes every picture and keeps none: the report with everything that is wrong.
    pub fn check(mut self) -> Report {
        let splits = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        let total = splits.into_iter().flatten().map(ImageSet::len).sum();
        let mut reading = Reading::new(&self.options, self.train.size(), total);
        let [train, test] = [&self.train, &self.test].map(|set| reading.checked(set, true));
        let validation = self.validation.as_ref().map(|set| reading.checked(set, true));
        self.report.bad = bad_files(std::mem::take(&mut reading.bad));
        self.compare();
        Listing { train, validation, test, ..self }.counted().report
    }

    /// Refuses a cache in the folder of the pictures, of which it would be taken for a class.
    fn check_cache(&self) -> Result<()> {
        let (Some(cache), Some(folder)) = (&self.options.cache, self.path.as_ref().filter(|path| path.is_dir())) else {
            return Ok(());
        };
        let whole = std::path::absolute(cache).unwrap_or_else(|_| cache.clone());
        if !whole.starts_with(folder) {
            return Ok(());
        }
        let rule = format!("must not be inside of the pictures' folder, {}", folder.display());
        Err(Error::invalid("cache", cache.display(), rule))
    }

    /// Says that a cache was asked for in vain.
    fn tell_unused_cache(&mut self) {
        if self.options.cache.is_some() && self.report.cache.is_none() {
            self.report.notes.push("cache: not used, as the images are not decoded from files of their own".to_owned());
        }
    }

    /// Tells of the files that are the same.
    fn compare(&mut self) {
        let [train, others] = &self.files;
        let all: Vec<FileSize> = train.iter().chain(others).cloned().collect();
        let sets = [Some(&self.train), self.validation.as_ref(), Some(&self.test)];
        let labels: Vec<&[u32]> =
            sets.into_iter().flatten().flat_map(|set| (0..set.len()).map(|i| set.classes_of(i))).collect();
        let path = |&i: &usize| all[i].path.display().to_string();
        for group in duplicates::find(&all, &self.options.pool) {
            let (ours, others): (Vec<usize>, Vec<usize>) = group.iter().partition(|&&i| i < train.len());
            let leaked = if ours.is_empty() { 0 } else { others.len() };
            for other in &others[..leaked] {
                self.report.duplicates.push([path(&ours[0]), path(other)]);
            }
            let classes: BTreeSet<&[u32]> = group.iter().map(|&i| labels[i]).collect();
            let classes = classes.into_iter().map(|labels| self.train.named(labels)).collect();
            self.report.same.push(SameFile { paths: group.iter().map(path).collect(), classes, leaked });
        }
    }
}

/// The format of a set that is drawn.
pub(crate) const GENERATED: &str = "generated";

/// Splits on their way into memory.
struct Reading<'a> {
    options: &'a OpenOptions,
    /// Whether decoded images are kept.
    resident: bool,
    done: AtomicUsize,
    total: usize,
    bad: Vec<(String, Error)>,
    /// Where they are kept on disk, once a split has been read whose images can be.
    cache: Option<Writer>,
}

impl<'a> Reading<'a> {
    fn new(options: &'a OpenOptions, size: [usize; 3], total: usize) -> Self {
        let resident = decoded_bytes(size, total).is_some_and(|bytes| bytes <= options.resident_limit);
        Reading { options, resident, done: AtomicUsize::new(0), total, bad: Vec::new(), cache: None }
    }

    /// The good images of `set`: in memory, on disk, or known to look right.
    fn split(&mut self, set: &ImageSet) -> Result<ImageSet> {
        if let Some(folder) = self.options.cache.as_ref().filter(|_| set.is_of_files()) {
            let mut writer = match self.cache.take() {
                Some(writer) => writer,
                None => {
                    let waiting = |file: &Path| self.options.waiting.iter().for_each(|told| told(file));
                    Writer::open(folder, set.size(), &(set.shown(), self.options.preprocess), &waiting)?
                }
            };
            let (good, bad) = set.cached_by(&mut writer, &|| self.step())?;
            self.cache = Some(writer);
            self.bad.extend(bad);
            if !self.resident {
                return Ok(good);
            }
            let (loaded, bad) = good.load_good(&|| {})?;
            // All images of the source are loaded, and most that cannot be are known.
            self.bad.extend(
                bad.into_iter().filter(|(name, _)| self.bad.iter().all(|(known, _)| known != name)).collect::<Vec<_>>(),
            );
            return Ok(loaded);
        }
        if !self.resident {
            return Ok(self.checked(set, self.options.skip_bad));
        }
        let (good, bad) = set.load_good(&|| self.step())?;
        self.bad.extend(bad);
        Ok(good)
    }

    /// The good images of `set`, left where they are.
    fn checked(&mut self, set: &ImageSet, thorough: bool) -> ImageSet {
        let (good, bad) = set.check_good(thorough, &|| self.step());
        self.bad.extend(bad);
        good
    }

    fn step(&self) {
        if let Some(observer) = &self.options.progress {
            observer(Decoding { done: self.done.fetch_add(1, Ordering::Relaxed) + 1, total: self.total });
        }
    }

    /// What was left out, if it may be, and what of the rest was in the cache.
    fn finish(self) -> Result<(Vec<BadFile>, Option<CacheUse>)> {
        let mut bad = self.bad;
        match bad.len() {
            0 => Ok((Vec::new(), self.cache.map(Writer::finish).transpose()?)),
            _ if self.options.skip_bad => Ok((bad_files(bad), self.cache.map(Writer::finish).transpose()?)),
            1 => Err(bad.swap_remove(0).1),
            _ => Err(Error::Pictures { of: self.total, bad: bad_files(bad) }),
        }
    }
}

fn bad_files(bad: Vec<(String, Error)>) -> Vec<BadFile> {
    bad.into_iter().map(|(path, error)| BadFile { path, reason: error.to_string() }).collect()
}

/// Refuses a class of `before` of which no picture is left in `after`.
fn lost_class(after: &ImageSet, before: &ImageSet) -> Result<()> {
    let sizes = after.class_sizes().into_iter().zip(before.class_sizes());
    match sizes.zip(before.classes().iter()).find(|((left, had), _)| *left == 0 && *had > 0) {
        Some(((_, had), class)) => {
            let value = format!("none of its {had} training pictures can be decoded");
            Err(Error::invalid(format!("class {class:?}"), value, "a class must have some"))
        }
        None => Ok(()),
    }
}
