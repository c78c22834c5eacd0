//! A step before the first one, of black images, that is taken back: on a device with memory of its own it shows what a run
//! takes, before an hour was spent on it.

use cnn_core::backend::Memory;
use cnn_core::nn::RunningStatistics;
use cnn_core::{Backend, Pass, Shape, Tensor};

use super::Trainer;
use crate::answers::Answers;
use crate::{Error, Result};

impl<B: Backend> Trainer<B> {
    /// Makes a step and takes it back, on a device with memory of its own; none on others. The device's peak is then what the
    /// run will take, up to a batch's pictures and the evaluations, and its kernels are ready. Weights and statistics are as
    /// before, to the bit.
    ///
    /// # Errors
    /// The device has too little memory, with a batch that fits, if one does; and what else the model and the device say.
    pub fn rehearse(&mut self) -> Result<Option<Memory>> {
        if self.backend.own_memory()?.is_none() {
            return Ok(None);
        }
        let batch = self.recipe.batch.min(self.train.images().len());
        match self.try_batch(batch) {
            Err(error) if is_out_of_memory(&error) => Err(self.too_large(batch, &error)?),
            tried => tried.and_then(|()| Ok(self.backend.own_memory()?)),
        }
    }

    /// The error of a batch that does not fit. What fits is tried and not estimated.
    fn too_large(&mut self, batch: usize, error: &Error) -> Result<Error> {
        let mut smaller = batch / 2;
        while smaller > 0 {
            match self.try_batch(smaller) {
                Ok(()) => break,
                Err(error) if is_out_of_memory(&error) => smaller /= 2,
                Err(other) => return Err(other),
            }
        }
        let advice = match smaller {
            0 => "smaller images or a smaller network would do".to_owned(),
            fits => format!("a batch of {fits} would do"),
        };
        Ok(Error::recipe("batch", batch, format!("a step does not fit: {error}: {advice}")))
    }

    /// Forward and backward of `batch` images; nothing is left of it.
    fn try_batch(&mut self, batch: usize) -> Result<()> {
        let Trainer { backend, recipe, info, model, .. } = self;
        let statistics = RunningStatistics::of(&**model);
        let [height, width, channels] = info.image;
        let mut tried = || -> cnn_core::Result<()> {
            let shape = Shape::new(&[batch, height, width, channels])?;
            let images = Tensor::from_data(backend, shape, backend.fill(shape.numel(), B::Elem::default())?)?;
            let answers = Answers::any(backend, batch, info.classes.len(), info.multi_label)?;
            let pass = Pass::train(backend, recipe.seed);
            let loss = backend.at_once(|| {
                let loss = answers.loss(&model.call(&pass.input(images)?)?)?;
                loss.backward()?;
                Ok(loss)
            })?;
            loss.to_f64().map(|_| ()) // which waits for the step
        };
        let tried = tried();
        statistics.put_back(&mut **model)?;
        Ok(tried?)
    }
}

/// Whether the device had no memory for something.
fn is_out_of_memory(error: &Error) -> bool {
    fn inner(error: &cnn_core::Error) -> bool {
        match error {
            cnn_core::Error::OutOfMemory { .. } => true,
            cnn_core::Error::Layer { error, .. } => inner(error),
            _ => false,
        }
    }
    matches!(error, Error::Core(error) if inner(error))
}
