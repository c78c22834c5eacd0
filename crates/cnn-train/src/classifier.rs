//! A weights file in use: evaluate, predict, export.

use std::path::Path;

use cnn_core::image::{Border, ImageSpec, SampleView};
use cnn_core::nn::parameters;
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_core::{Backend, Frozen, Real, Shape, Tensor};
use cnn_data::ImageSet;
use cnn_models::Model;

use crate::disk::write_atomically;
use crate::evaluation::{Evaluation, evaluate};
use crate::feed::Feed;
use crate::weights::{Weights, WeightsInfo};
use crate::{Error, Result};

/// A trained model with what its file says of it.
pub struct Classifier<B: Backend> {
    backend: B,
    model: Model<B>,
    /// Made when it is first needed.
    frozen: Option<Frozen<B>>,
    info: WeightsInfo,
}

impl<B: Backend> Classifier<B> {
    /// Reads a weights file.
    ///
    /// # Errors
    /// A file that does not parse, does not say what it is, or does not fit the architecture that it names.
    pub fn load(backend: &B, path: impl AsRef<Path>) -> Result<Self> {
        Self::from_weights(backend, Weights::read(path.as_ref())?)
    }

    /// Puts weights to use.
    ///
    /// # Errors
    /// Weights that do not fit the architecture that they name.
    pub fn from_weights(backend: &B, weights: Weights) -> Result<Self> {
        let Weights { path, archive, info } = weights;
        info.check_size(&archive).map_err(|reason| Error::file(&path, reason))?;
        let mut model = info.arch()?.build(backend, 0, info.image, info.classes.len())?;
        load_state_dict(backend, &mut model, &archive).map_err(|error| Error::file(path, error))?;
        Ok(Classifier { backend: backend.clone(), model, frozen: None, info })
    }

    /// What the file says of itself.
    pub fn info(&self) -> &WeightsInfo {
        &self.info
    }

    /// The model, to be looked at or changed.
    pub fn model(&mut self) -> &mut Model<B> {
        self.frozen = None;
        &mut self.model
    }

    fn frozen(&mut self) -> Result<&Frozen<B>> {
        Ok(match &mut self.frozen {
            Some(frozen) => frozen,
            none => none.insert(Frozen::new(&self.backend, &mut *self.model, &self.info.image)?),
        })
    }

    /// How many weights there are.
    pub fn parameter_count(&self) -> usize {
        parameters(&self.model).iter().map(|parameter| parameter.shape().numel()).sum()
    }

    /// Probabilities of every class for each image, given as height * width * channels bytes.
    ///
    /// # Errors
    /// An image with another number of bytes.
    pub fn probabilities(&mut self, images: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<f64>>> {
        let [height, width, channels] = self.info.image;
        let (mean, std) = (self.info.mean.clone(), self.info.std.clone());
        let spec = ImageSpec { height, width, channels, border: Border::Zero, mean, std };
        let mut bytes = Vec::with_capacity(images.len() * spec.bytes());
        for (index, image) in images.iter().enumerate() {
            let image = image.as_ref();
            if image.len() != spec.bytes() {
                let rule = format!("must be the {} of a {height}x{width}x{channels} image", spec.bytes());
                return Err(Error::recipe("bytes of image", format!("{index}: {}", image.len()), rule));
            }
            bytes.extend_from_slice(image);
        }
        let views: Vec<SampleView> = (0..images.len() as u32).map(SampleView::plain).collect();
        let data = self.backend.load_images(&spec, &self.backend.upload(&bytes)?, &views)?;
        let shape = Shape::new(&[images.len(), height, width, channels])?;
        let images = Tensor::from_data(&self.backend, shape, data)?;
        let logits = self.frozen()?.run(images)?;
        let classes = self.info.classes.len();
        let probabilities = self.backend.softmax(logits.data(), classes)?;
        let probabilities = Tensor::from_data(&self.backend, logits.shape(), probabilities)?.to_vec(&self.backend)?;
        let rows = probabilities.chunks(classes);
        Ok(rows.map(|row| row.iter().map(|p| p.as_f64()).collect()).collect())
    }

    /// Accuracy, loss and confusion on `images`; `progress(done, total)` is called as it goes.
    ///
    /// # Errors
    /// Images of another size or with other classes than the model was trained on.
    pub fn evaluate(
        &mut self,
        images: &ImageSet,
        batch: usize,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Evaluation> {
        let image = images.size();
        if image != self.info.image {
            return Err(Error::recipe(
                "image",
                format!("{image:?}"),
                format!("must be {:?}, as in training", self.info.image),
            ));
        }
        if **images.classes() != *self.info.classes {
            let rule = format!("must be those of the weights, {}", self.info.classes.join(", "));
            return Err(Error::recipe("classes", images.classes().join(", "), rule));
        }
        let mut feed = Feed::new(images, Border::Zero, &self.info.mean, &self.info.std);
        let backend = self.backend.clone();
        evaluate(&backend, self.frozen()?, &mut feed, images, batch, progress)
    }

    /// Writes the weights under `naming`, with the same metadata.
    pub fn export(&self, naming: Naming, path: &Path) -> Result<()> {
        let mut archive = state_dict(&self.backend, &self.model, naming)?;
        self.info.store(&mut archive)?;
        write_atomically(path, &archive.to_bytes()?)
    }
}
