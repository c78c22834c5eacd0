//! How a data set is opened.

use crate::pool::Pool;
use crate::preprocess::Preprocess;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a set is opened. The defaults suit every set that fits into memory.
///
/// ```
/// use cnn_data::OpenOptions;
///
/// let options = OpenOptions::default().size([224, 224]).skip_bad(true);
/// ```
#[derive(Clone)]
pub struct OpenOptions {
    pub(crate) size: Option<[usize; 2]>,
    pub(crate) preprocess: Preprocess,
    pub(crate) seed: u64,
    pub(crate) resident_limit: usize,
    pub(crate) decode_memory: u64,
    pub(crate) cache: Option<PathBuf>,
    pub(crate) pool: Pool,
    pub(crate) skip_bad: bool,
    pub(crate) test_all: bool,
    pub(crate) multi_label: Option<bool>,
    pub(crate) classes: Option<Vec<String>>,
    pub(crate) progress: Option<Arc<Observer>>,
    pub(crate) waiting: Option<Arc<Waiting>>,
}

/// Is told how far reading a set is, by any thread.
type Observer = dyn Fn(Decoding) + Send + Sync;

/// Is told of a file that another process writes to.
type Waiting = dyn Fn(&Path) + Send + Sync;

/// How far reading the pictures of a split is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoding {
    /// Pictures that have been read.
    pub done: usize,
    /// Pictures in all.
    pub total: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            size: None,
            preprocess: Preprocess::default(),
            seed: 0,
            resident_limit: 1 << 30,
            decode_memory: 1 << 30,
            cache: None,
            pool: Pool::default(),
            skip_bad: false,
            test_all: false,
            multi_label: None,
            classes: None,
            progress: None,
            waiting: None,
        }
    }
}

impl OpenOptions {
    /// Height and width of what a network is shown of every image; None for 32 x 32 of a folder's pictures, and for the size that
    /// the images of another set have.
    pub fn size(self, size: impl Into<Option<[usize; 2]>>) -> Self {
        OpenOptions { size: size.into(), ..self }
    }

    /// How a folder's pictures become such images. Those of other sets are not resized: where another size is shown of them, it is
    /// their middle or, of smaller ones, all, stretched.
    pub fn preprocess(self, preprocess: Preprocess) -> Self {
        OpenOptions { preprocess, ..self }
    }

    /// Seed of generated sets. A model must be tested with the seed it was trained with.
    pub fn seed(self, seed: u64) -> Self {
        OpenOptions { seed, ..self }
    }

    /// Folders whose decoded pictures take at most this many bytes are decoded once and kept, others batch by batch;
    /// 1 GiB by default.
    pub fn resident_limit(self, bytes: usize) -> Self {
        OpenOptions { resident_limit: bytes, ..self }
    }

    /// Bytes that pictures may take while they are decoded, all threads together; one that needs more is decoded alone. 1 GiB by
    /// default.
    pub fn decode_memory(self, bytes: u64) -> Self {
        OpenOptions { decode_memory: bytes, ..self }
    }

    /// A folder, made where there is none, in which a set of picture files keeps them decoded, in one file for each size and
    /// preprocessing: what is there is not decoded again, in any epoch of any run, unless the picture has changed. Then every
    /// picture that is not there yet is decoded when the set is opened, so that all that cannot be are known. No image depends on it.
    pub fn cache(self, folder: impl Into<Option<PathBuf>>) -> Self {
        OpenOptions { cache: folder.into(), ..self }
    }

    /// The threads that decode or draw, here and in every [`Loader`](crate::Loader) of the set's images; by default one
    /// for each core. The result does not depend on it.
    pub fn pool(self, pool: impl Into<Pool>) -> Self {
        OpenOptions { pool: pool.into(), ..self }
    }

    /// Leave out pictures that cannot be decoded, and say so in the [`Report`](crate::Report), instead of refusing the
    /// set. Every picture is then decoded when the set is opened, also of a set that is not kept.
    pub fn skip_bad(self, skip_bad: bool) -> Self {
        OpenOptions { skip_bad, ..self }
    }

    /// Whether all pictures of a folder or a file of labels that marks none of them to train on are tested with, and not a tenth of
    /// each class: for pictures that nothing was trained on.
    pub fn test_all(self, test_all: bool) -> Self {
        OpenOptions { test_all, ..self }
    }

    /// Whether an image may have none or several of the classes; None for what the data says of itself. Only a file of labels can have
    /// several for an image: other data is refused where this is `true`, and such a file where it is `false`.
    pub fn multi_label(self, multi_label: impl Into<Option<bool>>) -> Self {
        OpenOptions { multi_label: multi_label.into(), ..self }
    }

    /// The classes that will be used: another one whose folder holds no picture is left out instead of refused. Which
    /// images the set has does not depend on it otherwise, see [`Dataset::keep_classes`](crate::Dataset::keep_classes).
    pub fn used_classes<S: ToString>(self, names: &[S]) -> Self {
        OpenOptions { classes: Some(names.iter().map(S::to_string).collect()), ..self }
    }

    /// Calls `observer` with the file of the [cache](OpenOptions::cache), before this waits for another process that fills it.
    pub fn waiting(self, observer: impl Fn(&Path) + Send + Sync + 'static) -> Self {
        OpenOptions { waiting: Some(Arc::new(observer)), ..self }
    }

    /// Calls `observer` after each picture that is read, from any thread.
    pub fn progress(self, observer: impl Fn(Decoding) + Send + Sync + 'static) -> Self {
        OpenOptions { progress: Some(Arc::new(observer)), ..self }
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("size", &self.size)
            .field("preprocess", &self.preprocess)
            .field("seed", &self.seed)
            .field("resident_limit", &self.resident_limit)
            .field("decode_memory", &self.decode_memory)
            .field("cache", &self.cache)
            .field("threads", &self.pool.threads())
            .field("skip_bad", &self.skip_bad)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}
