//! Convolution as an implicit matrix product: the pixels under the taps are gathered where they are multiplied, and never
//! written. See `kernels/conv2d_forward.cu`, `conv2d_data.cu` and `conv2d_weight.cu` for the three passes.

mod divisor;
mod shape;
mod tile;

use cnn_core::backend::{self, Data, Gradient, Input, Moments, Uses, Wide, check};
use cnn_core::{Conv2dSpec, Error, Result};

use crate::activation;
use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Argument;
use crate::norm;
use crate::{elementwise, norm::Partials};
use divisor::Divisor;
pub(crate) use shape::Shape;
use tile::BUSY;
pub use tile::Tile;

pub(crate) const FORWARD: Source = source!("conv2d_forward");
pub(crate) const DATA: Source = source!("conv2d_data");
pub(crate) const WEIGHT: Source = source!("conv2d_weight");

/// A weight as the kernels read it: \[KH, KW, C / groups, K\] in the elements of activations. The gradient of the input reads
/// the same one, the other way around.
#[derive(Clone, Debug)]
pub struct Filter<T: CudaElement> {
    weight: Buffer<T>,
    shape: [usize; 4],
    groups: usize,
}

impl<T: CudaElement> Filter<T> {
    fn check(&self, spec: &Conv2dSpec) -> Result<()> {
        let (got, wanted) = ((self.shape, self.groups), (spec.weight_shape(), spec.groups));
        if got == wanted {
            return Ok(());
        }
        let rule = format!("must be that of the convolution, {:?} in {} groups", wanted.0, wanted.1);
        Err(Error::invalid("shape of a prepared filter", format!("{:?} in {} groups", got.0, got.1), rule))
    }
}

/// As `Norm` in `kernels/conv2d.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct NormArgument {
    scale: u64,
    shift: u64,
    relu: i32,
    _unused: i32,
}

// SAFETY: numbers without padding; the addresses are of buffers that outlive the launch's call.
unsafe impl Argument for NormArgument {}

/// As `Epilogue` in `kernels/epilogue.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct EpilogueArgument {
    bias: u64,
    residual: u64,
    mean: u64,
    squares: u64,
    activation: i32,
    _unused: i32,
}

// SAFETY: as above.
unsafe impl Argument for EpilogueArgument {}

/// As `Split` in `kernels/conv2d_weight.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Split {
    pixels: i32,
    splits: i32,
    area: Divisor,
    columns: Divisor,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Split {}

impl EpilogueArgument {
    /// # Errors
    /// Operands that are not those of such an output.
    pub(crate) fn new<T: CudaElement>(of: &backend::Epilogue<'_, Cuda<T>>, len: usize, channels: usize) -> Result<Self> {
        if let Some(bias) = of.bias {
            check::length("the bias", bias.len(), channels)?;
        }
        if let Some(residual) = of.residual {
            check::length("the residual", residual.len(), len)?;
        }
        Ok(EpilogueArgument {
            bias: of.bias.map_or(0, Buffer::at),
            residual: of.residual.map_or(0, Buffer::at),
            mean: 0,
            squares: 0,
            activation: activation::number(of.activation),
            _unused: 0,
        })
    }

    fn moments(self, partials: Option<&Partials>) -> Self {
        match partials {
            Some(Partials { mean, m2, .. }) => EpilogueArgument { mean: mean.at(), squares: m2.at(), ..self },
            None => self,
        }
    }
}

/// An input and how it is normalised while it is read.
fn read<'a, T: CudaElement>(x: &'a Input<Cuda<T>>, len: usize, channels: usize) -> Result<(&'a Buffer<T>, NormArgument)> {
    let (data, norm) = match x {
        Input::Plain(data) => (data, NormArgument { scale: 0, shift: 0, relu: 0, _unused: 0 }),
        Input::Norm(norm) => {
            check::length("the scale", norm.scale.len(), channels)?;
            check::length("the shift", norm.shift.len(), channels)?;
            let (scale, shift, relu) = (norm.scale.at(), norm.shift.at(), norm.relu.into());
            (&norm.x, NormArgument { scale, shift, relu, _unused: 0 })
        }
    };
    check::length("the input", data.len(), len)?;
    Ok((data, norm))
}

pub(crate) fn prepare_filter<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    weight: &Wide<Cuda<T>>,
    _: Uses,
) -> Result<Filter<T>> {
    check::length("the weight", weight.len(), spec.weight_shape().iter().product())?;
    Ok(Filter { weight: elementwise::narrow(cuda, weight)?, shape: spec.weight_shape(), groups: spec.groups })
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
    Ok(forward(cuda, &Shape::conv2d(spec)?, x, &filter.weight, &epilogue, false)?.0)
}

pub(crate) fn conv2d_moments<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    x: &Input<Cuda<T>>,
    filter: &Filter<T>,
    epilogue: backend::Epilogue<'_, Cuda<T>>,
) -> Result<(Data<Cuda<T>>, Moments<Cuda<T>>)> {
    filter.check(spec)?;
    let shape = Shape::conv2d(spec)?;
    let (y, partials) = forward(cuda, &shape, x, &filter.weight, &epilogue, true)?;
    let partials = partials.expect("they were asked for");
    Ok((y, norm::combine(cuda, shape.output_pixels(), spec.out_channels, &partials)?))
}

/// The product of the pixels and the weight, and what follows it; with the moments of each row of tiles if they are asked for.
pub(crate) fn forward<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    x: &Input<Cuda<T>>,
    weight: &Buffer<T>,
    epilogue: &backend::Epilogue<'_, Cuda<T>>,
    moments: bool,
) -> Result<(Data<Cuda<T>>, Option<Partials>)> {
    let [read_len, weight_len, written] = shape.lens();
    let (groups, depth, width) = shape.groups();
    let (x, norm) = read(x, read_len, groups * depth)?;
    check::length("the weight", weight.len(), weight_len)?;
    let epilogue = EpilogueArgument::new(epilogue, written, shape.out_channels())?;
    let rows = shape.output_pixels();
    let tile = Tile::choose::<T>(cuda.tile(), groups, rows, width, [depth, width]);
    let y = cuda.alloc(written)?;
    let partials = match moments {
        true => Some(Partials::new(cuda, rows, tile.sides().0, shape.out_channels())?),
        false => None,
    };
    let name = tile.name(if norm.scale == 0 {
        ["forward_large", "forward_narrow", "forward_small", "forward_any"]
    } else {
        ["norm_forward_large", "norm_forward_narrow", "norm_forward_small", "norm_forward_any"]
    });
    let launch = cuda.kernel_with(FORWARD, name, tile.shared_bytes::<T>())?.value(*shape).buffer(x).value(norm);
    let launch = launch.buffer(weight).value(epilogue.moments(partials.as_ref())).buffer(&y);
    // SAFETY: the buffers have the lengths that the shape says, compared above; y and the partial moments are new.
    unsafe { launch.on([tile.blocks(rows, width), 1, groups], tile.threads(T::DTYPE)) }?;
    Ok((y, partials))
}

pub(crate) fn conv2d_backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    dy: &Gradient<Cuda<T>>,
    filter: &Filter<T>,
    accumulate: Option<Data<Cuda<T>>>,
) -> Result<Data<Cuda<T>>> {
    filter.check(spec)?;
    let dy = written(cuda, dy)?;
    backward_data(cuda, &Shape::conv2d(spec)?, &dy, &filter.weight, accumulate)
}

/// The gradient of the input, added to `accumulate`.
pub(crate) fn backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    dy: &Data<Cuda<T>>,
    weight: &Buffer<T>,
    mut accumulate: Option<Data<Cuda<T>>>,
) -> Result<Data<Cuda<T>>> {
    let [written, weight_len, read] = shape.lens();
    let (groups, depth, width) = shape.groups();
    check::length("the gradient", dy.len(), read)?;
    check::length("the weight", weight.len(), weight_len)?;
    let dx = match &mut accumulate {
        Some(dx) => {
            check::length("the accumulated gradient", dx.len(), written)?;
            cuda.in_place(dx)?
        }
        None => cuda.alloc(written)?,
    };
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
    let (rows, pixels) = (shape.weight_rows(), shape.output_pixels());
    let tile = Tile::choose::<T>(cuda.tile(), BUSY, rows, width, [depth, width]); // splits keep any tile busy
    let blocks = tile.blocks(rows, width);
    let step = 128 / size_of::<T>();
    // Each split has work for some steps, and writes as much as the weight has numbers.
    let steps = pixels.div_ceil(step);
    let splits = BUSY.div_ceil((blocks * groups).max(1)).min(steps.div_ceil(STEPS)).max(1);
    let split_pixels = steps.div_ceil(splits) * step;
    let splits = pixels.div_ceil(split_pixels.max(1)).max(1);
    let [area, columns] = shape.output_area().map(Divisor::by);
    let split = Split { pixels: split_pixels as i32, splits: splits as i32, area, columns };
    let parts: Buffer<f32> = cuda.alloc(check::numel(splits, len)?)?;
    let name = tile.name(if norm.scale == 0 {
        ["weight_large", "weight_narrow", "weight_small", "weight_any"]
    } else {
        ["norm_weight_large", "norm_weight_narrow", "norm_weight_small", "norm_weight_any"]
    });
    let launch = cuda.kernel_with(WEIGHT, name, tile.shared_bytes::<T>())?.value(*shape).value(split);
    let launch = launch.buffer(x).value(norm).buffer(dy).buffer(&parts);
    // SAFETY: the buffers have the lengths that the shape says, compared above; the parts are new and one for each split.
    unsafe { launch.on([blocks, splits, groups], tile.threads(T::DTYPE)) }?;
    if splits == 1 {
        return Ok(parts);
    }
    let dw = cuda.alloc(len)?;
    let launch = cuda.kernel(WEIGHT, "add_splits")?.buffer(&parts).buffer(&dw).value(splits as i32).value(len as u64);
    // SAFETY: there are as many parts of this length; dw is new.
    unsafe { launch.over(len) }?;
    Ok(dw)
}

/// Steps of a split: fewer would be mostly waiting for the first.
const STEPS: usize = 8;

/// A gradient in memory. The kernels read no other: see [`shared_gradient`](crate::norm::shared_gradient).
fn written<T: CudaElement>(cuda: &Cuda<T>, dy: &Gradient<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    match dy {
        Gradient::Plain(dy) => Ok(dy.clone()),
        Gradient::Norm(gradient) => norm::normalise_backward(cuda, gradient.clone()),
    }
}
