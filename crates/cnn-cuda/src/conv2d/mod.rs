//! Convolution as an implicit matrix product: the pixels under the taps are gathered where they are multiplied, and never
//! written. See `kernels/conv2d_forward.cu`, `conv2d_data.cu` and `conv2d_weight.cu` for the three passes.

mod depthwise;
mod divisor;
mod operands;
mod shape;
mod split;
mod stem;
mod tile;

use cnn_core::backend::{self, Data, Gradient, Input, Uses, Wide, check};
use cnn_core::{BatchNormSpec, Conv2dSpec, Error, Result};

use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Argument;
use crate::norm::{self, PartMoments};
use crate::rounded::rounded;
pub(crate) use depthwise::SOURCE as DEPTHWISE;
use divisor::Divisor;
use operands::{EpilogueArgument, read};
pub(crate) use shape::Shape;
pub(crate) use split::SOURCE as SPLIT;
use split::{Cut, Parts, add_splits, cut, finish_splits};
pub(crate) use stem::SOURCE as STEM;
use stem::Stem;
use tile::BUSY;
pub use tile::Tile;

pub(crate) const FORWARD: Source = source!("conv2d_forward");
pub(crate) const DATA: Source = source!("conv2d_data");
pub(crate) const WEIGHT: Source = source!("conv2d_weight");

/// A weight as the kernels read it: \[KH, KW, C / groups, K\]. The gradient of the input reads the same one, the other way
/// around.
#[derive(Clone, Debug)]
pub struct Filter<T: CudaElement> {
    weight: Form<T>,
    shape: [usize; 4],
    groups: usize,
}

#[derive(Clone, Debug)]
enum Form<T: CudaElement> {
    /// As activations are stored, for products.
    Elements(Buffer<T>),
    /// As it is, where each channel is by itself.
    Wide(Buffer<f32>),
}

impl<T: CudaElement> Filter<T> {
    /// The weight for a product.
    ///
    /// # Errors
    /// It is of another convolution, or of one whose channels are each by itself.
    pub(crate) fn elements(&self, spec: &Conv2dSpec) -> Result<&Buffer<T>> {
        self.check(spec)?;
        match &self.weight {
            Form::Elements(weight) => Ok(weight),
            Form::Wide(_) => Err(Error::invalid("groups of a product", self.groups, "must be 1")),
        }
    }

    fn check(&self, spec: &Conv2dSpec) -> Result<()> {
        let (got, wanted) = ((self.shape, self.groups), (spec.weight_shape(), spec.groups));
        if got == wanted {
            return Ok(());
        }
        let rule = format!("must be that of the convolution, {:?} in {} groups", wanted.0, wanted.1);
        Err(Error::invalid("shape of a prepared filter", format!("{:?} in {} groups", got.0, got.1), rule))
    }
}

/// As `Split` in `kernels/conv2d_weight.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Split {
    pixels: i32,
    area: Divisor,
    columns: Divisor,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Split {}

pub(crate) fn prepare_filter<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    weight: &Wide<Cuda<T>>,
    _: Uses,
) -> Result<Filter<T>> {
    check::length("the weight", weight.len(), spec.weight_shape().iter().product())?;
    let form = match Shape::conv2d(spec)?.is_depthwise() {
        true => Form::Wide(weight.clone()),
        false => Form::Elements(rounded(cuda, weight)?),
    };
    Ok(Filter { weight: form, shape: spec.weight_shape(), groups: spec.groups })
}

/// A filter knows its weight and nothing of the images.
pub(crate) fn filter_serves<T: CudaElement>(_: &Cuda<T>, prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool {
    (prepared.weight_shape(), prepared.groups) == (spec.weight_shape(), spec.groups)
}

pub(crate) fn conv2d<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    x: &Input<Cuda<T>>,
    filter: &Filter<T>,
    epilogue: backend::Epilogue<'_, Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    filter.check(spec)?;
    let shape = Shape::conv2d(spec)?;
    match &filter.weight {
        Form::Elements(weight) => Ok(forward(cuda, &shape, x, weight, &epilogue, false)?.0),
        Form::Wide(weight) => depthwise_forward(cuda, &shape, x, weight, &epilogue),
    }
}

/// An output and the moments of its channels.
type Measured<T> = (Data<Cuda<T>>, PartMoments);

pub(crate) fn conv2d_moments<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    x: &Input<Cuda<T>>,
    filter: &Filter<T>,
    epilogue: backend::Epilogue<'_, Cuda<T>>,
) -> Result<Measured<T>> {
    filter.check(spec)?;
    let shape = Shape::conv2d(spec)?;
    let (rows, channels) = (shape.output_pixels(), spec.out_channels);
    match &filter.weight {
        Form::Elements(weight) => {
            let (y, moments) = forward(cuda, &shape, x, weight, &epilogue, true)?;
            Ok((y, moments.expect("they were asked for")))
        }
        Form::Wide(weight) => {
            let y = depthwise_forward(cuda, &shape, x, weight, &epilogue)?;
            // The spec of a normalisation; of its eps the moments know nothing.
            let moments = norm::channel_moments(cuda, &y, &BatchNormSpec { rows, channels, eps: 0.0 })?;
            Ok((y, moments))
        }
    }
}

fn depthwise_forward<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    x: &Input<Cuda<T>>,
    weight: &Wide<Cuda<T>>,
    epilogue: &backend::Epilogue<'_, Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let [read_len, _, written] = shape.lens();
    let (x, norm) = read(x, read_len, shape.out_channels())?;
    let epilogue = EpilogueArgument::new(epilogue, written, shape.out_channels())?;
    depthwise::forward(cuda, shape, x, norm, weight, epilogue)
}

/// The product of the pixels and the weight, and what follows it; with the moments of each row of tiles if they are asked for.
pub(crate) fn forward<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    x: &Input<Cuda<T>>,
    weight: &Buffer<T>,
    epilogue: &backend::Epilogue<'_, Cuda<T>>,
    moments: bool,
) -> Result<(Data<Cuda<T>>, Option<PartMoments>)> {
    let [read_len, weight_len, written] = shape.lens();
    let (groups, depth, width) = shape.groups();
    let (x, norm) = read(x, read_len, groups * depth)?;
    check::length("the weight", weight.len(), weight_len)?;
    let epilogue = EpilogueArgument::new(epilogue, written, shape.out_channels())?;
    let rows = shape.output_pixels();
    let stem = Stem::forward::<T>(cuda.tile(), shape);
    let chosen = || Tile::choose::<T>(cuda.tile(), groups, rows, width, [depth, width]);
    // Moments are those of tiles, whose sums are whole.
    let shared = if stem.is_none() && !norm.is_some() && !moments { quickest(cuda, shape)? } else { None };
    let tile = stem.map(|stem| stem.tile).or(shared.map(|(tile, _)| tile)).unwrap_or_else(chosen);
    let y = cuda.alloc(written)?;
    if let Some((tile, parts @ Parts { count: 2.., .. })) = shared {
        split_forward(cuda, shape, x, weight, (tile, parts), epilogue, &y)?;
        return Ok((y, None));
    }
    let moments = match moments {
        true => Some(PartMoments::new(cuda, rows, tile.sides().0, shape.out_channels())?),
        false => None,
    };
    let launch = match stem {
        Some(stem) => stem.kernel(cuda, shape, ["stem_forward_narrow", "stem_forward_small", "stem_forward_any"])?,
        None => {
            let name = tile.name(if !norm.is_some() {
                ["forward_large", "forward_narrow", "forward_small", "forward_any"]
            } else {
                ["norm_forward_large", "norm_forward_narrow", "norm_forward_small", "norm_forward_any"]
            });
            cuda.kernel_with(FORWARD, name, tile.shared_bytes::<T>())?.value(*shape)
        }
    };
    let launch = launch.buffer(x).value(norm).buffer(weight).value(epilogue.moments(moments.as_ref())).buffer(&y);
    // SAFETY: the buffers have the lengths that the shape says, compared above; y and the moments are new.
    unsafe { launch.on([tile.blocks(rows, width), 1, groups], tile.threads(T::DTYPE)) }?;
    Ok((y, moments))
}

/// `sums` [rows, channels] and what follows them.
pub(crate) fn finish<T: CudaElement>(
    cuda: &Cuda<T>,
    sums: &Buffer<f32>,
    epilogue: &backend::Epilogue<'_, Cuda<T>>,
    channels: usize,
) -> Result<Data<Cuda<T>>> {
    let epilogue = EpilogueArgument::new(epilogue, sums.len(), channels)?;
    let y = cuda.alloc(sums.len())?;
    finish_splits(cuda, sums, 1, epilogue, channels, &y)?;
    Ok(y)
}

/// The tile and the cut that are estimated to be the quickest: a single image has few blocks, which would each have a long sum.
/// None where chunks of channels are not whole.
fn quickest<T: CudaElement>(cuda: &Cuda<T>, shape: &Shape) -> Result<Option<(Tile, Parts)>> {
    let ((groups, depth, width), rows) = (shape.groups(), shape.output_pixels());
    if Tile::choose::<T>(cuda.tile(), groups, rows, width, [depth, width]) == Tile::Any {
        return Ok(None);
    }
    let [_, _, len] = shape.lens();
    let mut best: Option<(Tile, Parts)> = None;
    for tile in cuda.tile().map_or(vec![Tile::Large, Tile::Narrow, Tile::Small], |wanted| vec![wanted]) {
        let (bytes, threads) = (tile.shared_bytes::<T>(), tile.threads(T::DTYPE));
        let resident = cuda.resident(FORWARD, tile.name(SPLIT_FORWARD), bytes, threads)?;
        let (steps, blocks) = (shape.weight_rows().div_ceil(Tile::step::<T>()), tile.blocks(rows, width) * groups);
        let sum = Cut { steps, step: 1, blocks, len, step_ns: tile.step_ns(cuda.numbers()) };
        let parts = sum.quickest(cuda.about().multiprocessors, resident);
        if best.as_ref().is_none_or(|(_, best)| parts.ns < best.ns) {
            best = Some((tile, parts));
        }
    }
    Ok(best)
}

const SPLIT_FORWARD: [&str; 4] = ["split_forward_large", "split_forward_narrow", "split_forward_small", ""];

/// As `Part` in `kernels/conv2d_forward.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Part {
    steps: i32,
    _unused: i32,
    sums: u64,
}

// SAFETY: numbers without padding; the address is of a buffer that outlives the launch's call.
unsafe impl Argument for Part {}

/// The product in parts of so many steps, and what follows their sum.
fn split_forward<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    x: &Buffer<T>,
    weight: &Buffer<T>,
    (tile, parts): (Tile, Parts),
    epilogue: EpilogueArgument,
    y: &Buffer<T>,
) -> Result<()> {
    let (groups, _, width) = shape.groups();
    let sums: Buffer<f32> = cuda.alloc(check::numel(parts.count, y.len())?)?;
    let part = Part { steps: parts.places as i32, _unused: 0, sums: sums.at() };
    let launch = cuda.kernel_with(FORWARD, tile.name(SPLIT_FORWARD), tile.shared_bytes::<T>())?.value(*shape).buffer(x);
    let launch = launch.buffer(weight).value(part);
    let blocks = tile.blocks(shape.output_pixels(), width);
    // SAFETY: the buffers have the lengths that the shape says, which the caller has compared; the sums are new and as long as y
    // for each part, and the parts cover the sum.
    unsafe { launch.on([blocks, parts.count, groups], tile.threads(T::DTYPE)) }?;
    finish_splits(cuda, &sums, parts.count, epilogue, shape.out_channels(), y)
}

pub(crate) fn conv2d_backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    dy: &Gradient<Cuda<T>>,
    filter: &Filter<T>,
    accumulate: Option<Data<Cuda<T>>>,
) -> Result<Data<Cuda<T>>> {
    filter.check(spec)?;
    let (dy, shape) = (written(cuda, dy)?, Shape::conv2d(spec)?);
    match &filter.weight {
        Form::Elements(weight) => backward_data(cuda, &shape, &dy, weight, accumulate),
        Form::Wide(weight) => {
            let mut accumulate = accumulate;
            let dx = gradient_for(cuda, &shape, &dy, &mut accumulate)?;
            depthwise::backward_data(cuda, &shape, &dy, weight, accumulate.as_ref(), &dx)?;
            Ok(dx)
        }
    }
}

/// Where the gradient of the input goes, all lengths compared.
fn gradient_for<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    dy: &Data<Cuda<T>>,
    accumulate: &mut Option<Data<Cuda<T>>>,
) -> Result<Data<Cuda<T>>> {
    let [written, _, read] = shape.lens();
    check::length("the gradient", dy.len(), read)?;
    match accumulate {
        Some(dx) => {
            check::length("the accumulated gradient", dx.len(), written)?;
            cuda.in_place(dx)
        }
        None => cuda.alloc(written),
    }
}

/// The gradient of the input, added to `accumulate`.
pub(crate) fn backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    dy: &Data<Cuda<T>>,
    weight: &Buffer<T>,
    mut accumulate: Option<Data<Cuda<T>>>,
) -> Result<Data<Cuda<T>>> {
    let [written, weight_len, _] = shape.lens();
    let (groups, depth, width) = shape.groups();
    check::length("the weight", weight.len(), weight_len)?;
    let dx = gradient_for(cuda, shape, dy, &mut accumulate)?;
    let follows = backend::Epilogue { bias: None, residual: accumulate.as_ref(), activation: None };
    let epilogue = EpilogueArgument::new(&follows, written, groups * depth)?;
    let (rows, classes) = shape.classes();
    let tile = Tile::choose::<T>(cuda.tile(), groups * classes, rows, depth, [depth, width]);
    let name = tile.name(["data_large", "data_narrow", "data_small", "data_any"]);
    let launch = cuda.kernel_with(DATA, name, tile.shared_bytes::<T>())?.value(*shape).buffer(dy).buffer(weight);
    let launch = launch.value(epilogue).buffer(&dx);
    // SAFETY: the buffers have the lengths that the shape says, compared above; dx is new or was given away, and each of its
    // elements is read and written by one thread.
    unsafe { launch.on([tile.blocks(rows, depth), 1, groups * classes], tile.threads(T::DTYPE)) }?;
    Ok(dx)
}

pub(crate) fn conv2d_backward_weight<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    dy: &Gradient<Cuda<T>>,
    x: &Input<Cuda<T>>,
) -> Result<Wide<Cuda<T>>> {
    let dy = written(cuda, dy)?;
    backward_weight(cuda, &Shape::conv2d(spec)?, &dy, x)
}

/// The gradient of the weight.
pub(crate) fn backward_weight<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    dy: &Data<Cuda<T>>,
    x: &Input<Cuda<T>>,
) -> Result<Wide<Cuda<T>>> {
    let [read_len, len, gradient_len] = shape.lens();
    let (groups, depth, width) = shape.groups();
    let (x, norm) = read(x, read_len, groups * depth)?;
    check::length("the gradient", dy.len(), gradient_len)?;
    if shape.is_depthwise() {
        return depthwise::backward_weight(cuda, shape, x, norm, dy);
    }
    let (rows, pixels) = (shape.weight_rows(), shape.output_pixels());
    let stem = Stem::weight::<T>(shape);
    let chosen = || Tile::choose::<T>(cuda.tile(), BUSY, rows, width, [depth, width]); // splits keep any tile busy
    let tile = stem.map_or_else(chosen, |stem| stem.tile);
    let blocks = tile.blocks(rows, width);
    let step = Tile::step::<T>();
    let (splits, launch) = match stem {
        Some(stem) => {
            let (pixels, splits) = cut(pixels, step, blocks * groups);
            let stem = stem.grown::<T>(shape, pixels);
            let launch = stem.kernel(cuda, shape, ["stem_weight_small", "stem_weight_small", "stem_weight_any"])?;
            (splits, launch.value(pixels as i32))
        }
        None => {
            let name = tile.name(if !norm.is_some() {
                ["weight_large", "weight_narrow", "weight_small", "weight_any"]
            } else {
                ["norm_weight_large", "norm_weight_narrow", "norm_weight_small", "norm_weight_any"]
            });
            let (steps, step_ns) = (pixels.div_ceil(step), tile.step_ns(cuda.numbers()));
            let sum = Cut { steps, step, blocks: blocks * groups, len, step_ns };
            let resident = cuda.resident(WEIGHT, name, tile.shared_bytes::<T>(), tile.threads(T::DTYPE))?;
            let Parts { places, count, .. } = sum.quickest(cuda.about().multiprocessors, resident);
            let [rows, columns] = shape.output();
            let [area, columns] = [rows * columns, columns].map(Divisor::by);
            let split = Split { pixels: places as i32, area, columns };
            (count, cuda.kernel_with(WEIGHT, name, tile.shared_bytes::<T>())?.value(*shape).value(split))
        }
    };
    let parts: Buffer<f32> = cuda.alloc(check::numel(splits, len)?)?;
    let launch = launch.buffer(x).value(norm).buffer(dy).buffer(&parts);
    // SAFETY: the buffers have the lengths that the shape says, compared above; the parts are new and one for each split.
    unsafe { launch.on([blocks, splits, groups], tile.threads(T::DTYPE)) }?;
    add_splits(cuda, parts, splits, len)
}

/// A gradient in memory. The kernels read no other: see [`shared_gradient`](crate::norm::shared_gradient).
fn written<T: CudaElement>(cuda: &Cuda<T>, dy: &Gradient<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    match dy {
        Gradient::Plain(dy) => Ok(dy.clone()),
        Gradient::Norm(gradient) => norm::normalise_backward(cuda, gradient.clone()),
    }
}
