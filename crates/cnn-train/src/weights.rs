//! A weights file: arrays under PyTorch's names, and in its metadata what is needed to use them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cnn_core::archive::Archive;
use cnn_core::image::{Border, ImageSpec};
use cnn_core::pytorch;
use cnn_data::Preprocess;
use serde::{Deserialize, Serialize};

use crate::run_folder::WEIGHTS;
use crate::{Error, Precision, Result};

/// What a weights file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsInfo {
    /// The architecture's name.
    pub arch: String,
    /// Class names, by label.
    pub classes: Vec<String>,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// How a picture becomes such an image; where a file does not say, it is resized until it covers one and cut.
    #[serde(default)]
    pub preprocess: Preprocess,
    /// Mean of each channel of pixels scaled to \[0, 1\].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// Name of the data set it was trained on.
    pub data: String,
    /// How arrays are laid out: always `OIHW`, PyTorch's.
    pub layout: String,
    /// Training steps behind these weights.
    pub step: u64,
    /// How activations were stored in training; f32 where a file does not say. The weights themselves are f32.
    #[serde(default)]
    pub precision: Precision,
    /// The device's tuning in training ([`Device::tuning`](cnn_core::Device::tuning)): on a CPU, which algorithm
    /// convolutions ran by; auto where a file does not say.
    #[serde(default = "crate::recipe::auto")]
    pub conv_algo: String,
    /// Training images, those held out for validation among them; none where a file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
    /// SHA-256 of the training images' labels, 4 bytes each, little-endian; none where a file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Whether the answer is none, one or several of the classes, each by the sigmoid of its logit; one, by the softmax of all, where a
    /// file does not say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_label: bool,
}

/// The value of [`WeightsInfo::layout`].
pub(crate) const LAYOUT: &str = "OIHW";

impl WeightsInfo {
    /// Height, width and channels in which a picture's bytes are given to the network: [`WeightsInfo::image`], or what that is the
    /// middle of, or is stretched from.
    pub fn stored(&self) -> [usize; 3] {
        self.preprocess.stored(self.image)
    }

    /// How those bytes become the numbers that the network reads, with this `border` around an image.
    pub fn spec(&self, border: Border) -> ImageSpec {
        let [height, width, _] = self.image;
        ImageSpec::new(self.stored(), border, &self.mean, &self.std).with_output([height, width])
    }

    /// Refuses what no model can be built from.
    pub(crate) fn check(&self) -> Result<(), String> {
        let [h, w, c] = self.image;
        if self.layout != LAYOUT {
            return Err(format!("layout {}: must be {LAYOUT}", self.layout));
        }
        let values = h.checked_mul(w).and_then(|pixels| pixels.checked_mul(c)).filter(|&values| values <= MOST_VALUES);
        if self.classes.is_empty() || self.mean.len() != c || self.std.len() != c || values.is_none_or(|n| n == 0) {
            return Err(format!(
                "{} classes, image {h}x{w}x{c}, {} means, {} deviations: must be at least one class and one pixel, at \
                 most {MOST_VALUES} values, and one mean and deviation a channel",
                self.classes.len(),
                self.mean.len(),
                self.std.len()
            ));
        }
        self.preprocess.check().map_err(|error| error.to_string())?;
        let mut names = BTreeSet::new();
        for name in &self.classes {
            if name.is_empty() || name.chars().any(char::is_control) || !names.insert(name) {
                let rule = "must be a name without control characters, and given once";
                return Err(format!("class {name:?}: {rule}"));
            }
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("mean {mean}: must be finite"));
        }
        if let Some(std) = self.std.iter().find(|&&std| !(std.is_finite() && std >= LEAST_STD)) {
            return Err(format!("std {std}: must be finite and at least {LEAST_STD}"));
        }
        Ok(())
    }

    /// Refuses weights of a network, which would have `least` weights, larger than the file, before it is made.
    pub(crate) fn check_size(&self, archive: &Archive, least: Option<usize>) -> Result<(), String> {
        let held: usize = archive.arrays.values().map(|array| array.shape.iter().product::<usize>()).sum();
        let [h, w, c] = self.image;
        match least {
            Some(least) if least <= held => Ok(()),
            least => {
                let count = least.map_or("more than can be counted".to_owned(), |count| count.to_string());
                let (arch, classes) = (&self.arch, self.classes.len());
                Err(format!(
                    "{held} values: must be the {count} or more of {arch} for images of {h}x{w}x{c} and {classes} classes"
                ))
            }
        }
    }

    /// Refuses to go on with these weights on other data than they were trained on; `data` is what is given now.
    pub(crate) fn check_data(&self, data: &WeightsInfo) -> Result<(), String> {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        let size = |[h, w, c]: [usize; 3]| format!("{h}x{w}x{c}");
        let differences = [
            (self.classes != data.classes)
                .then(|| format!("classes {}: must be {}", data.classes.join(", "), self.classes.join(", "))),
            (self.multi_label != data.multi_label).then(|| {
                let words = |several| if several { "several labels for an image" } else { "one label for each image" };
                format!("{}: must be {}", words(data.multi_label), words(self.multi_label))
            }),
            (self.image != data.image)
                .then(|| format!("images of {}: must be of {}", size(data.image), size(self.image))),
            (self.stored() != data.stored())
                .then(|| format!("pictures kept in {}: must be in {}", size(data.stored()), size(self.stored()))),
            (self.preprocess != data.preprocess)
                .then(|| format!("pictures resized by {:?}: must be by {:?}", data.preprocess, self.preprocess)),
            match (self.images, data.images) {
                (Some(trained), Some(given)) if trained != given => {
                    Some(format!("{given} training images: must be {trained}"))
                }
                _ => None,
            },
            (self.mean != data.mean)
                .then(|| format!("mean of the pixels {}: must be {}", list(&data.mean), list(&self.mean))),
            (self.std != data.std)
                .then(|| format!("deviation of the pixels {}: must be {}", list(&data.std), list(&self.std))),
            match (&self.labels, &data.labels) {
                (Some(trained), Some(given)) if trained != given => {
                    Some("labels of the training images: must be as they were, in the same order".to_owned())
                }
                _ => None,
            },
        ];
        match differences.into_iter().flatten().next() {
            Some(difference) => Err(format!("the data is not that of the run: {difference}")),
            None => Ok(()),
        }
    }

    /// Puts this into the metadata of a file.
    pub(crate) fn store(&self, archive: &mut Archive) -> Result<()> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => archive.metadata = fields,
            Ok(other) => return Err(Error::recipe("metadata", other, "must be an object")),
            Err(error) => return Err(Error::recipe("metadata", "", error)),
        }
        Ok(())
    }
}

/// The most values of an image that a model is built for.
const MOST_VALUES: usize = 1 << 28;

/// The least deviation of a channel that pixels are divided by; that of bytes is at least 1/255.
const LEAST_STD: f32 = 1e-6;

/// Reads a file of arrays: safetensors, or one of PyTorch.
pub(crate) fn read_archive(path: &Path) -> Result<Archive> {
    let read = || match pytorch::read(path)? {
        Some(archive) => Ok(archive),
        None => Archive::read(path),
    };
    read().map_err(|error| match error {
        // It names the file already.
        error @ cnn_core::Error::Io { .. } => error.into(),
        error => Error::file(path, error),
    })
}

/// The file of weights that is meant by a path: that of a run by its folder.
pub(crate) fn file_of(path: &Path) -> PathBuf {
    let in_folder = path.join(WEIGHTS);
    if in_folder.is_file() { in_folder } else { path.to_owned() }
}

/// What an archive says of itself; none of one that says nothing, as those of other programs.
pub(crate) fn info_of(path: &Path, archive: &Archive) -> Result<Option<WeightsInfo>> {
    if archive.metadata.is_empty() {
        return Ok(None);
    }
    let metadata = serde_json::Value::Object(archive.metadata.clone());
    let info: WeightsInfo = serde_json::from_value(metadata).map_err(|error| {
        Error::file(path, format!("metadata cnn: {error}: must say arch, classes, image, mean, std of the model"))
    })?;
    info.check().map_err(|reason| Error::file(path, format!("metadata cnn: {reason}")))?;
    Ok(Some(info))
}

/// A weights file that was read, for a [`Classifier`](crate::Classifier) on whatever backend suits it.
#[derive(Clone, Debug)]
pub struct Weights {
    pub(crate) path: PathBuf,
    pub(crate) archive: Archive,
    pub(crate) info: WeightsInfo,
}

impl Weights {
    /// Reads a weights file, or that in the folder of a run, with what it says of itself.
    ///
    /// # Errors
    /// A file that does not parse, or does not say what it is.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = file_of(&path.into());
        let archive = read_archive(&path)?;
        let info = info_of(&path, &archive)?.ok_or_else(|| {
            let rule =
                "does not say which network it is of: cnn import writes one that does, and train --init begins with it";
            Error::file(&path, rule)
        })?;
        Ok(Weights { path, archive, info })
    }

    /// What the file says of itself.
    pub fn info(&self) -> &WeightsInfo {
        &self.info
    }
}
