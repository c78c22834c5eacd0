//! A weights file in use: what is in an image, and how often that is right.

use std::fmt::{Debug, Formatter};
use std::path::Path;

use cnn_core::image::{Border, ImageSpec, SampleView};
use cnn_core::{Backend, Frozen, Real, Shape, Tensor};
use cnn_data::{ImageSet, Pool, decode_image};
use serde::Serialize;

use crate::batches::DeviceBatches;
use crate::control::Control;
use crate::evaluation::{Evaluation, View, evaluate};
use crate::multi_label::sigmoid;
use crate::networks::Networks;
use crate::trained::Trained;
use crate::weights::{Weights, WeightsInfo};
use crate::{Error, Result};

/// A trained network, frozen for inference. Any number of threads may use one at the same time.
///
/// It holds the weights once, in the form that the kernels read; what they can be exported from is a [`Trained`].
pub struct Classifier<B: Backend> {
    backend: B,
    frozen: Frozen<B>,
    info: WeightsInfo,
    spec: ImageSpec,
    views: &'static [View],
    pool: Pool,
}

/// What a network makes of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Prediction {
    /// The most probable class.
    pub class: String,
    /// Its label: its place among [`WeightsInfo::classes`].
    pub label: usize,
    /// Its probability.
    pub probability: f64,
    /// The probability of every class, by label: they add up to 1 or, of a network of [several labels](WeightsInfo::multi_label),
    /// each stands for itself.
    pub probabilities: Vec<f64>,
    /// The labels of the answer: the one above or, of a network of several labels, those of at least a half, the most probable first.
    pub labels: Vec<usize>,
}

impl<B: Backend> Classifier<B> {
    /// Reads a weights file of one of the networks of `cnn-models`.
    ///
    /// # Errors
    /// A file that does not parse, does not say what it is, or does not fit the network that it names.
    pub fn load(backend: &B, path: impl AsRef<Path>) -> Result<Self> {
        Self::from_weights(backend, Weights::read(path.as_ref())?)
    }

    /// Puts weights of one of the networks of `cnn-models` to use.
    ///
    /// # Errors
    /// Weights that do not fit the network that they name.
    pub fn from_weights(backend: &B, weights: Weights) -> Result<Self> {
        Self::new(Trained::from_weights(backend, weights, &Networks::new())?)
    }

    /// Freezes a trained model, which may be one of a program's own networks.
    ///
    /// # Errors
    /// Those of the model for one image.
    pub fn new(trained: Trained<B>) -> Result<Self> {
        let (backend, mut model, info) = trained.into_parts();
        let frozen = Frozen::new(&backend, &mut *model, &info.image)?;
        // Who looks at an image as it is sees nothing outside of it.
        let spec = info.spec(Border::Reflect);
        Ok(Classifier { backend, frozen, info, spec, views: View::PLAIN, pool: Pool::default() })
    }

    /// Whether every image is judged by six views of it, which takes six times as long: as it is, and moved by a pixel each
    /// way along its diagonal, each also in a mirror; their logits are averaged. By default it is judged as it is.
    pub fn tta(self, tta: bool) -> Self {
        Classifier { views: if tta { View::SIX } else { View::PLAIN }, ..self }
    }

    /// The threads that decode files; by default one for each core, started when they are first needed.
    pub fn pool(self, pool: impl Into<Pool>) -> Self {
        Classifier { pool: pool.into(), ..self }
    }

    /// What the file says of itself.
    pub fn info(&self) -> &WeightsInfo {
        &self.info
    }

    /// What is in each image, given as height * width * channels bytes: those of [`WeightsInfo::stored`].
    ///
    /// # Errors
    /// An image with another number of bytes, and probabilities that are not finite.
    pub fn classify(&self, images: &[impl AsRef<[u8]>]) -> Result<Vec<Prediction>> {
        Ok(self.probabilities(images)?.into_iter().map(|row| self.prediction(row)).collect())
    }

    /// What the probabilities of an image say.
    fn prediction(&self, probabilities: Vec<f64>) -> Prediction {
        // Of equal ones, the first.
        let best = |best: usize, label: usize| if probabilities[label] > probabilities[best] { label } else { best };
        let label = (0..probabilities.len()).fold(0, best);
        let (class, probability) = (self.info.classes[label].clone(), probabilities[label]);
        let mut labels = vec![label];
        if self.info.multi_label {
            labels = (0..probabilities.len()).filter(|&label| probabilities[label] >= 0.5).collect();
            labels.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        }
        Prediction { class, label, probability, probabilities, labels }
    }

    /// What is in each picture file. A file that is no picture does not keep the others from being classified.
    ///
    /// # Errors
    /// The outer one is of the device; the inner ones say which file could not be read, and why.
    pub fn classify_files(&self, paths: &[impl AsRef<Path>]) -> Result<Vec<Result<Prediction>>> {
        let WeightsInfo { image, preprocess, .. } = self.info;
        let mut results = Vec::with_capacity(paths.len());
        for paths in paths.chunks(FILES) {
            let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
            let decoded = self.pool.map(paths.len(), |i| decode_image(paths[i], image, &preprocess));
            let (read, images): (Vec<&Path>, Vec<&[u8]>) =
                paths.iter().zip(&decoded).filter_map(|(path, image)| Some((*path, &**image.as_ref().ok()?))).unzip();
            let mut rows = self.rows(&images, |i| read[i].display().to_string())?.into_iter();
            // Each image that could be read has a row.
            results.extend(decoded.into_iter().filter_map(|decoded| match decoded {
                Ok(_) => rows.next().map(|row| Ok(self.prediction(row))),
                Err(error) => Some(Err(error.into())),
            }));
        }
        Ok(results)
    }

    /// Probabilities of every class, by label, for each image, given as height * width * channels bytes.
    ///
    /// # Errors
    /// An image with another number of bytes, and probabilities that are not finite.
    pub fn probabilities(&self, images: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<f64>>> {
        self.rows(images, |i| format!("image {i}"))
    }

    /// As [`Classifier::probabilities`], of images that are called so in errors.
    fn rows(&self, images: &[impl AsRef<[u8]>], name: impl Fn(usize) -> String) -> Result<Vec<Vec<f64>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let [height, width, channels] = self.info.stored();
        for (index, image) in images.iter().enumerate() {
            let bytes = image.as_ref().len();
            if bytes != self.spec.bytes() {
                let rule = format!("must be the {} of a {height}x{width}x{channels} image", self.spec.bytes());
                return Err(Error::recipe("bytes of image", format!("{index}: {bytes}"), rule));
            }
        }
        let bytes = match images {
            [image] => self.backend.upload(image.as_ref())?,
            images => self.backend.upload(&images.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>().concat())?,
        };
        let plain: Vec<SampleView> = (0..images.len() as u32).map(|index| self.spec.whole(index)).collect();
        let logits = |view: &View| -> Result<Tensor<B>> {
            let data = self.backend.load_images(&self.spec, &bytes, &view.of(&plain))?;
            let [height, width, channels] = self.info.image;
            let shape = Shape::new(&[images.len(), height, width, channels])?;
            Ok(self.frozen.run(Tensor::from_data(&self.backend, shape, data)?)?)
        };
        let classes = self.info.classes.len();
        let rows: Vec<Vec<f64>> = match self.views {
            [view] if !self.info.multi_label => {
                let logits = logits(view)?;
                let probabilities = self.backend.softmax(logits.data(), classes)?;
                let probabilities = Tensor::from_data(&self.backend, logits.shape(), probabilities)?;
                let probabilities = probabilities.to_vec(&self.backend)?;
                probabilities.chunks(classes).map(|row| row.iter().map(|p| p.as_f64()).collect()).collect()
            }
            views => {
                let mut rows = vec![vec![0.0; classes]; images.len()];
                for view in views {
                    let logits = logits(view)?.to_vec(&self.backend)?;
                    for (sum, logit) in rows.iter_mut().flatten().zip(logits) {
                        *sum += view.weight * logit.as_f64();
                    }
                }
                rows.iter_mut().for_each(|row| probabilities_of(row, self.info.multi_label));
                rows
            }
        };
        match rows.iter().position(|row| row.iter().any(|probability| !probability.is_finite())) {
            Some(index) => Err(Error::NotFiniteLogits { image: name(index) }),
            None => Ok(rows),
        }
    }

    /// Accuracy, loss and confusion on `images`; `progress(done, total)` is called as it goes.
    ///
    /// # Errors
    /// Images of another size or with other classes than the model was trained on.
    pub fn evaluate(&self, images: &ImageSet, batch: usize, progress: &mut dyn FnMut(u64, u64)) -> Result<Evaluation> {
        let found = [images.shown(), images.size()];
        if found != [self.info.image, self.info.stored()] {
            let rule = format!("must be {:?}, kept in {:?}, as in training", self.info.image, self.info.stored());
            return Err(Error::recipe("image", format!("{:?}, kept in {:?}", found[0], found[1]), rule));
        }
        if **images.classes() != *self.info.classes {
            let rule = format!("must be those of the weights, {}", self.info.classes.join(", "));
            return Err(Error::recipe("classes", images.classes().join(", "), rule));
        }
        if images.is_multi_label() != self.info.multi_label {
            let words = |several| if several { "none or several for an image" } else { "one for each image" };
            let rule = format!("must be {}, as in training", words(self.info.multi_label));
            return Err(Error::recipe("labels", words(images.is_multi_label()), rule));
        }
        let batches = DeviceBatches::new(&self.backend, images, self.spec.clone());
        evaluate(&self.backend, &self.frozen, &batches, self.views, batch, &mut |done, total| {
            progress(done, total);
            Control::Continue
        })
    }
}

/// Files that are decoded and classified at a time.
const FILES: usize = 32;

/// Logits as probabilities: of all classes together, or of each by itself.
fn probabilities_of(row: &mut [f64], multi_label: bool) {
    if multi_label {
        // A logit that is not finite has no probability, also where its sigmoid would be 0 or 1.
        row.iter_mut().for_each(|logit| *logit = if logit.is_finite() { sigmoid(*logit) } else { f64::NAN });
        return;
    }
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= sum);
}

impl<B: Backend> Debug for Classifier<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier").field("info", &self.info).field("frozen", &self.frozen).finish_non_exhaustive()
    }
}
