//! The convolutions and normalisations of ResNet-18 for CIFAR, each pass by itself.

use std::time::Duration;

use cnn_core::backend::{Affine, Backend, Gradient, Input, Norm, Running, Uses};
use cnn_core::{BatchNormSpec, Conv2dOptions, Conv2dSpec, Element, Real, Result};
use cnn_cpu::{Buffer, Cpu, CpuElement, fma_peak};

use crate::passes;
use crate::report::Row;
use crate::timing::median;

/// At least so many repetitions of a layer, and for at least so long.
pub(crate) const LEAST: usize = 5;
pub(crate) const BUDGET: Duration = Duration::from_millis(200);

/// Input channels, image side, output channels, kernel, stride of every different convolution.
pub const CONVOLUTIONS: [[usize; 5]; 11] = [
    [3, 32, 64, 3, 1],
    [64, 32, 64, 3, 1],
    [64, 32, 128, 3, 2],
    [64, 32, 128, 1, 2],
    [128, 16, 128, 3, 1],
    [128, 16, 256, 3, 2],
    [128, 16, 256, 1, 2],
    [256, 8, 256, 3, 1],
    [256, 8, 512, 3, 2],
    [256, 8, 512, 1, 2],
    [512, 4, 512, 3, 1],
];

/// Channels and image side of every different normalisation.
pub const NORMS: [[usize; 2]; 4] = [[64, 32], [128, 16], [256, 8], [512, 4]];

/// A convolution with operands of noise.
pub struct Convolution<T: CpuElement> {
    /// The problem.
    pub spec: Conv2dSpec,
    cpu: Cpu<T>,
    x: Input<Cpu<T>>,
    dy: Gradient<Cpu<T>>,
    filter: <Cpu<T> as Backend>::Filter,
}

/// The three passes of a convolution.
pub const PASSES: [&str; 3] = ["forward", "backward data", "backward weight"];

impl<T: CpuElement> Convolution<T> {
    /// One of [`CONVOLUTIONS`] for `batch` images.
    ///
    /// # Errors
    /// The device's.
    pub fn new(cpu: &Cpu<T>, [c, side, k, kernel, stride]: [usize; 5], batch: usize) -> Result<Self> {
        let options = Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
        let spec = Conv2dSpec::new([batch, side, side, c], k, &options)?;
        let weight = noise(cpu, spec.weight_shape().iter().product())?;
        Ok(Convolution {
            spec,
            x: Input::Plain(noise(cpu, spec.input_shape().iter().product())?),
            dy: Gradient::Plain(noise(cpu, spec.output_shape().iter().product())?),
            filter: cpu.prepare_filter(&spec, &weight, Uses::Training)?,
            cpu: cpu.clone(),
        })
    }

    /// Its name in tables.
    pub fn name(&self) -> String {
        let Conv2dSpec { in_channels, input, out_channels, kernel, stride, .. } = self.spec;
        format!("{in_channels}x{}x{} -> {out_channels} k{} s{}", input[0], input[1], kernel[0], stride[0])
    }

    /// Runs pass `index` of [`PASSES`].
    ///
    /// # Errors
    /// The device's.
    pub fn run(&self, index: usize) -> Result<()> {
        let Convolution { spec, cpu, x, dy, filter } = self;
        match index {
            0 => drop(cpu.conv2d(spec, x, filter, None, false)?),
            1 => drop(cpu.conv2d_backward_data(spec, dy, filter, None)?),
            _ => drop(cpu.conv2d_backward_weight(spec, dy, x)?),
        }
        Ok(())
    }
}

/// A normalisation with operands of noise.
pub struct Normalisation<T: CpuElement> {
    spec: BatchNormSpec,
    cpu: Cpu<T>,
    x: Buffer<T>,
    dy: Buffer<T>,
    parameters: [Buffer<T::Accum>; 2],
    running: [Buffer<T::Accum>; 2],
}

impl<T: CpuElement> Normalisation<T> {
    /// One of [`NORMS`] for `batch` images.
    ///
    /// # Errors
    /// The device's.
    pub fn new(cpu: &Cpu<T>, [channels, side]: [usize; 2], batch: usize) -> Result<Self> {
        let rows = batch * side * side;
        let per_channel = |value| cpu.fill(channels, T::Accum::from_f64(value));
        Ok(Normalisation {
            spec: BatchNormSpec { rows, channels, eps: 1e-5 },
            x: noise(cpu, rows * channels)?,
            dy: noise(cpu, rows * channels)?,
            parameters: [per_channel(1.0)?, per_channel(0.0)?],
            running: [per_channel(0.0)?, per_channel(1.0)?],
            cpu: cpu.clone(),
        })
    }

    /// Its name in tables.
    pub fn name(&self) -> String {
        let BatchNormSpec { channels, rows, .. } = self.spec;
        format!("batch norm {channels} x {rows}")
    }

    /// Bytes that the forward pass has to move: read for the moments, read and written for the result.
    pub fn bytes(&self) -> usize {
        3 * size_of::<T>() * self.x.len()
    }

    /// Moments, coefficients, normalised and rectified activation.
    ///
    /// # Errors
    /// The device's.
    pub fn forward(&mut self) -> Result<()> {
        let Normalisation { spec, cpu, x, parameters: [gamma, beta], running: [mean, variance], .. } = self;
        let moments = cpu.channel_moments(x, spec)?;
        let running = Running { mean, variance, momentum: 0.1 };
        let stats = cpu.batch_norm_train(spec, &moments, Affine { gamma, beta }, running)?;
        let norm = Norm { x: x.clone(), scale: stats.scale, shift: stats.shift, channels: spec.channels, relu: true };
        cpu.normalise(&norm, None).map(drop)
    }

    /// Gradients of gamma, beta and the input.
    ///
    /// # Errors
    /// The device's.
    pub fn backward(&mut self) -> Result<()> {
        let Normalisation { spec, cpu, x, dy, parameters: [gamma, beta], running: [mean, variance] } = self;
        let stats = cpu.batch_norm_eval(spec, Affine { gamma, beta }, mean, variance)?;
        let norm = Norm {
            x: x.clone(),
            scale: stats.scale.clone(),
            shift: stats.shift.clone(),
            channels: spec.channels,
            relu: true,
        };
        let back = cpu.batch_norm_backward(spec, dy.clone(), &norm, &stats, None, true)?;
        cpu.normalise_backward(&back.dx).map(drop)
    }
}

/// Measures every layer.
///
/// # Errors
/// The device's.
pub fn measure<T: CpuElement>(cpu: &Cpu<T>, batch: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let row = |config: String, time: Duration| Row::new(cpu, "layers", "resnet18", config, batch, time);
    for shape in CONVOLUTIONS {
        let convolution = Convolution::new(cpu, shape, batch)?;
        for (index, pass) in PASSES.iter().enumerate() {
            let before = fma_peak(cpu, 0.01);
            let time = median(LEAST, BUDGET, || convolution.run(index))?;
            let gflop_s = 2e-9 * convolution.spec.macs() as f64 / time.as_secs_f64();
            let peak = (before + fma_peak(cpu, 0.01)) / 2.0;
            let row = row(format!("{} {pass}", convolution.name()), time);
            rows.push(Row { gflop_s: Some(gflop_s), peak_gflop_s: Some(peak), ..row });
        }
    }
    for shape in NORMS {
        let mut norm = Normalisation::new(cpu, shape, batch)?;
        for (pass, bytes) in [("forward", norm.bytes()), ("backward", norm.bytes() * 5 / 3)] {
            let run = || if pass == "forward" { norm.forward() } else { norm.backward() };
            let time = median(LEAST, BUDGET, run)?;
            rows.push(row(format!("{} {pass}", norm.name()), time).moving(bytes));
        }
    }
    rows.extend(passes::pooling(cpu, batch)?);
    rows.extend(passes::optimisers(cpu, batch)?);
    Ok(rows)
}

/// Numbers between -1 and 1 that no compiler or CPU can guess.
///
/// # Errors
/// The device's.
pub fn noise<T: CpuElement, U: Element>(cpu: &Cpu<T>, len: usize) -> Result<Buffer<U>> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let values: Vec<U> = (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            U::from_accum(U::Accum::from_f64((state >> 40) as f64 / f64::from(1 << 23) - 1.0))
        })
        .collect();
    cpu.upload(&values)
}
