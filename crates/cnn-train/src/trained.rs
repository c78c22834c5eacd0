//! A weights file made a model again: to be looked at, exported, or trained further.

use std::fmt::{Debug, Formatter};
use std::path::Path;

use cnn_core::Backend;
use cnn_core::nn::parameters;
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_models::Model;

use crate::disk::write_atomically;
use crate::networks::Networks;
use crate::weights::{Weights, WeightsInfo};
use crate::{Error, Result};

/// A trained model with what its file says of it. A [`Classifier`](crate::Classifier) is made of one, and keeps less.
pub struct Trained<B: Backend> {
    backend: B,
    model: Model<B>,
    info: WeightsInfo,
}

impl<B: Backend> Trained<B> {
    /// Reads a weights file of one of `networks`.
    ///
    /// # Errors
    /// A file that does not parse, does not say what it is, or does not fit the network that it names.
    pub fn load(backend: &B, path: impl AsRef<Path>, networks: &Networks<B>) -> Result<Self> {
        Self::from_weights(backend, Weights::read(path.as_ref())?, networks)
    }

    /// Puts weights into the network that they are of.
    ///
    /// # Errors
    /// Weights that do not fit the network that they name.
    pub fn from_weights(backend: &B, weights: Weights, networks: &Networks<B>) -> Result<Self> {
        let Weights { path, archive, info } = weights;
        let (image, classes) = (info.image, info.classes.len());
        let least = networks.least_parameters(&info.arch, image, classes);
        info.check_size(&archive, least).map_err(|reason| Error::file(&path, reason))?;
        let mut model = networks.build(&info.arch, backend, 0, image, classes)?;
        load_state_dict(backend, &mut model, &archive).map_err(|error| Error::file(path, error))?;
        Ok(Trained { backend: backend.clone(), model, info })
    }

    /// A model and what is known of it.
    pub(crate) fn new(backend: &B, model: Model<B>, info: WeightsInfo) -> Self {
        Trained { backend: backend.clone(), model, info }
    }

    /// What the file says of itself.
    pub fn info(&self) -> &WeightsInfo {
        &self.info
    }

    /// The model.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// The model, to be changed.
    pub fn model_mut(&mut self) -> &mut Model<B> {
        &mut self.model
    }

    /// The device that the model is on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// How many weights there are.
    pub fn parameter_count(&self) -> usize {
        parameters(&self.model).iter().map(|parameter| parameter.shape().numel()).sum()
    }

    /// Writes the weights under `naming`, with the same metadata.
    ///
    /// # Errors
    /// The file cannot be written; an old one is then still there.
    pub fn export(&self, naming: Naming, path: &Path) -> Result<()> {
        let mut archive = state_dict(&self.backend, &self.model, naming)?;
        self.info.store(&mut archive)?;
        write_atomically(path, &archive.to_bytes()?)
    }

    pub(crate) fn into_parts(self) -> (B, Model<B>, WeightsInfo) {
        (self.backend, self.model, self.info)
    }
}

impl<B: Backend> Debug for Trained<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trained").field("info", &self.info).finish_non_exhaustive()
    }
}
