//! Weights of another run or another program to begin with.

use std::path::{Path, PathBuf};

use cnn_core::Backend;
use cnn_core::archive::{Archive, Array};
use cnn_core::nn::Module;
use cnn_core::pretrained::{self, Head, Taken};
use cnn_data::{Filter, Fit, Preprocess};
use cnn_models::{Arch, IMAGENET_NORMALISATION};

use crate::recipe::PretrainedRecipe;
use crate::weights::{LAYOUT, WeightsInfo, file_of, info_of, read_archive};
use crate::{Error, Networks, Precision, Result, Trained};

/// What a file of weights had for a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// The file.
    pub file: PathBuf,
    /// SHA-256 of its arrays.
    pub digest: String,
    /// What was taken, and what was not.
    pub taken: Taken,
    /// What the file says of itself, if it is a run's.
    pub info: Option<WeightsInfo>,
}

/// Puts the weights of `path`, a run's folder or file or one of PyTorch (`.pth`, `.pt`, `.safetensors`), into `model`, which is
/// the `network` of that name and tells `classes` apart.
///
/// The last layer stays as it is where the file says that it is of other classes, or says nothing and has another number.
///
/// # Errors
/// A file that cannot be read, and as [`cnn_core::pretrained::load_pretrained`].
pub fn load_pretrained<B: Backend>(
    backend: &B,
    model: &mut dyn Module<B>,
    network: &str,
    path: impl AsRef<Path>,
    classes: &[String],
) -> Result<Loaded> {
    let file = file_of(path.as_ref());
    let archive = renamed(read_archive(&file)?, network);
    let info = info_of(&file, &archive)?;
    let head = match &info {
        Some(info) if info.classes != classes => Head::New,
        _ => Head::IfItFits,
    };
    let taken = pretrained::load_pretrained(backend, model, &archive, head).map_err(|error| match &info {
        Some(info) => Error::file(&file, format!("{error} (it is of {})", info.arch)),
        None => match of_imagenet(network, &archive) {
            Some(meant) => Error::file(&file, format!("{error} (its first convolution is that of {meant})")),
            None => Error::file(&file, error),
        },
    })?;
    Ok(Loaded { digest: archive.digest(), file, taken, info })
}

/// The network like `network` whose first convolution has a kernel of 7x7, if that is what the archive has.
fn of_imagenet(network: &str, archive: &Archive) -> Option<String> {
    let first = |(name, array): (&String, &Array)| name.ends_with("conv1.weight") && array.shape.ends_with(&[7, 7]);
    let meant = format!("{network}-imagenet");
    (archive.arrays.iter().any(first) && Arch::names().any(|name| name == meant)).then_some(meant)
}

/// What the weights of another program do not say of themselves.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Height and width of the images, in colour.
    pub size: [usize; 2],
    /// What they tell apart, in their order.
    pub classes: Vec<String>,
    /// Whether an image may have none or several of the classes.
    pub multi_label: bool,
    /// How pictures became images.
    pub preprocess: Preprocess,
    /// Mean and deviation of each channel by which pixels from 0 to 1 were normalised; None for those of the published weights.
    pub normalisation: Option<[[f32; 3]; 2]>,
}

impl ImportOptions {
    /// Those of the network's published weights, for images of this size and these classes.
    pub fn usual(arch: Arch, size: [usize; 2], classes: Vec<String>) -> Self {
        ImportOptions {
            size,
            classes,
            multi_label: false,
            preprocess: usual_preprocess(arch, size),
            normalisation: None,
        }
    }
}

/// The weights of another program in `path`, which are of `network`: a model with all that a weights file says of itself, to be written
/// by [`Trained::export`].
///
/// # Errors
/// As [`load_pretrained`]; of weights that tell another number of classes apart; options that no images can be made by.
pub fn import<B: Backend>(
    backend: &B,
    path: impl AsRef<Path>,
    network: &str,
    options: ImportOptions,
    networks: &Networks<B>,
) -> Result<(Trained<B>, Loaded)> {
    let ImportOptions { size: [height, width], classes, multi_label, preprocess, normalisation } = options;
    let image = [height, width, 3];
    let arch: Arch = network.parse()?;
    let mut model = networks.build(network, backend, 0, image, classes.len())?;
    let loaded = load_pretrained(backend, &mut *model, network, &path, &classes)?;
    if let Some(info) = &loaded.info {
        let reason = format!("says of itself that it is of {}, and can be used as it is", info.arch);
        return Err(Error::file(path.as_ref(), reason));
    }
    if !loaded.taken.new.is_empty() {
        let what = match loaded.taken.headless {
            true => "not there: a network without its last layer tells nothing apart".to_owned(),
            false => format!("of another number of classes than the {} named", classes.len()),
        };
        let reason = format!("{}: {what}", loaded.taken.new.join(", "));
        return Err(Error::file(path.as_ref(), reason));
    }
    let usual = || arch.usual_normalisation().map(|values| values.map(|value| value as f32));
    let [mean, std] = normalisation.unwrap_or_else(usual).map(|values| values.to_vec());
    let data = loaded.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let info = WeightsInfo {
        arch: network.to_owned(),
        classes,
        image,
        preprocess,
        mean,
        std,
        data,
        layout: LAYOUT.to_owned(),
        step: 0,
        precision: Precision::F32,
        conv_algo: crate::recipe::auto(),
        images: None,
        labels: None,
        multi_label,
    };
    info.check().map_err(|reason| Error::file(path.as_ref(), reason))?;
    Ok((Trained::new(backend, model, info), loaded))
}

/// How the images of `size` were made that the network's published weights were measured with: a shorter side of so many 224ths of it,
/// of which the middle is cut.
pub fn usual_preprocess(arch: Arch, size: [usize; 2]) -> Preprocess {
    let (larger, filter) = match arch {
        Arch::EfficientNetLite0 | Arch::EfficientNetB0 => (256, Filter::Bicubic),
        Arch::ConvNeXtTiny => (236, Filter::Bilinear),
        _ => (256, Filter::Bilinear),
    };
    Preprocess { resize: Some(size.map(|side| (side * larger).div_ceil(224))), fit: Fit::Crop, filter }
}

/// `archive` under the names that `network` has here, if they are those of another program.
fn renamed(archive: Archive, network: &str) -> Archive {
    let Ok(arch) = network.parse::<Arch>() else { return archive };
    let rename = |(name, mut array): (String, Array)| match arch.name_of(&name) {
        Some(ours) => {
            array.shape = arch.shape_of(&ours, &array.shape).unwrap_or(array.shape);
            (ours, array)
        }
        None => (name, array),
    };
    Archive { arrays: archive.arrays.into_iter().map(rename).collect(), ..archive }
}

/// What the weights in `path`, the file or folder of a run, say of themselves; none of those of another program.
///
/// # Errors
/// A file that cannot be read.
pub fn weights_info(path: impl AsRef<Path>) -> Result<Option<WeightsInfo>> {
    let file = file_of(path.as_ref());
    info_of(&file, &read_archive(&file)?)
}

impl PretrainedRecipe {
    /// Refuses what no pixels can be normalised by.
    pub(crate) fn check(&self) -> Result<()> {
        let list = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        match (&self.mean, &self.std) {
            (Some(mean), Some(std)) => {
                if let Some(value) = mean.iter().find(|mean| !(-1e3..=1e3).contains(*mean)) {
                    return Err(Error::recipe("pretrained.mean", value, "must be a number of pixels from 0 to 1"));
                }
                match std.iter().find(|std| !(1e-6..=1e6).contains(*std)) {
                    Some(value) => Err(Error::recipe("pretrained.std", value, "must be from 1e-6 to 1e6")),
                    None if std.len() == mean.len() => Ok(()),
                    None => Err(Error::recipe("pretrained.std", list(std), "must be as many as the means")),
                }
            }
            (None, None) => Ok(()),
            (Some(mean), None) => Err(Error::recipe("pretrained.mean", list(mean), "must stand beside a std")),
            (None, Some(std)) => Err(Error::recipe("pretrained.std", list(std), "must stand beside a mean")),
        }
    }

    /// Reads the file into `model`, and notes what is needed to begin by it again: its digest, and what pixels are normalised by.
    pub(crate) fn load<B: Backend>(
        &mut self,
        backend: &B,
        model: &mut dyn Module<B>,
        network: &str,
        classes: &[String],
        channels: usize,
    ) -> Result<Loaded> {
        let loaded = load_pretrained(backend, model, network, &self.file, classes)?;
        if let Some(digest) = self.digest.as_ref().filter(|digest| **digest != loaded.digest) {
            let rule = format!("is not that of {}, {}: the file is another one now", self.file, loaded.digest);
            return Err(Error::recipe("pretrained.digest", digest, rule));
        }
        self.digest = Some(loaded.digest.clone());
        // The recipe may be followed from elsewhere.
        if let Some(path) = std::path::absolute(&loaded.file).ok().as_deref().and_then(Path::to_str) {
            self.file = path.to_owned();
        }
        if self.mean.is_none() {
            let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
            let (mean, std) = match &loaded.info {
                Some(info) => (wide(&info.mean), wide(&info.std)),
                None if channels == 3 => {
                    let arch = network.parse::<Arch>();
                    let [mean, std] = arch.map_or(IMAGENET_NORMALISATION, |arch| arch.usual_normalisation());
                    (mean.to_vec(), std.to_vec())
                }
                None => {
                    let rule = "must be set, with std, for the images of another number of channels than 3";
                    return Err(Error::recipe("pretrained.mean", "not set", rule));
                }
            };
            (self.mean, self.std) = (Some(mean), Some(std));
        }
        Ok(loaded)
    }

    /// Mean and deviation of each of the images' channels.
    pub(crate) fn normalisation(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let narrow =
            |values: &Option<Vec<f64>>| -> Vec<f32> { values.iter().flatten().map(|&value| value as f32).collect() };
        let (mean, std) = (narrow(&self.mean), narrow(&self.std));
        if mean.len() != channels || std.len() != channels {
            let rule = format!("must be of {channels} channels, as the images");
            return Err(Error::recipe("pretrained.mean", format!("of {} channels", mean.len()), rule));
        }
        Ok((mean, std))
    }
}

#[cfg(test)]
mod tests;
