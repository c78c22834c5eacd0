//! The forward pass: which kernels compute it, and the calls.

use cnn_core::Result;
use cnn_core::backend::{self, Data, Input, check};

use super::halo::{Direction, Halo};
use super::operands::{EpilogueArgument, written_input};
use super::shape::Shape;
use super::split::{Blocks, Cut, Parts, finish_splits};
use super::stem::Stem;
use super::tile::Tile;
use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Argument;
use crate::norm::PartMoments;

pub(crate) const SOURCE: Source = source!("conv2d_forward");

const PLAIN: [&str; 4] = ["forward_large", "forward_narrow", "forward_small", "forward_any"];
const SPLIT: [&str; 4] = ["split_forward_large", "split_forward_narrow", "split_forward_small", ""];

/// How a pass is computed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Of few channels.
    Stem(Stem),
    /// Pixels with their halo.
    Halo(Halo),
    /// Pixels gathered for each tap.
    Gather(Tile),
    /// The same with the sum in parts.
    Split(Tile, Parts),
}

impl Way {
    /// The one that is estimated to be the quickest. Moments are those of tiles whose sums are whole.
    fn choose<T: CudaElement>(cuda: &Cuda<T>, shape: &Shape, moments: bool) -> Result<Self> {
        if let Some(stem) = Stem::forward::<T>(cuda.tile(), shape) {
            return Ok(Way::Stem(stem));
        }
        let ((groups, depth, width), rows) = (shape.groups(), shape.output_pixels());
        let tile = Tile::choose::<T>(cuda.tile(), groups, rows, width, [depth, width], shape.kernel());
        if tile == Tile::Any {
            // Of more taps than the others have bits for, or of channels that are no whole chunks, which have no halo either.
            let halo = Halo::new(cuda, shape, Direction::Forward)?;
            return Ok(halo.map_or(Way::Gather(tile), Way::Halo));
        }
        let gathered = || match moments {
            true => Ok((Way::Gather(tile), None)),
            false => Way::split(cuda, shape).map(|(way, ns)| (way, Some(ns))),
        };
        let Some(halo) = Halo::new(cuda, shape, Direction::Forward)? else { return Ok(gathered()?.0) };
        if cuda.tile().is_some() {
            return Ok(Way::Halo(halo)); // a test has asked for it
        }
        let (way, ns) = gathered()?;
        let plain = || Way::sum(cuda, shape, tile).whole_ns(cuda, Blocks::of::<T>(SOURCE, tile.name(PLAIN), tile));
        Ok(if halo.ns < ns.map_or_else(plain, Ok)? { Way::Halo(halo) } else { way })
    }

    /// The sum of a tile.
    fn sum<T: CudaElement>(cuda: &Cuda<T>, shape: &Shape, tile: Tile) -> Cut {
        let ((groups, _, width), [_, _, len]) = (shape.groups(), shape.lens());
        let blocks = tile.blocks(shape.output_pixels(), width) * groups;
        let steps = shape.weight_rows().div_ceil(Tile::step::<T>());
        Cut { steps, step: 1, blocks, len, step_ns: tile.step_ns(cuda.numbers()) }
    }

    /// The tile and the cut of its sum: a single image has few blocks, which would each have a long one.
    fn split<T: CudaElement>(cuda: &Cuda<T>, shape: &Shape) -> Result<(Self, f64)> {
        let mut best: Option<(Tile, Parts)> = None;
        for tile in Tile::gathering(cuda.tile()) {
            let parts = Way::sum(cuda, shape, tile).quickest(cuda, Blocks::of::<T>(SOURCE, tile.name(SPLIT), tile))?;
            if best.as_ref().is_none_or(|(_, best)| parts.ns < best.ns) {
                best = Some((tile, parts));
            }
        }
        let (tile, parts) = best.expect("there are tiles");
        Ok((if parts.count > 1 { Way::Split(tile, parts) } else { Way::Gather(tile) }, parts.ns))
    }

    /// Rows of the output in a tile.
    fn rows(&self) -> usize {
        let tile = match self {
            Way::Stem(stem) => stem.tile,
            Way::Halo(halo) => halo.tile,
            Way::Gather(tile) | Way::Split(tile, _) => *tile,
        };
        tile.sides().0
    }
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
    let (groups, depth, _) = shape.groups();
    let x = &written_input(cuda, x, read_len, groups * depth)?;
    check::length("the weight", weight.len(), weight_len)?;
    let epilogue = EpilogueArgument::new(epilogue, written, shape.out_channels())?;
    let way = Way::choose(cuda, shape, moments)?;
    let y = cuda.alloc(written)?;
    let partials = match moments {
        true => Some(PartMoments::new(cuda, shape.output_pixels(), way.rows(), shape.out_channels())?),
        false => None,
    };
    let epilogue = epilogue.moments(partials.as_ref());
    match way {
        Way::Stem(stem) => {
            let kernels = ["stem_forward_narrow", "stem_forward_small", "stem_forward_any"];
            let launch = stem.kernel(cuda, shape, kernels)?.buffer(x).buffer(weight);
            let launch = launch.value(epilogue).buffer(&y);
            let blocks = stem.tile.blocks(shape.output_pixels(), shape.out_channels());
            // SAFETY: the buffers have the lengths that the shape says, compared above; y and the partial moments are new.
            unsafe { launch.on([blocks, 1, 1], stem.tile.threads(T::DTYPE)) }?;
        }
        // SAFETY: as above.
        Way::Halo(halo) => unsafe { halo.run(cuda, x, weight, epilogue, &y) }?,
        Way::Gather(tile) => gather(cuda, shape, tile, x, weight, epilogue, &y)?,
        Way::Split(tile, parts) => split(cuda, shape, (tile, parts), x, weight, epilogue, &y)?,
    }
    Ok((y, partials))
}

/// The product in tiles.
fn gather<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    tile: Tile,
    x: &Buffer<T>,
    weight: &Buffer<T>,
    epilogue: EpilogueArgument,
    y: &Buffer<T>,
) -> Result<()> {
    let (groups, _, width) = shape.groups();
    let launch = cuda.kernel_with(SOURCE, tile.name(PLAIN), tile.shared_bytes::<T>())?.value(*shape).buffer(x);
    let launch = launch.buffer(weight).value(epilogue).buffer(y);
    // SAFETY: the buffers have the lengths that the shape says, which the caller has compared; y is new, and so are the moments.
    unsafe { launch.on([tile.blocks(shape.output_pixels(), width), 1, groups], tile.threads(T::DTYPE)) }
}

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
fn split<T: CudaElement>(
    cuda: &Cuda<T>,
    shape: &Shape,
    (tile, parts): (Tile, Parts),
    x: &Buffer<T>,
    weight: &Buffer<T>,
    epilogue: EpilogueArgument,
    y: &Buffer<T>,
) -> Result<()> {
    let (groups, _, width) = shape.groups();
    let sums: Buffer<f32> = cuda.alloc(check::numel(parts.count, y.len())?)?;
    let part = Part { steps: parts.places as i32, _unused: 0, sums: sums.at() };
    let launch = cuda.kernel_with(SOURCE, tile.name(SPLIT), tile.shared_bytes::<T>())?.value(*shape).buffer(x);
    let launch = launch.buffer(weight).value(part);
    let blocks = tile.blocks(shape.output_pixels(), width);
    // SAFETY: the buffers have the lengths that the shape says, which the caller has compared; the sums are new and as long as y
    // for each part, and the parts cover the sum.
    unsafe { launch.on([blocks, parts.count, groups], tile.threads(T::DTYPE)) }?;
    finish_splits(cuda, &sums, parts.count, epilogue, shape.out_channels(), y)
}
