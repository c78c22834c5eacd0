//! Whole networks: a training step, and inference, on images of noise.

use cnn_core::ops::Labels;
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Backend, Frozen, Pass, Result, Shape, Tensor};
use cnn_models::{Arch, Model};

use crate::kernels::noise;
use crate::machine::Machine;
use crate::report::{Area, Row, Setting};
use crate::timing::{Repeat, median_on};

/// How a network trains, for [`Setting::config`].
pub const TRAINS: &str = "nesterov";
/// How a network answers, likewise.
pub const ANSWERS: &str = "frozen";

/// A network that trains.
pub struct Training<B: Backend> {
    backend: B,
    model: Model<B>,
    optimizer: Optimizer<B>,
    images: Tensor<B>,
    labels: Vec<u32>,
    steps: u32,
}

impl<B: Backend> Training<B> {
    /// The network of this name and a batch.
    ///
    /// # Errors
    /// A name that is not known, and the device's.
    pub fn new(backend: &B, name: &str, batch: usize) -> Result<Self> {
        let (model, images) = network(backend, name, batch)?;
        Self::of(backend, model, images, (0..batch as u32).map(|i| i % 10).collect())
    }

    /// `model`, and a batch of its images with a label for each.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn of(backend: &B, model: Model<B>, images: Tensor<B>, labels: Vec<u32>) -> Result<Self> {
        let options = OptimizerOptions::new(Method::NESTEROV).weight_decay(5e-4);
        Ok(Training {
            optimizer: Optimizer::new(backend, &model, options)?,
            model,
            images,
            labels,
            backend: backend.clone(),
            steps: 0,
        })
    }

    /// Forward, backward, optimiser.
    ///
    /// # Errors
    /// The device's.
    pub fn step(&mut self) -> Result<()> {
        let Training { backend, model, optimizer, images, labels, steps } = self;
        let pass = Pass::train(backend, 0).at_step(*steps);
        *steps += 1;
        let labels = Labels::new(backend, labels)?;
        backend.at_once(|| {
            let loss = model.call(&pass.input(images.clone())?)?.cross_entropy_with(&labels, 0.0)?;
            optimizer.step(0.01, model, &loss.backward()?).map(drop)
        })
    }

    /// The network as it is, frozen.
    ///
    /// # Errors
    /// The device's.
    pub fn freeze(&mut self) -> Result<Frozen<B>> {
        Frozen::new(&self.backend, &mut *self.model, &self.images.shape().dims()[1..])
    }
}

/// Height, width and channels of the images that the network of this name is measured on, its own, and in how many classes it sorts
/// them: 1000, as ImageNet's, of those that are made for more than 64x64 pixels, and 10 elsewhere.
///
/// # Errors
/// A name that is not known.
pub fn usual(name: &str) -> Result<([usize; 3], usize)> {
    let [height, width] = name.parse::<Arch>()?.usual_size();
    Ok(([height, width, 3], if height * width > 64 * 64 { 1000 } else { 10 }))
}

/// A network that answers.
pub struct Inference<B: Backend> {
    frozen: Frozen<B>,
    images: Tensor<B>,
}

impl<B: Backend> Inference<B> {
    /// The network of this name and a batch.
    ///
    /// # Errors
    /// A name that is not known, and the device's.
    pub fn new(backend: &B, name: &str, batch: usize) -> Result<Self> {
        let (mut model, images) = network(backend, name, batch)?;
        Ok(Inference { frozen: Frozen::new(backend, &mut *model, &images.shape().dims()[1..])?, images })
    }

    /// Forward, frozen.
    ///
    /// # Errors
    /// The device's.
    pub fn run(&mut self) -> Result<()> {
        self.frozen.run(self.images.clone()).map(drop)
    }
}

fn network<B: Backend>(backend: &B, name: &str, batch: usize) -> Result<(Model<B>, Tensor<B>)> {
    let (image @ [height, width, channels], classes) = usual(name)?;
    let model = name.parse::<Arch>()?.build(backend, 0, image, classes)?;
    let shape = Shape::new(&[batch, height, width, channels])?;
    Ok((model, Tensor::from_data(backend, shape, noise(backend, shape.numel())?)?))
}

/// Measures the training step of the network of this name.
///
/// # Errors
/// As [`Training::new`].
pub fn train<B: Machine>(backend: &B, name: &str, batch: usize, repeat: Repeat) -> Result<Row> {
    let mut training = Training::new(backend, name, batch)?;
    let time = median_on(backend, repeat, || training.step())?;
    Ok(Row::new(Setting::new(backend, Area::Train, name, TRAINS, batch), time))
}

/// Measures the inference of the network of this name.
///
/// # Errors
/// As [`Inference::new`].
pub fn infer<B: Machine>(backend: &B, name: &str, batch: usize, repeat: Repeat) -> Result<Row> {
    let mut inference = Inference::new(backend, name, batch)?;
    let time = median_on(backend, repeat, || inference.run())?;
    Ok(Row::new(Setting::new(backend, Area::Infer, name, ANSWERS, batch), time))
}
