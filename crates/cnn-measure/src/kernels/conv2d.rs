//! Convolutions: any one, and those of ResNet-18 for CIFAR.

use cnn_core::backend::{Backend, Epilogue, Gradient, Input, Norm, NormGradient, NormMask, Rectifier, Uses};
use cnn_core::{Conv2dOptions, Conv2dSpec, Result};

use super::{Kernel, Visit, Work, noise, wide_noise};

/// Input channels, image side, output channels, kernel, stride of every different convolution.
pub const SHAPES: [[usize; 5]; 11] = [
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

/// 1x1 convolutions of stride 1, which ResNet-18 has none of and deeper networks have many: products of matrices.
pub const POINTWISE: [[usize; 5]; 3] = [[64, 32, 256, 1, 1], [256, 8, 1024, 1, 1], [512, 4, 2048, 1, 1]];

/// How a convolution finds its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// Activations and gradients are in memory, and the output's moments are not wanted.
    Written,
    /// Both are normalised while they are read, and the output's moments are wanted: as inside a block that trains.
    Normalised,
}

/// The name of one of [`SHAPES`] in tables.
pub fn name([c, side, k, kernel, stride]: [usize; 5]) -> String {
    format!("{c}x{side}x{side} -> {k} k{kernel} s{stride}")
}

/// The convolution of such a shape.
///
/// # Errors
/// A batch too large.
pub(super) fn spec(batch: usize, [c, side, k, kernel, stride]: [usize; 5]) -> Result<Conv2dSpec> {
    let options = Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
    Conv2dSpec::new([batch, side, side, c], k, &options)
}

/// The three passes of every convolution of `shapes`, as [`SHAPES`] has them.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn conv2d<B: Backend>(
    backend: &B,
    batch: usize,
    shapes: &[[usize; 5]],
    operands: Operands,
    visit: Visit<'_>,
) -> Result<()> {
    shapes.iter().try_for_each(|&shape| passes(backend, &spec(batch, shape)?, &name(shape), operands, visit))
}

/// The three passes of the convolution `name`, in this order: forward, the input's gradient, the weight's gradient.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn passes<B: Backend>(
    backend: &B,
    spec: &Conv2dSpec,
    name: &str,
    operands: Operands,
    visit: Visit<'_>,
) -> Result<()> {
    let weight = wide_noise(backend, spec.weight_shape().iter().product())?;
    let filter = backend.prepare_filter(spec, &weight, Uses::Training)?;
    let (x, dy) = self::operands(backend, spec, operands)?;

    let work = Work::Flops(2 * spec.macs());
    let name = |pass: &str| format!("{name} {pass}");
    let mut forward = || match operands {
        Operands::Written => backend.conv2d(spec, &x, &filter, Epilogue::bias(None)).map(drop),
        Operands::Normalised => backend.conv2d_moments(spec, &x, &filter, Epilogue::bias(None)).map(drop),
    };
    visit(Kernel { name: name("forward"), work, run: &mut forward })?;
    let mut data = || backend.conv2d_backward_data(spec, &dy, &filter, None).map(drop);
    visit(Kernel { name: name("backward data"), work, run: &mut data })?;
    let mut weight = || backend.conv2d_backward_weight(spec, &dy, &x).map(drop);
    visit(Kernel { name: name("backward weight"), work, run: &mut weight })
}

/// The convolution `name` of a frozen model: forward, with a weight that was prepared for that alone.
///
/// # Errors
/// The device's, and those of `visit`.
pub fn frozen<B: Backend>(backend: &B, spec: &Conv2dSpec, name: &str, visit: Visit<'_>) -> Result<()> {
    let weight = wide_noise(backend, spec.weight_shape().iter().product())?;
    let filter = backend.prepare_filter(spec, &weight, Uses::Forward)?;
    let x = Input::Plain(noise(backend, spec.input_shape().iter().product())?);
    let mut forward = || backend.conv2d(spec, &x, &filter, Epilogue::bias(None)).map(drop);
    visit(Kernel { name: format!("{name} frozen"), work: Work::Flops(2 * spec.macs()), run: &mut forward })
}

fn operands<B: Backend>(backend: &B, spec: &Conv2dSpec, operands: Operands) -> Result<(Input<B>, Gradient<B>)> {
    let [inputs, outputs]: [usize; 2] = [spec.input_shape(), spec.output_shape()].map(|shape| shape.iter().product());
    let (x, dy) = (noise(backend, inputs)?, noise(backend, outputs)?);
    if operands == Operands::Written {
        return Ok((Input::Plain(x), Gradient::Plain(dy)));
    }
    let [channels, k] = [spec.in_channels, spec.out_channels];
    let rectifier = Rectifier::Relu;
    let norm =
        Norm { x, scale: wide_noise(backend, channels)?, shift: wide_noise(backend, channels)?, channels, rectifier };
    let gradient = NormGradient {
        dy,
        x: noise(backend, outputs)?,
        dy_scale: wide_noise(backend, k)?,
        x_scale: wide_noise(backend, k)?,
        shift: wide_noise(backend, k)?,
        mask: Some(NormMask { scale: wide_noise(backend, k)?, shift: wide_noise(backend, k)?, rectifier }),
        channels: k,
    };
    Ok((Input::Norm(norm), Gradient::Norm(gradient)))
}
