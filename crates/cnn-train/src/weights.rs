//! A weights file: arrays under PyTorch's names, and in its metadata what is needed to use them.

use std::fs;
use std::path::{Path, PathBuf};

use cnn_core::ConvAlgorithm;
use cnn_core::archive::Archive;
use cnn_models::Arch;
use serde::{Deserialize, Serialize};

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
    /// Which algorithm convolutions ran by in training; auto where a file does not say.
    #[serde(default)]
    pub conv_algo: ConvAlgorithm,
}

/// The value of [`WeightsInfo::layout`].
pub(crate) const LAYOUT: &str = "OIHW";

impl WeightsInfo {
    /// The architecture.
    ///
    /// # Errors
    /// A name that is not known here.
    pub fn arch(&self) -> Result<Arch> {
        Ok(self.arch.parse()?)
    }

    /// Refuses what no model can be built from.
    fn check(&self) -> Result<(), String> {
        let [h, w, c] = self.image;
        if self.layout != LAYOUT {
            return Err(format!("layout {}: must be {LAYOUT}", self.layout));
        }
        if self.classes.is_empty() || self.mean.len() != c || self.std.len() != c || h * w * c == 0 {
            return Err(format!(
                "{} classes, image {h}x{w}x{c}, {} means, {} deviations: must be at least one class and one pixel, and \
                 one mean and deviation a channel",
                self.classes.len(),
                self.mean.len(),
                self.std.len()
            ));
        }
        Ok(())
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

/// The largest file that is read: far above any model here, far below what exhausts a machine.
const MAX_FILE: u64 = 8 << 30;

/// Reads a safetensors file.
pub(crate) fn read_archive(path: &Path) -> Result<Archive> {
    let fail = |reason: String| Error::file(path, reason);
    let size = fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(fail(format!("{size} bytes: must be at most {MAX_FILE}")));
    }
    let bytes = fs::read(path).map_err(|error| fail(error.to_string()))?;
    Archive::from_bytes(&bytes).map_err(|error| fail(error.to_string()))
}

/// A weights file that was read, for a [`Classifier`](crate::Classifier) on whatever backend suits it.
#[derive(Clone, Debug)]
pub struct Weights {
    pub(crate) path: PathBuf,
    pub(crate) archive: Archive,
    pub(crate) info: WeightsInfo,
}

impl Weights {
    /// Reads a weights file with what it says of itself.
    ///
    /// # Errors
    /// A file that does not parse, or does not say what it is.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let archive = read_archive(&path)?;
        let metadata = serde_json::Value::Object(archive.metadata.clone());
        let info: WeightsInfo = serde_json::from_value(metadata).map_err(|error| {
            Error::file(&path, format!("metadata cnn: {error}: must say arch, classes, image, mean, std of the model"))
        })?;
        info.check().map_err(|reason| Error::file(&path, format!("metadata cnn: {reason}")))?;
        Ok(Weights { path, archive, info })
    }

    /// What the file says of itself.
    pub fn info(&self) -> &WeightsInfo {
        &self.info
    }
}
