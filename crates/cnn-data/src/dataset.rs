//! A data set: a training and a test split, their class names, and the statistics that normalise their pixels.

use crate::image_set::ImageSet;
use crate::known::Known;
use crate::loader::{BatchBytes, Loader};
use crate::{Augment, Error, Result, cifar, folder, idx, shapes};
use cnn_core::image::{Border, ImageSpec};
use std::path::{Path, PathBuf};

/// Training and test images of the same size and classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the set is called.
    pub name: String,
    /// Images to learn from, and to hold a validation split out of.
    pub train: ImageSet,
    /// Images to read once, at the end.
    pub test: ImageSet,
    /// Mean of each channel over the training split, of pixels scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel over the training split, of pixels scaled to [0, 1].
    pub std: Vec<f32>,
}

/// How a set is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Height and width that a folder's pictures are resized to; None for 32 x 32. The other sets have their own size.
    pub size: Option<[usize; 2]>,
    /// Seed of generated sets. A model must be tested with the seed it was trained with.
    pub seed: u64,
    /// Folders whose decoded pictures take at most this many bytes are decoded once and kept; others batch by batch.
    pub resident_limit: usize,
    /// Threads that decode or draw; 0 for all. The result does not depend on it.
    pub threads: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { size: None, seed: 0, resident_limit: 1 << 30, threads: 0 }
    }
}

/// Opens the set that `spec` means: `cifar10`, `cifar100` or `mnist` (found under `root`), `shapes` (generated), or the
/// path of one. What a path holds is told by its content:
///
/// | path | set |
/// | --- | --- |
/// | `data_batch_1.bin` ... in a folder, or the official `.tar.gz` | CIFAR-10 |
/// | `train.bin`, `test.bin` in a folder, or the official `.tar.gz` | CIFAR-100 |
/// | `train-images-idx3-ubyte` ... in a folder, raw or `.gz` | MNIST format |
/// | `{train,test}/CLASS/*.{jpg,jpeg,png}` in a folder | pictures |
/// | `CLASS/*.{jpg,jpeg,png}` in a folder | pictures, a tenth of them split off for the test |
///
/// Errors: [`Error::Missing`] when nothing is there (and, for a published set, can be downloaded); otherwise what is
/// wrong with which file.
pub fn open(spec: &str, root: &Path, options: &OpenOptions) -> Result<Dataset> {
    if spec == shapes::NAME {
        return shapes::generate(options.seed, options.threads);
    }
    match Known::parse(spec) {
        Some(set) => open_path(&set.find(root)?, Some(set.name()), options),
        None => open_path(Path::new(spec), None, options),
    }
}

fn open_path(path: &Path, name: Option<&str>, options: &OpenOptions) -> Result<Dataset> {
    let own_name = || path.file_name().map_or_else(|| "folder".into(), |name| name.to_string_lossy());
    if path.is_file() {
        cifar::read_archive(path)
    } else if cifar::is_folder(path) {
        cifar::read_folder(path)
    } else if idx::is_folder(path) {
        idx::read_folder(path, name.unwrap_or(&own_name()))
    } else if folder::is_folder(path) {
        folder::read_folder(path, name.unwrap_or(&own_name()), options)
    } else if path.is_dir() {
        let rule = "must have CIFAR or MNIST files, or train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg";
        Err(Error::invalid(path.display(), "no data set", rule))
    } else {
        let names = Known::ALL.map(Known::name).join(", ");
        let hint = format!("the sets with a name are {}, {names}; any other word is a path", shapes::NAME);
        Err(Error::Missing { name: path.display().to_string(), looked_for: vec![PathBuf::from(path)], hint })
    }
}

impl Dataset {
    /// Joins two splits and measures the training split's pixels.
    ///
    /// Errors: the splits differ in size or classes, the training split is empty, or a picture cannot be decoded.
    pub fn new(name: &str, train: ImageSet, test: ImageSet) -> Result<Dataset> {
        let size = |set: &ImageSet| [set.height, set.width, set.channels];
        if size(&train) != size(&test) {
            let rule = format!("training images are {:?}", size(&train));
            return Err(Error::invalid(name, format!("test images of {:?}", size(&test)), rule));
        }
        if train.classes() != test.classes() {
            let rule = format!("training classes are {:?}", train.classes());
            return Err(Error::invalid(name, format!("test classes {:?}", test.classes()), rule));
        }
        if train.is_empty() {
            return Err(Error::invalid(name, "no training images", "there must be some"));
        }
        let (mean, std) = statistics(&train)?;
        Ok(Dataset { name: name.to_owned(), train, test, mean, std })
    }

    /// The same set with only the classes called `names`, in that order; mean and std stay as they are.
    ///
    /// Errors: as [`ImageSet::keep_classes`].
    pub fn keep_classes<S: AsRef<str>>(&self, names: &[S]) -> Result<Dataset> {
        let (train, test) = (self.train.keep_classes(names)?, self.test.keep_classes(names)?);
        Ok(Dataset { train, test, ..self.clone() })
    }

    /// What a backend needs to know to read the images.
    pub fn image_spec(&self, border: Border) -> ImageSpec {
        let ImageSet { height, width, channels, .. } = self.train;
        ImageSpec { height, width, channels, border, mean: self.mean.clone(), std: self.std.clone() }
    }
}

/// Pictures that are decoded to measure a set that is not in memory.
const MEASURED: usize = 2048;

/// Mean and standard deviation of each channel; exact integer sums, so the order of the images does not matter.
fn statistics(set: &ImageSet) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut sums = vec![[0u64; 2]; set.channels];
    let mut count = 0;
    let mut add = |bytes: &[u8]| {
        for pixel in bytes.chunks_exact(set.channels) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                let value = u64::from(value);
                *sum = [sum[0] + value, sum[1] + value * value];
            }
        }
        count += bytes.len() / set.channels;
    };
    match set.resident_bytes() {
        Some(bytes) => add(&bytes),
        None => {
            for batch in Loader::new(set.evenly(MEASURED), 64, 0, 0)?.epoch(0, &Augment::NONE, false, false) {
                if let BatchBytes::Decoded(bytes) = batch?.bytes {
                    add(&bytes);
                }
            }
        }
    }
    let scaled = |sum: u64| sum as f64 / count as f64 / 255.0;
    let mean = sums.iter().map(|sum| scaled(sum[0]) as f32).collect();
    let deviation = |sum: &[u64; 2]| (scaled(sum[1]) / 255.0 - scaled(sum[0]).powi(2)).max(0.0).sqrt();
    // A channel of one value would divide by zero; one step of a byte is the least that can be told apart.
    let std = sums.iter().map(|sum| deviation(sum).max(1.0 / 255.0) as f32).collect();
    Ok((mean, std))
}
