//! Labelled images of one size: bytes in memory, or files that are decoded when they are asked for.
//!
//! A set is a list of samples, and a sample points at a *stored* image. Choosing classes and holding out a validation
//! split make new lists over the same storage, so nothing is copied, and a sample's stored index, which keys its
//! augmentation, stays the same.

use crate::decode::decode_image;
use crate::{Error, Result};
use cnn_core::rng::{Philox, Purpose};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

/// One split of a data set; cloning it copies no image.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of an image: 1 or 3.
    pub channels: usize,
    labels: Vec<u32>,
    stored: Vec<u32>,
    classes: Arc<[String]>,
    bytes: Option<Arc<Vec<u8>>>,
    origin: Arc<Origin>,
}

/// Where stored images come from: what messages call them and, without bytes, what is decoded.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Files of records, each with the index of its first image.
    Records(Vec<(String, usize)>),
    /// One file an image.
    Files(Vec<PathBuf>),
    /// Made by a program, which is called so.
    Made(String),
}

impl ImageSet {
    /// Images of `size` = \[height, width, channels\] in memory, laid out \[N, H, W, C\]; `name` is what messages call
    /// them.
    ///
    /// Errors: the bytes are not `labels.len()` images, a label is not below the number of classes, class names that are
    /// empty or equal, a size that is not an image's.
    pub fn from_bytes(
        name: &str,
        size: [usize; 3],
        classes: &[&str],
        labels: Vec<u32>,
        bytes: Vec<u8>,
    ) -> Result<Self> {
        let classes = classes.iter().map(|&class| class.to_owned()).collect();
        Self::resident(size, classes, labels, bytes, Origin::Made(name.to_owned()))
    }

    /// Images in memory, all of them samples.
    pub(crate) fn resident(
        size: [usize; 3],
        classes: Vec<String>,
        labels: Vec<u32>,
        bytes: Vec<u8>,
        origin: Origin,
    ) -> Result<Self> {
        let mut set = Self::new(size, classes, labels, origin)?;
        let expected = decoded_bytes(size, set.len());
        if expected != Some(bytes.len()) {
            let [h, w, c] = size;
            let expected = expected.map_or("more than there can be".to_owned(), |expected| expected.to_string());
            let rule = format!("{} images of {h}x{w}x{c} need {expected}", set.len());
            return Err(Error::invalid("image bytes", bytes.len(), rule));
        }
        set.bytes = Some(Arc::new(bytes));
        Ok(set)
    }

    /// Pictures that are decoded to `size` when they are asked for.
    pub(crate) fn files(size: [usize; 3], classes: Vec<String>, labels: Vec<u32>, files: Vec<PathBuf>) -> Result<Self> {
        Self::new(size, classes, labels, Origin::Files(files))
    }

    fn new(
        [height, width, channels]: [usize; 3],
        classes: Vec<String>,
        labels: Vec<u32>,
        origin: Origin,
    ) -> Result<Self> {
        let count = u32::try_from(labels.len())
            .map_err(|_| Error::invalid("images", labels.len(), "more than a set can hold"))?;
        if height == 0 || width == 0 || !matches!(channels, 1 | 3) {
            let value = format!("{height}x{width}x{channels}");
            return Err(Error::invalid("image size", value, "sides must be positive and channels 1 or 3"));
        }
        for (i, class) in classes.iter().enumerate() {
            if class.is_empty() || classes[..i].contains(class) {
                return Err(Error::invalid(
                    "class name",
                    format!("{class:?}"),
                    "must be neither empty nor given twice",
                ));
            }
        }
        let set = ImageSet {
            height,
            width,
            channels,
            labels,
            stored: (0..count).collect(),
            classes: classes.into(),
            bytes: None,
            origin: Arc::new(origin),
        };
        match set.labels.iter().position(|&label| label as usize >= set.classes.len()) {
            None => Ok(set),
            Some(i) => {
                let rule = format!("must be below the number of classes, {}", set.classes.len());
                Err(Error::invalid(set.name(i), format!("label {}", set.labels[i]), rule))
            }
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class of sample `i`. Panics, as the other methods that take an `i` do, unless `i < len()`.
    pub fn label(&self, i: usize) -> u32 {
        self.labels[i]
    }

    /// Class of every sample.
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
        self.height * self.width * self.channels
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
    /// Errors: its file cannot be read or decoded.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let stored = self.stored[i] as usize;
        match (&self.bytes, &*self.origin) {
            (Some(bytes), _) => Ok(Cow::Borrowed(&bytes[stored * self.image_bytes()..][..self.image_bytes()])),
            (None, Origin::Files(files)) => {
                decode_image(&files[stored], self.height, self.width, self.channels).map(Cow::Owned)
            }
            (None, _) => Err(Error::invalid(self.name(i), "no bytes", "only files are decoded as needed")),
        }
    }

    /// What messages call sample `i`: its file, or a file and the record in it.
    pub fn name(&self, i: usize) -> String {
        let stored = self.stored[i] as usize;
        match &*self.origin {
            Origin::Files(files) => files[stored].display().to_string(),
            Origin::Made(name) => format!("{name}: image {stored}"),
            Origin::Records(parts) => {
                let part = parts.partition_point(|&(_, first)| first <= stored).saturating_sub(1);
                parts.get(part).map_or_else(String::new, |(file, first)| format!("{file}: record {}", stored - first))
            }
        }
    }

    /// The samples of the classes called `names`; the first name becomes class 0.
    ///
    /// Errors: a name that is not a class (the message lists them), or given twice.
    pub fn keep_classes<S: AsRef<str>>(&self, names: &[S]) -> Result<ImageSet> {
        let mut renumbered = vec![None; self.classes.len()];
        for (new, name) in names.iter().enumerate() {
            let name = name.as_ref();
            let Some(old) = self.classes.iter().position(|class| class == name) else {
                return Err(Error::invalid("class", name, format!("the classes are {}", self.classes.join(", "))));
            };
            if renumbered[old].replace(new as u32).is_some() {
                return Err(Error::invalid("class", name, "given twice"));
            }
        }
        let kept = (0..self.len()).filter(|&i| renumbered[self.labels[i] as usize].is_some()).collect();
        let mut set = self.select(kept);
        set.labels.iter_mut().for_each(|label| *label = renumbered[*label as usize].unwrap_or(0));
        set.classes = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(set)
    }

    /// Splits off `count` samples for validation: (train, validation), both in the order of this set.
    ///
    /// Which ones depends on the seed; every class gives its share, to within one sample.
    ///
    /// Errors: `count` is 0, or leaves nothing to train on.
    pub fn split_validation(&self, count: usize, seed: u64) -> Result<(ImageSet, ImageSet)> {
        if count == 0 || count >= self.len() {
            let rule = format!("must be at least 1 and leave some of the {} to train on", self.len());
            return Err(Error::invalid("validation images", count, rule));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        Philox::new(seed, Purpose::Split, 0, 0).stream().shuffle(&mut order);
        // The k-th of the n shuffled samples of its class stands at (k + 1/2) / n; a cut anywhere cuts every class there.
        let sizes = self.class_sizes();
        let mut seen = vec![0; sizes.len()];
        let mut placed: Vec<(f64, usize)> = Vec::with_capacity(order.len());
        for i in order {
            let class = self.labels[i] as usize;
            placed.push(((f64::from(seen[class]) + 0.5) / sizes[class] as f64, i));
            seen[class] += 1;
        }
        placed.sort_by(|a, b| a.0.total_cmp(&b.0));
        let [mut held, mut rest] =
            [&placed[..count], &placed[count..]].map(|part| part.iter().map(|p| p.1).collect::<Vec<_>>());
        held.sort_unstable();
        rest.sort_unstable();
        Ok((self.select(rest), self.select(held)))
    }

    /// Number of samples of each class.
    pub fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes.len()];
        self.labels.iter().for_each(|&label| sizes[label as usize] += 1);
        sizes
    }

    /// At most `count` samples at even distances.
    pub(crate) fn evenly(&self, count: usize) -> ImageSet {
        let count = count.min(self.len());
        self.select((0..count).map(|i| i * self.len() / count).collect())
    }

    fn select(&self, samples: Vec<usize>) -> ImageSet {
        ImageSet {
            labels: samples.iter().map(|&i| self.labels[i]).collect(),
            stored: samples.iter().map(|&i| self.stored[i]).collect(),
            ..self.clone()
        }
    }
}

/// Bytes of `count` images, unless they are more than can be counted.
pub(crate) fn decoded_bytes([height, width, channels]: [usize; 3], count: usize) -> Option<usize> {
    height.checked_mul(width)?.checked_mul(channels)?.checked_mul(count)
}

/// The class names in the `text` of a file called `what`, one a line; blank lines do not count.
pub(crate) fn class_names(what: &str, text: &[u8]) -> Result<Vec<String>> {
    let text = std::str::from_utf8(text).map_err(|error| Error::invalid(what, error, "must be UTF-8"))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(Error::invalid(what, format!("{name:?}"), "a class name must be there once"));
        }
    }
    Ok(names)
}
