//! What only memory limits: pooling, and the optimisers' passes over all parameters.

use cnn_core::backend::{AdamParam, AdamStep, Backend, Health, SgdParam, SgdStep};
use cnn_core::{Pool2dOptions, Pool2dSpec, Real, Result};
use cnn_cpu::{Buffer, Cpu, CpuElement};

use crate::layers::{BUDGET, LEAST, noise};
use crate::report::Row;
use crate::timing::median;

/// The guide's maximum, the ImageNet stem's and the head's average, each way.
///
/// # Errors
/// The device's.
pub fn pooling<T: CpuElement>(cpu: &Cpu<T>, batch: usize) -> Result<Vec<Row>> {
    let guide = Pool2dSpec::new([batch, 30, 30, 32], &Pool2dOptions::square(2))?;
    let stem = Pool2dSpec::new([batch, 32, 32, 64], &Pool2dOptions::square(3).stride(2).padding(1))?;
    let head = Pool2dSpec::global([batch, 4, 4, 512])?;
    let mut rows = Vec::new();
    for (name, spec) in [("max pool", guide), ("max pool", stem), ("average pool", head)] {
        let [inputs, outputs]: [usize; 2] =
            [spec.input_shape(), spec.output_shape()].map(|shape| shape.iter().product());
        let (x, dy) = (noise::<T, T>(cpu, inputs)?, noise::<T, T>(cpu, outputs)?);
        let Pool2dSpec { channels, input, window, stride, .. } = spec;
        let name = format!("{name} {channels}x{}x{} k{} s{}", input[0], input[1], window[0], stride[0]);
        let [forward, backward] = if name.starts_with("max") {
            let (_, places) = cpu.max_pool2d(&spec, &x)?;
            let forward = median(LEAST, BUDGET, || cpu.max_pool2d(&spec, &x).map(drop))?;
            [forward, median(LEAST, BUDGET, || cpu.max_pool2d_backward(&spec, &dy, &places).map(drop))?]
        } else {
            let forward = median(LEAST, BUDGET, || cpu.avg_pool2d(&spec, &x).map(drop))?;
            [forward, median(LEAST, BUDGET, || cpu.avg_pool2d_backward(&spec, &dy).map(drop))?]
        };
        for (pass, time) in [("forward", forward), ("backward", backward)] {
            let row = Row::new(cpu, "layers", "resnet18", format!("{name} {pass}"), batch, time);
            rows.push(row.moving(size_of::<T>() * (inputs + outputs)));
        }
    }
    Ok(rows)
}

/// Arrays of the size of ResNet-18's largest; five of them have as many numbers as all of its parameters.
const ARRAYS: usize = 5;
const EACH: usize = 9 * 512 * 512;

/// A parameter with its gradient and two arrays of state.
struct Parameter<T: CpuElement> {
    value: Buffer<T::Accum>,
    gradient: Buffer<T::Accum>,
    m: Buffer<T::Accum>,
    v: Buffer<T::Accum>,
}

/// One step of each optimiser over as many parameters as ResNet-18 has, and the norm of their gradients.
///
/// # Errors
/// The device's.
pub fn optimisers<T: CpuElement>(cpu: &Cpu<T>, batch: usize) -> Result<Vec<Row>> {
    let make = |_| {
        let (value, gradient) = (noise(cpu, EACH)?, noise(cpu, EACH)?);
        let zeros = || cpu.fill(EACH, T::Accum::from_f64(0.0));
        Ok(Parameter { value, gradient, m: zeros()?, v: zeros()? })
    };
    let mut all = (0..ARRAYS).map(make).collect::<Result<Vec<Parameter<T>>>>()?;
    let one = |value| cpu.fill(1, T::Accum::from_f64(value));
    let health: Health<Cpu<T>> = Health { norm: one(1.0)?, finite: cpu.fill(1, 1)? };
    let (lr, lr_scale, weight_decay, max_norm) = (1e-4, 1.0, 5e-4, f64::INFINITY);

    let sgd = SgdStep { lr, momentum: 0.9, nesterov: true, max_norm };
    let sgd = median(LEAST, BUDGET, || {
        let parameters = all.iter_mut().map(|Parameter { value, gradient, m: velocity, .. }| SgdParam {
            value,
            gradient,
            velocity,
            lr_scale,
            weight_decay,
        });
        cpu.sgd(&sgd, &mut parameters.collect::<Vec<_>>(), &health)
    })?;
    let adam = AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, t: 10, decoupled: true, max_norm };
    let adam = median(LEAST, BUDGET, || {
        let parameters = all.iter_mut().map(|Parameter { value, gradient, m, v }| AdamParam {
            value,
            gradient,
            m,
            v,
            lr_scale,
            weight_decay,
        });
        cpu.adam(&adam, &mut parameters.collect::<Vec<_>>(), &health)
    })?;
    let (loss, gradients) = (one(0.5)?, all.iter().map(|p| &p.gradient).collect::<Vec<_>>());
    let norm = median(LEAST, BUDGET, || cpu.gradient_health(&loss, &gradients).map(drop))?;

    // Reads and writes of a number each: SGD value, gradient, velocity; AdamW the second moment besides.
    let rows =
        [("SGD, 11.8 M parameters", sgd, 5), ("AdamW, 11.8 M parameters", adam, 7), ("gradient norm, 11.8 M", norm, 1)];
    let row = |(name, time, touches): (&str, _, usize)| {
        Row::new(cpu, "layers", "resnet18", name.into(), batch, time).moving(4 * touches * ARRAYS * EACH)
    };
    Ok(rows.map(row).into())
}
