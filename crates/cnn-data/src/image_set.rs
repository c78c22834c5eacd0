//! Labelled images of one size: in memory, or decoded when they are asked for.
//!
//! A set is a list of samples, and a sample points at a *stored* image. Choosing classes and holding out a validation
//! split make new lists over the same storage, so nothing is copied, and a sample's stored index, which keys its
//! augmentation, stays the same.

mod subsets;

use crate::cache::{Cache, Filled, Writer};
use crate::guard::guarded;
use crate::images::{Images, Origin, Stored};
use crate::pool::Pool;
use crate::preprocess::check_target;
use crate::{Error, Result};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Good samples, and what is wrong with the others.
pub(crate) type SetAndBad = (ImageSet, Vec<(String, Error)>);

/// One split of a data set; cloning it copies no image.
#[derive(Clone, Debug)]
pub struct ImageSet {
    size: [usize; 3],
    shown: [usize; 2],
    /// The classes of every sample, one sample behind the other.
    labels: Vec<u32>,
    /// Where the classes of each end, in a set whose images may have none or several; None where each has one.
    ends: Option<Vec<usize>>,
    stored: Vec<u32>,
    classes: Arc<[String]>,
    images: Arc<dyn Images>,
    /// All images, where they are in memory.
    bytes: Option<Arc<Vec<u8>>>,
    pool: Pool,
    /// Where decoded images are kept, if they are.
    cache: Option<Arc<Cache>>,
}

impl ImageSet {
    /// Every image of a source as a sample. Those of a source without [`Images::bytes`] are decoded when they are asked
    /// for.
    ///
    /// # Errors
    /// A label that is not below the number of classes, class names that are empty or equal, a size that is not an
    /// image's.
    pub fn new<S: ToString>(images: Arc<dyn Images>, classes: &[S]) -> Result<Self> {
        let labels = (0..images.len()).map(|i| images.label(i)).collect();
        Self::of(images, classes, labels, None)
    }

    /// The same of images that may have none, one or several of the classes: `labels` has those of every image, and
    /// [`Images::label`] is not asked.
    ///
    /// # Errors
    /// As [`ImageSet::new`]; labels of another number of images; a label that an image has twice.
    pub fn multi_label<S: ToString>(images: Arc<dyn Images>, classes: &[S], labels: &[Vec<u32>]) -> Result<Self> {
        if labels.len() != images.len() {
            let rule = format!("must be those of {} images", images.len());
            return Err(Error::invalid("labels", format!("of {} images", labels.len()), rule));
        }
        let (mut all, mut ends) = (Vec::new(), Vec::with_capacity(labels.len()));
        for (i, labels) in labels.iter().enumerate() {
            let mut sorted = labels.clone();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Error::invalid(images.name(i), format!("label {}", twice[0]), "must be there once"));
            }
            all.append(&mut sorted);
            ends.push(all.len());
        }
        Self::of(images, classes, all, Some(ends))
    }

    fn of<S: ToString>(
        images: Arc<dyn Images>,
        classes: &[S],
        labels: Vec<u32>,
        ends: Option<Vec<usize>>,
    ) -> Result<Self> {
        let size @ [height, width, channels] = images.size();
        let count = u32::try_from(images.len())
            .map_err(|_| Error::invalid("images", images.len(), "more than a set can hold"))?;
        if height == 0 || width == 0 || !matches!(channels, 1 | 3) || decoded_bytes(size, 1).is_none() {
            let value = format!("{height}x{width}x{channels}");
            return Err(Error::invalid("image size", value, "sides must be positive and channels 1 or 3"));
        }
        let classes: Vec<String> = classes.iter().map(S::to_string).collect();
        let mut seen = HashSet::with_capacity(classes.len());
        for class in &classes {
            // Weights files, which hold the names, refuse the same ones.
            if class.is_empty() || class.chars().any(char::is_control) || !seen.insert(class) {
                let rule = "must be neither empty nor given twice, and have no control characters";
                return Err(Error::invalid("class name", format!("{class:?}"), rule));
            }
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= classes.len()) {
            let image = ends.as_ref().map_or(at, |ends| ends.partition_point(|&end| end <= at));
            let rule = format!("must be below the number of classes, {}", classes.len());
            return Err(Error::invalid(images.name(image), format!("label {}", labels[at]), rule));
        }
        let bytes = images.bytes().cloned();
        if let Some(bytes) = &bytes {
            check_length(size, images.len(), bytes.len())?;
        }
        let stored = (0..count).collect();
        let (shown, classes) = ([height, width], classes.into());
        Ok(ImageSet { size, shown, labels, ends, stored, classes, images, bytes, pool: Pool::default(), cache: None })
    }

    /// The same samples, of which a network is shown `height` rows and `width` columns: the middle of every image or, of a smaller
    /// one, all of it, stretched ([`SampleView::whole`](cnn_core::image::SampleView::whole)).
    ///
    /// # Errors
    /// Sides that no image may have.
    pub fn with_shown(self, shown: [usize; 2]) -> Result<ImageSet> {
        check_target(shown)?;
        Ok(ImageSet { shown, ..self })
    }

    /// Images of `size` = \[height, width, channels\] in memory, laid out \[N, H, W, C\]; `name` is what messages call
    /// them.
    ///
    /// # Errors
    /// As [`ImageSet::new`]; the bytes are not `labels.len()` images.
    pub fn from_bytes(
        name: &str,
        size: [usize; 3],
        classes: &[&str],
        labels: Vec<u32>,
        bytes: Vec<u8>,
    ) -> Result<Self> {
        Self::stored_as(Origin::Made(name.to_owned()), size, classes, labels, bytes)
    }

    /// Images in memory, all of them samples.
    pub(crate) fn stored_as<S: ToString>(
        origin: Origin,
        size: [usize; 3],
        classes: &[S],
        labels: Vec<u32>,
        bytes: Vec<u8>,
    ) -> Result<Self> {
        Self::new(Arc::new(Stored { size, labels, bytes: Arc::new(bytes), origin }), classes)
    }

    /// The same samples, every image of their source decoded into memory: also one that is no sample.
    ///
    /// # Errors
    /// That of the first image that cannot be decoded, or more bytes than there is memory for.
    pub fn load(&self) -> Result<ImageSet> {
        let (set, mut bad) = self.load_good(&|| {})?;
        if bad.is_empty() { Ok(set) } else { Err(bad.swap_remove(0).1) }
    }

    /// As [`ImageSet::load`], without the samples whose images cannot be decoded: each of those with its error, in order.
    /// `each` is called for every image, by any thread.
    pub(crate) fn load_good(&self, each: &(dyn Fn() + Sync)) -> Result<SetAndBad> {
        if self.is_resident() {
            return Ok((self.clone(), Vec::new()));
        }
        let (size, count) = (self.image_bytes(), self.images.len());
        let mut bytes = Vec::new();
        let total = decoded_bytes(self.size, count).filter(|&total| bytes.try_reserve_exact(total).is_ok());
        bytes
            .resize(total.ok_or_else(|| Error::invalid("images", count, "decoded, more than there is memory for"))?, 0);
        let results = self.pool.fill(&mut bytes, size, |i, out| {
            let result = self.decode(i, out);
            each();
            result
        });
        let (good, bad) = self.without(results);
        Ok((ImageSet { bytes: Some(Arc::new(bytes)), ..good }, bad))
    }

    /// The samples whose images pass a cheap look or, if `thorough`, can be decoded; and the others, each with its error.
    pub(crate) fn check_good(&self, thorough: bool, each: &(dyn Fn() + Sync)) -> SetAndBad {
        if self.is_resident() {
            return (self.clone(), Vec::new());
        }
        let results = self.pool.map(self.images.len(), |i| {
            let decoded = || self.decode(i, &mut room(self.image_bytes())?);
            let result = if thorough { decoded() } else { self.images.check(i) };
            each();
            result
        });
        self.without(results)
    }

    /// Bytes that decoding any image takes at most, as far as headers tell; 0 where all are in memory.
    pub(crate) fn decoding_bytes(&self) -> u64 {
        if self.is_resident() {
            return 0;
        }
        self.pool.map(self.images.len(), |i| self.images.decoding_bytes(i)).into_iter().max().unwrap_or(0)
    }

    /// Whether every image is a file's.
    pub(crate) fn is_of_files(&self) -> bool {
        !self.is_resident() && (0..self.images.len()).all(|i| self.images.file(i).is_some())
    }

    /// The samples whose images are in the cache of `writer` now, read from there; and the others, each with its error.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(crate) fn cached_by(&self, writer: &mut Writer, each: &(dyn Fn() + Sync)) -> Result<SetAndBad> {
        let Filled { images, results } = writer.fill(&self.images, &self.pool, each)?;
        let (good, bad) = self.without(results);
        Ok((ImageSet { images, cache: Some(writer.cache().clone()), ..good }, bad))
    }

    /// How many images of the set's cache were not as they had been written, since the set was opened: they were decoded again. A
    /// disk that changes what is on it, or somebody who does.
    pub fn mended(&self) -> usize {
        self.cache.as_ref().map_or(0, |cache| cache.mended())
    }

    /// The samples whose images, by their place in the source, have no error; and those errors.
    fn without(&self, results: Vec<Result<()>>) -> SetAndBad {
        let good: Vec<bool> = results.iter().map(Result::is_ok).collect();
        let bad = results.into_iter().enumerate();
        let bad = bad.filter_map(|(i, result)| result.err().map(|error| (self.images.name(i), error))).collect();
        let kept = (0..self.len()).filter(|&i| good[self.stored[i] as usize]).collect();
        (self.select(kept), bad)
    }

    /// Image `stored` of the source, whatever the source does.
    fn decode(&self, stored: usize, out: &mut [u8]) -> Result<()> {
        let panicked = |panic| Err(Error::invalid(self.images.name(stored), "cannot be read", panic));
        guarded(|| self.images.decode_into(stored, out)).unwrap_or_else(panicked)
    }

    /// The same samples, decoded by the threads of `pool`.
    pub fn with_pool(self, pool: Pool) -> ImageSet {
        ImageSet { pool, ..self }
    }

    /// The threads that decode the images that are not in memory.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Height, width and channels of what a network is shown of every image.
    pub fn shown(&self) -> [usize; 3] {
        [self.shown[0], self.shown[1], self.size[2]]
    }

    /// Height, width and channels (1 or 3) of every image, as its bytes are.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Rows of an image.
    pub fn height(&self) -> usize {
        self.size[0]
    }

    /// Columns of an image.
    pub fn width(&self) -> usize {
        self.size[1]
    }

    /// Channels of an image: 1 (grey) or 3 (RGB).
    pub fn channels(&self) -> usize {
        self.size[2]
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Whether a sample may have none or several of the classes, and not one each.
    pub fn is_multi_label(&self) -> bool {
        self.ends.is_some()
    }

    /// Class of sample `i`. Panics, as the other methods that take an `i` do, unless `i < len()`; and in a set
    /// [of several labels](ImageSet::is_multi_label), of which [`ImageSet::classes_of`] knows all.
    pub fn label(&self, i: usize) -> u32 {
        assert!(self.ends.is_none(), "an image of several labels has no one class");
        self.labels[i]
    }

    /// Classes of sample `i`, ascending: one, or as many as it has in a set [of several labels](ImageSet::is_multi_label).
    pub fn classes_of(&self, i: usize) -> &[u32] {
        match &self.ends {
            None => std::slice::from_ref(&self.labels[i]),
            Some(ends) => &self.labels[i.checked_sub(1).map_or(0, |before| ends[before])..ends[i]],
        }
    }

    /// The names of `labels`, with `|` between them; `no label` of none.
    pub fn named(&self, labels: &[u32]) -> String {
        let names: Vec<&str> = labels.iter().map(|&label| self.classes[label as usize].as_str()).collect();
        if names.is_empty() { "no label".to_owned() } else { names.join("|") }
    }

    /// What is to be learned of each of the `samples`: a number for each of them and each class, 1 where it has the class and else 0.
    pub fn targets(&self, samples: &[u32]) -> Vec<f32> {
        let classes = self.classes.len();
        let mut targets = vec![0.0; samples.len() * classes];
        for (row, &sample) in samples.iter().enumerate() {
            self.classes_of(sample as usize).iter().for_each(|&class| targets[row * classes + class as usize] = 1.0);
        }
        targets
    }

    /// Class of every sample; of several labels, those of a sample behind those of the one before.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Name of every class.
    pub fn classes(&self) -> &Arc<[String]> {
        &self.classes
    }

    /// Index of the stored image that sample `i` is: into [`ImageSet::resident_bytes`], if there are any.
    pub fn stored(&self, i: usize) -> u32 {
        self.stored[i]
    }

    /// Bytes of one image.
    pub fn image_bytes(&self) -> usize {
        self.size.iter().product()
    }

    /// Whether the images are in memory, and batches point into [`ImageSet::resident_bytes`].
    pub fn is_resident(&self) -> bool {
        self.bytes.is_some()
    }

    /// All stored images, \[N, H, W, C\]; there can be more of them than samples. None when they are decoded as needed.
    pub fn resident_bytes(&self) -> Option<Arc<Vec<u8>>> {
        self.bytes.clone()
    }

    /// The image of sample `i`, \[H, W, C\].
    ///
    /// # Errors
    /// It cannot be read or decoded.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let (stored, size) = (self.stored[i] as usize, self.image_bytes());
        if let Some(bytes) = &self.bytes {
            return Ok(Cow::Borrowed(&bytes[stored * size..][..size]));
        }
        let mut bytes = room(size)?;
        self.decode(stored, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// What messages call sample `i`: its file, or a file and the record in it.
    pub fn name(&self, i: usize) -> String {
        self.images.name(self.stored[i] as usize)
    }
}

/// Bytes of `count` images, unless they are more than can be counted.
pub(crate) fn decoded_bytes([height, width, channels]: [usize; 3], count: usize) -> Option<usize> {
    height.checked_mul(width)?.checked_mul(channels)?.checked_mul(count)
}

/// So many bytes of 0.
fn room(size: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size)
        .map_err(|_| Error::invalid("bytes of an image", size, "more than there is memory for"))?;
    bytes.resize(size, 0);
    Ok(bytes)
}

/// Refuses `found` bytes of memory unless they are `count` images.
fn check_length(size: [usize; 3], count: usize, found: usize) -> Result<()> {
    let expected = decoded_bytes(size, count);
    if expected == Some(found) {
        return Ok(());
    }
    let [h, w, c] = size;
    let expected = expected.map_or("more than there can be".to_owned(), |expected| expected.to_string());
    Err(Error::invalid("image bytes", found, format!("{count} images of {h}x{w}x{c} need {expected}")))
}

/// The class names in the `text` of a file called `what`, one a line; blank lines do not count.
pub(crate) fn class_names(what: &str, text: &[u8]) -> Result<Vec<String>> {
    let text = std::str::from_utf8(text).map_err(|error| Error::invalid(what, error, "must be UTF-8"))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let mut seen = HashSet::with_capacity(names.len());
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::invalid(what, format!("{name:?}"), "a class name must be there once")),
        None => Ok(names),
    }
}
