//! Whole networks: a training step, and inference.

use std::time::Duration;

use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Pass, Result, Shape, Tensor};
use cnn_cpu::{Cpu, CpuElement};
use cnn_models::{Arch, Model};

use crate::layers::noise;
use crate::report::Row;
use crate::timing::{median, reset_peak_memory};

/// A network with a batch of noise.
pub struct Network<T: CpuElement> {
    cpu: Cpu<T>,
    model: Model<Cpu<T>>,
    optimizer: Optimizer<Cpu<T>>,
    images: Tensor<Cpu<T>>,
    labels: Vec<u32>,
    steps: u32,
}

impl<T: CpuElement> Network<T> {
    /// The network of this name for 32x32x3 images and ten classes.
    ///
    /// # Errors
    /// A name that is not known, and the device's.
    pub fn new(cpu: &Cpu<T>, name: &str, batch: usize) -> Result<Self> {
        let model = name.parse::<Arch>()?.build(cpu, 0, [32, 32, 3], 10)?;
        let options =
            OptimizerOptions { method: Method::NESTEROV, weight_decay: 5e-4, decay_all: true, max_norm: f64::INFINITY };
        let shape = Shape::new(&[batch, 32, 32, 3])?;
        Ok(Network {
            optimizer: Optimizer::new(cpu, &model, options)?,
            model,
            images: Tensor::from_data(cpu, shape, noise(cpu, shape.numel())?)?,
            labels: (0..batch as u32).map(|i| i % 10).collect(),
            cpu: cpu.clone(),
            steps: 0,
        })
    }

    /// Forward, backward, optimiser.
    ///
    /// # Errors
    /// The device's.
    pub fn step(&mut self) -> Result<()> {
        let Network { cpu, model, optimizer, images, labels, steps } = self;
        let pass = Pass::train(cpu, 0).at_step(*steps);
        *steps += 1;
        let loss = model.call(&pass.input(images.clone())?)?.cross_entropy(labels, 0.0)?;
        let gradients = loss.backward()?;
        optimizer.step(0.01, model, &gradients, &loss).map(drop)
    }

    /// Forward, by running statistics.
    ///
    /// # Errors
    /// The device's.
    pub fn infer(&mut self) -> Result<()> {
        let pass = Pass::eval(&self.cpu);
        self.model.call(&pass.input(self.images.clone())?)?.data().map(drop)
    }
}

/// Measures `area`, `train` or `infer`, of the network of this name.
///
/// # Errors
/// As [`Network::new`].
pub fn measure<T: CpuElement>(cpu: &Cpu<T>, area: &'static str, name: &str, batch: usize) -> Result<Row> {
    reset_peak_memory();
    let mut network = Network::new(cpu, name, batch)?;
    let config = if area == "train" { "nesterov" } else { "eval" };
    let run = || if area == "train" { network.step() } else { network.infer() };
    let time = median(7, Duration::from_millis(300), run)?;
    Ok(Row::new(cpu, area, name, config.into(), batch, time))
}
