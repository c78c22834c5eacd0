//! Convolution: which algorithm, and its three passes.
//!
//! The choice is a static function of the spec, so that it never depends on a measurement. Direct convolution packs
//! images into scratch memory a few at a time (there is no im2col of a batch) and runs a register-blocked micro-kernel
//! over them; a convolution in groups narrower than a vector, such as a depthwise one, has kernels of its own.

mod direct;
mod narrow;
mod pack;
mod panels;
mod plan;
pub(crate) mod plans;
mod reader;
mod weight;
mod weight_tiles;
mod winograd;

use std::sync::Arc;

use cnn_core::backend::{self, Activation, Data, Gradient, Input, Moments, Uses, Wide};
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Result};

use crate::activation::activate;
use crate::buffer::Buffer;
use crate::conv_algorithm::ConvAlgorithm;
use crate::device::Cpu;
use crate::element::CpuElement;
use crate::kernel::epilogue::{Epilogue, late};
use crate::norm::channel_moments;
use cnn_core::backend::check;
use direct::Direct;
use panels::Panels;
use plan::Fold;
use plans::{Direction, Plan, fold};
use reader::Reader;
use weight::WeightGradient;
use weight_tiles::WeightGradientByTiles;
use winograd::{Convolution, Kernel3x3, Kernels, Tiling};

/// A convolution's weight in the form its kernels read.
#[derive(Clone, Debug)]
pub struct Filter<T: CpuElement> {
    form: Form<T>,
    of: Prepared,
}

/// What a filter's form depends on beside the weight: all but the images and their padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prepared {
    weight: [usize; 4],
    groups: usize,
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Of the instruction set: its lanes, and whether it multiplies pairs, and tiles of them.
    lanes: usize,
    pairs: bool,
    tiles: bool,
}

impl Prepared {
    fn new<T: CpuElement>(cpu: &Cpu<T>, spec: &Conv2dSpec) -> Self {
        let Conv2dSpec { groups, stride, dilation, .. } = *spec;
        let (pairs, tiles) = (cpu.isa().dots(), cpu.isa().tiles().is_some());
        Prepared { weight: spec.weight_shape(), groups, stride, dilation, lanes: cpu.lanes(), pairs, tiles }
    }
}

impl<T: CpuElement> Filter<T> {
    /// The form, if it was prepared for this convolution and these vectors. Of a spec that was checked.
    fn form(&self, cpu: &Cpu<T>, spec: &Conv2dSpec) -> Result<&Form<T>> {
        let (of, wanted) = (self.of, Prepared::new(cpu, spec));
        let winograd = matches!(self.form, Form::Winograd(_) | Form::WinogradForward { .. });
        if of == wanted && (!winograd || Tiling::fits(spec)) {
            return Ok(&self.form);
        }
        let differs = |what: &str, got: String, wanted: String| {
            let rule = format!("must be that of the convolution, {wanted}");
            Err(Error::invalid(format!("{what} that a filter was prepared for"), got, rule))
        };
        if of.weight != wanted.weight {
            return differs("weight", format!("{:?}", of.weight), format!("{:?}", wanted.weight));
        }
        if of.groups != wanted.groups {
            return differs("groups", of.groups.to_string(), wanted.groups.to_string());
        }
        if of.stride != wanted.stride {
            return differs("stride", format!("{:?}", of.stride), format!("{:?}", wanted.stride));
        }
        if of.dilation != wanted.dilation {
            return differs("dilation", format!("{:?}", of.dilation), format!("{:?}", wanted.dilation));
        }
        if of == wanted {
            return differs("padding", "odd".into(), format!("{:?}", spec.padding));
        }
        differs("vectors", format!("{} lanes", of.lanes), format!("{} lanes of {}", wanted.lanes, cpu.isa()))
    }
}

#[derive(Clone, Debug)]
enum Form<T: CpuElement> {
    /// Panels for the forward pass, and with the roles of the channels exchanged for the gradient of the input.
    Direct { forward: Buffer<T::Accum>, transposed: Option<Buffer<T::Accum>> },
    /// As it is, for training.
    Winograd(Buffer<T::Accum>),
    /// Transformed ahead, or where that would be too large in panels that are transformed when they are needed.
    WinogradForward { weight: Buffer<T::Accum>, ready: bool },
    /// As it is, and with the roles of a group's channels exchanged for the gradient of the input.
    Narrow { forward: Buffer<T::Accum>, transposed: Option<Buffer<T::Accum>> },
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Direct,
    Winograd,
    Narrow,
}

fn algorithm<T: CpuElement>(cpu: &Cpu<T>, spec: &Conv2dSpec) -> Algorithm {
    if narrow::fits(spec, cpu.lanes(), cpu.isa().dots()) {
        return Algorithm::Narrow;
    }
    let winograd = match cpu.conv_algorithm() {
        ConvAlgorithm::Auto => cpu.isa().tiles().is_none() && winograd::pays(spec, cpu.isa().dots()),
        ConvAlgorithm::Direct => false,
        ConvAlgorithm::Winograd => Tiling::fits(spec),
    };
    if winograd { Algorithm::Winograd } else { Algorithm::Direct }
}

fn planned<T: CpuElement>(cpu: &Cpu<T>, spec: &Conv2dSpec, direction: Direction) -> Arc<Plan> {
    cpu.plans().get(spec, direction, cpu.lanes())
}

/// The panels of the forward weight; `fold` as in [`fold`].
fn panels<T: CpuElement>(cpu: &Cpu<T>, spec: &Conv2dSpec, fold: Option<Fold>) -> Panels {
    let [kh, kw, read, _] = spec.weight_shape();
    let (taps, read) = if fold.is_some() { (kh, kw * read) } else { (kh * kw, read) };
    let (write, lanes) = (spec.out_channels / spec.groups, cpu.lanes());
    let pairs = fold.is_none() && cpu.isa().dots();
    Panels { groups: spec.groups, taps, read, write, lanes, pairs, tiles: pairs && cpu.isa().tiles().is_some() }
}

/// The panels of the weight with the roles of the channels exchanged.
fn transposed<T: CpuElement>(cpu: &Cpu<T>, spec: &Conv2dSpec) -> Panels {
    let panels = panels(cpu, spec, None);
    Panels { read: panels.write, write: panels.read, ..panels }
}

/// A convolution's output and its moments.
type Output<T, M = Moments<Cpu<T>>> = (Data<Cpu<T>>, M);

pub(crate) fn prepare_filter<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    weight: &Wide<Cpu<T>>,
    uses: Uses,
) -> Result<Filter<T>> {
    spec.check()?;
    check::length("the weight", weight.len(), spec.weight_shape().iter().product())?;
    let form = match algorithm(cpu, spec) {
        Algorithm::Direct => Form::Direct {
            forward: packed(cpu, panels(cpu, spec, fold(spec)), weight, false)?,
            transposed: match uses {
                Uses::Training => Some(packed(cpu, transposed(cpu, spec), weight, true)?),
                Uses::Forward => None,
            },
        },
        Algorithm::Narrow => Form::Narrow {
            forward: weight.clone(),
            transposed: match uses {
                Uses::Training => Some(narrow::transposed(cpu, spec, weight)?),
                Uses::Forward => None,
            },
        },
        // A training step transforms each weight when it runs, which is once: kept, it would be memory.
        Algorithm::Winograd if uses == Uses::Training => Form::Winograd(weight.clone()),
        Algorithm::Winograd => {
            let (read, write, lanes) = (spec.in_channels, spec.out_channels, cpu.lanes());
            match winograd::ready_len(read, write, lanes) {
                Some(len) => {
                    let (mut to, strided) = (cpu.alloc(len)?, spec.stride != [1; 2]);
                    let weights = weight.as_slice();
                    let kernels = Kernels { weights, read, write, packed: false, rotated: false, strided };
                    winograd::transform_ready(cpu, kernels, to.make_mut()?);
                    Form::WinogradForward { weight: to, ready: true }
                }
                None => {
                    let panels = winograd::panels(read, write, lanes);
                    Form::WinogradForward { weight: packed(cpu, panels, weight, false)?, ready: false }
                }
            }
        }
    };
    Ok(Filter { form, of: Prepared::new(cpu, spec) })
}

/// The weight in panels, the roles of the channels exchanged or not.
fn packed<T: CpuElement>(
    cpu: &Cpu<T>,
    panels: Panels,
    weight: &Wide<Cpu<T>>,
    exchanged: bool,
) -> Result<Buffer<T::Accum>> {
    let mut to = cpu.alloc(panels.len())?;
    panels.pack(cpu, weight.as_slice(), exchanged, to.make_mut()?);
    Ok(to)
}

pub(crate) fn filter_serves<T: CpuElement>(cpu: &Cpu<T>, prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool {
    algorithm(cpu, prepared) == algorithm(cpu, spec)
}

pub(crate) fn conv2d<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    x: &Input<Cpu<T>>,
    filter: &Filter<T>,
    epilogue: backend::Epilogue<'_, Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    Ok(forward(cpu, spec, x, filter, epilogue, late(&epilogue), false)?.0)
}

pub(crate) fn conv2d_moments<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    x: &Input<Cpu<T>>,
    filter: &Filter<T>,
    epilogue: backend::Epilogue<'_, Cpu<T>>,
) -> Result<Output<T>> {
    if late(&epilogue).is_some() {
        // Training asks for nothing of the kind: its activations follow the normalisation that wants the moments.
        let y = conv2d(cpu, spec, x, filter, epilogue)?;
        let rows = spec.batch * spec.output[0] * spec.output[1];
        let moments = channel_moments(cpu, &y, &BatchNormSpec { rows, channels: spec.out_channels, eps: 0.0 })?;
        return Ok((y, moments));
    }
    let (y, moments) = forward(cpu, spec, x, filter, epilogue, None, true)?;
    Ok((y, moments.expect("moments were asked for")))
}

/// The forward pass, with the activation that is `late`.
fn forward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    x: &Input<Cpu<T>>,
    filter: &Filter<T>,
    epilogue: backend::Epilogue<'_, Cpu<T>>,
    late: Option<Activation>,
    moments: bool,
) -> Result<Output<T, Option<Moments<Cpu<T>>>>> {
    spec.check()?;
    let form = filter.form(cpu, spec)?;
    let reader = Reader::input(x, spec.batch * spec.input[0] * spec.input[1], spec.in_channels)?;
    let mut y = cpu.alloc(spec.output_shape().iter().product())?;
    let epilogue = Epilogue::new(&epilogue, y.len(), spec.out_channels)?;
    let moments = match form {
        Form::Winograd(weight) | Form::WinogradForward { weight, .. } => {
            let convolution = Convolution {
                reader,
                tiling: Tiling::forward(spec),
                read: spec.in_channels,
                write: spec.out_channels,
                weight: match *form {
                    Form::WinogradForward { ready: true, .. } => Kernel3x3::Ready(weight.as_slice()),
                    Form::WinogradForward { .. } => Kernel3x3::Packed(weight.as_slice()),
                    _ => Kernel3x3::Master(weight.as_slice()),
                },
                epilogue,
                accumulate: false,
            };
            let moments = convolution.run(cpu, y.make_mut()?, moments)?;
            if let Some(activation) = late {
                y = activate(cpu, activation, y)?;
            }
            moments
        }
        Form::Direct { forward, .. } => {
            let plan = planned(cpu, spec, Direction::Forward);
            let direct = Direct {
                reader,
                batch: spec.batch,
                from: spec.input,
                to: spec.output,
                plan: &plan,
                panels: panels(cpu, spec, plan.fold),
                weights: forward.as_slice(),
                epilogue,
                late,
                accumulate: false,
                tiles: cpu.isa().tiles().filter(|_| plan.fold.is_none()),
            };
            direct.run(cpu, y.make_mut()?, moments)?
        }
        Form::Narrow { forward, .. } => {
            let plan = planned(cpu, spec, Direction::Forward);
            narrow::forward(cpu, spec, &plan, reader, forward.as_slice(), (epilogue, late), y.make_mut()?, moments)?
        }
    };
    Ok((y, moments))
}

pub(crate) fn conv2d_backward_data<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    dy: &Gradient<Cpu<T>>,
    filter: &Filter<T>,
    accumulate: Option<Data<Cpu<T>>>,
) -> Result<Data<Cpu<T>>> {
    spec.check()?;
    let form = filter.form(cpu, spec)?;
    let reader = Reader::gradient(dy, spec.batch * spec.output[0] * spec.output[1], spec.out_channels)?;
    let (add, len) = (accumulate.is_some(), spec.input_shape().iter().product());
    let mut dx = match accumulate {
        Some(dx) => dx,
        None => cpu.alloc(len)?,
    };
    check::length("the gradient that is added to", dx.len(), len)?;
    match form {
        Form::Winograd(weight) => {
            let convolution = Convolution {
                reader,
                tiling: Tiling::data(spec),
                read: spec.out_channels,
                write: spec.in_channels,
                weight: Kernel3x3::Exchanged(weight.as_slice()),
                epilogue: Epilogue::none(),
                accumulate: add,
            };
            convolution.run(cpu, dx.make_mut()?, false)?;
        }
        Form::Direct { transposed: Some(weights), .. } => {
            let plan = planned(cpu, spec, Direction::Data);
            let direct = Direct {
                reader,
                batch: spec.batch,
                from: spec.output,
                to: spec.input,
                plan: &plan,
                panels: transposed(cpu, spec),
                weights: weights.as_slice(),
                epilogue: Epilogue::none(),
                late: None,
                accumulate: add,
                tiles: cpu.isa().tiles(),
            };
            direct.run(cpu, dx.make_mut()?, false)?;
        }
        Form::Direct { transposed: None, .. }
        | Form::Narrow { transposed: None, .. }
        | Form::WinogradForward { .. } => {
            let message = "the filter was prepared for the forward pass only".into();
            return Err(Error::Device { backend: "cpu", message });
        }
        Form::Narrow { transposed: Some(weights), .. } => {
            let plan = planned(cpu, spec, Direction::Data);
            narrow::data(cpu, spec, &plan, reader, weights.as_slice(), dx.make_mut()?, add)?;
        }
    }
    Ok(dx)
}

pub(crate) fn conv2d_backward_weight<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    dy: &Gradient<Cpu<T>>,
    x: &Input<Cpu<T>>,
) -> Result<Wide<Cpu<T>>> {
    spec.check()?;
    let dy = Reader::gradient(dy, spec.batch * spec.output[0] * spec.output[1], spec.out_channels)?;
    let x = Reader::input(x, spec.batch * spec.input[0] * spec.input[1], spec.in_channels)?;
    let mut dw = cpu.alloc(spec.weight_shape().iter().product())?;
    match algorithm(cpu, spec) {
        Algorithm::Winograd => {
            let (read, write) = (spec.in_channels, spec.out_channels);
            winograd::WeightGradient { x, dy, tiling: Tiling::forward(spec), read, write }.run(cpu, dw.make_mut()?)?;
        }
        Algorithm::Direct => {
            let plan = planned(cpu, spec, Direction::Forward);
            let worthwhile = spec.groups == 1 && plan.fold.is_none() && spec.batch >= weight_tiles::LEAST;
            if let Some(tiles) = cpu.isa().tiles().filter(|_| worthwhile) {
                let gradient = WeightGradientByTiles {
                    tiles,
                    x,
                    dy,
                    batch: spec.batch,
                    from: spec.input,
                    to: spec.output,
                    plan: &plan,
                    taps: spec.kernel[0] * spec.kernel[1],
                    read: spec.in_channels,
                    write: spec.out_channels,
                };
                gradient.run(cpu, dw.make_mut()?)?;
                return Ok(dw);
            }
            let gradient = WeightGradient {
                x,
                dy,
                batch: spec.batch,
                from: spec.input,
                to: spec.output,
                plan: &plan,
                panels: Panels { pairs: false, tiles: false, ..panels(cpu, spec, plan.fold) },
                pairs: plan.fold.is_none() && spec.batch > 1 && cpu.isa().dots(),
            };
            gradient.run(cpu, dw.make_mut()?)?;
        }
        Algorithm::Narrow => {
            let plan = planned(cpu, spec, Direction::Forward);
            narrow::weight(cpu, spec, &plan, x, dy, dw.make_mut()?)?;
        }
    }
    Ok(dw)
}
