//! Convolution as an implicit matrix product: the pixels under the taps are gathered where they are multiplied, and never
//! written. See `kernels/conv2d_forward.cu`, `conv2d_data.cu` and `conv2d_weight.cu` for the three passes.

mod depthwise;
mod divisor;
mod forward;
mod halo;
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
pub(crate) use forward::{SOURCE as FORWARD, forward};
use halo::{Direction, Halo, HaloWeight};
pub(crate) use halo::{HALO, HALO_WEIGHT};
use operands::{EpilogueArgument, written_input};
pub(crate) use shape::Shape;
pub(crate) use split::SOURCE as SPLIT;
use split::{Blocks, Cut, Parts, add_splits, cut, finish_splits};
pub(crate) use stem::SOURCE as STEM;
use stem::Stem;
use tile::BUSY;
pub use tile::Tile;

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
    let x = written_input(cuda, x, read_len, shape.out_channels())?;
    let epilogue = EpilogueArgument::new(epilogue, written, shape.out_channels())?;
    depthwise::forward(cuda, shape, &x, weight, epilogue)
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
    let tile = Tile::choose::<T>(cuda.tile(), groups * classes, rows, depth, [depth, width], shape.kernel());
    let name = tile.name(["data_large", "data_narrow", "data_small", "data_any"]);
    if let Some(halo) = Halo::new(cuda, shape, Direction::Data)? {
        let steps = shape.data_sum().div_ceil(Tile::step::<T>());
        let blocks = tile.blocks(rows, depth) * groups;
        let gathered = Cut { steps, step: 1, blocks, len: written, step_ns: tile.step_ns(cuda.numbers()) };
        if cuda.tile().is_some() || halo.ns < gathered.whole_ns(cuda, Blocks::of::<T>(DATA, name, tile))? {
            // SAFETY: as below.
            return unsafe { halo.run(cuda, dy, weight, epilogue, &dx) }.map(|()| dx);
        }
    }
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
    let x = &written_input(cuda, x, read_len, groups * depth)?;
    check::length("the gradient", dy.len(), gradient_len)?;
    if shape.is_depthwise() {
        return depthwise::backward_weight(cuda, shape, x, dy);
    }
    let (rows, pixels) = (shape.weight_rows(), shape.output_pixels());
    let stem = Stem::weight::<T>(shape);
    let chosen = || Tile::choose::<T>(cuda.tile(), BUSY, rows, width, [depth, width], shape.far()); // splits keep any tile busy
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
            let name = tile.name(["weight_large", "weight_narrow", "weight_small", "weight_any"]);
            let (steps, step_ns) = (pixels.div_ceil(step), tile.step_ns(cuda.numbers()));
            let sum = Cut { steps, step, blocks: blocks * groups, len, step_ns };
            let shared = tile.weight_shared_bytes::<T>();
            let Parts { places, count, ns } =
                sum.quickest(cuda, Blocks { shared, ..Blocks::of::<T>(WEIGHT, name, tile) })?;
            if let Some(halo) = HaloWeight::new(cuda, shape)?.filter(|halo| cuda.tile().is_some() || halo.parts.ns < ns)
            {
                let parts: Buffer<f32> = cuda.alloc(check::numel(halo.parts.count, len)?)?;
                // SAFETY: as below.
                unsafe { halo.run(cuda, x, dy, &parts) }?;
                return add_splits(cuda, parts, halo.parts.count, len);
            }
            let [rows, columns] = shape.output();
            let [area, columns] = [rows * columns, columns].map(Divisor::by);
            let split = Split { pixels: places as i32, area, columns };
            (count, cuda.kernel_with(WEIGHT, name, shared)?.value(*shape).value(split))
        }
    };
    let parts: Buffer<f32> = cuda.alloc(check::numel(splits, len)?)?;
    let launch = launch.buffer(x).buffer(dy).buffer(&parts);
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
