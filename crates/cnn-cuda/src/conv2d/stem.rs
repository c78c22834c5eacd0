//! Convolution of few channels, such as a network's first: how it is cut for `kernels/conv2d_stem.cu`.

use cnn_core::{Element, Result};

use super::divisor::Divisor;
use super::shape::Shape;
use super::tile::{BUSY, Tile, chunk};
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, Launch};

pub(crate) const SOURCE: Source = source!("conv2d_stem");

/// From so many channels on, a convolution is none of few.
const MANY: usize = 8;

/// Rows of all images, one above the other, stay below this: they are divided in 32 bits.
const MOST_ROWS: usize = 1 << 30;

/// The most shared memory of a block, which every GPU has.
const MOST_SHARED: usize = 99 << 10;

/// As `Stem` in `kernels/conv2d_stem.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Cut {
    bytes: i32,
    pitch: i32,
    lead: i32,
    pixels: i32,
    chunked: i32,
    units: Divisor,
    image_rows: Divisor,
    area: Divisor,
    columns: Divisor,
    tap_row: Divisor,
    depth: Divisor,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Cut {}

/// A pass over a convolution of few channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stem {
    cut: Cut,
    /// The tile of the product: any, where the channels of the output are no whole chunks, but never the large one.
    pub(super) tile: Tile,
    /// Bytes of a block's shared memory.
    shared: usize,
}

impl Stem {
    /// How the forward pass is cut; `wanted` is a tile that a test has asked for. None where channels are many, whole chunks
    /// or in groups, and where the rows that a tile of the output reads are too long for shared memory.
    pub(super) fn forward<T: Element>(wanted: Option<Tile>, shape: &Shape) -> Option<Self> {
        let (sum, rows, columns) = (shape.weight_rows(), shape.output_pixels(), shape.out_channels());
        let busy = wanted.map_or(Tile::Narrow.blocks(rows, columns) >= BUSY / 2, |wanted| wanted != Tile::Small);
        let steps = sum.div_ceil(Tile::step::<T>());
        Self::tiles::<T>(columns, busy).find_map(|tile| Self::new::<T>(shape, tile, steps, [tile.sides().0; 2]))
    }

    /// How the gradient of the weight is cut, likewise; the patches are for one step of the product. Its rows are taps and
    /// channels, which are few: the small tile wastes least.
    pub(super) fn weight<T: Element>(shape: &Shape) -> Option<Self> {
        let step = Tile::step::<T>();
        let tile = Self::tiles::<T>(shape.out_channels(), false).next()?;
        Self::new::<T>(shape, tile, Tile::STAGES, [step; 2])
    }

    /// The same with patches for as many steps as there is room for, as nothing is on its way from one patch to the next; but
    /// for at most `pixels`, which is all that a block sums up.
    pub(super) fn grown<T: Element>(self, shape: &Shape, pixels: usize) -> Self {
        let step = Tile::step::<T>();
        let (mut fits, mut steps, mut too_many) = (self, 1, pixels.div_ceil(step) + 1);
        while steps + 1 < too_many {
            let middle = steps.midpoint(too_many);
            match Self::new::<T>(shape, self.tile, Tile::STAGES, [middle * step, step]) {
                Some(stem) => (fits, steps) = (stem, middle),
                None => too_many = middle,
            }
        }
        fits
    }

    /// Its kernel of a pass, with the arguments that say how it is cut.
    pub(super) fn kernel<'a, T: CudaElement>(
        &self,
        cuda: &'a Cuda<T>,
        shape: &Shape,
        [narrow, small, any]: [&'static str; 3],
    ) -> Result<Launch<'a>> {
        let name = self.tile.name([narrow, narrow, small, any]);
        Ok(cuda.kernel_with(SOURCE, name, MOST_SHARED)?.with_shared(self.shared).value(*shape).value(self.cut))
    }

    /// The tiles that may serve, the best first.
    fn tiles<T: Element>(columns: usize, large: bool) -> impl Iterator<Item = Tile> {
        let whole = columns.is_multiple_of(chunk::<T>());
        let tiles = if whole { [large.then_some(Tile::Narrow), Some(Tile::Small)] } else { [Some(Tile::Any), None] };
        tiles.into_iter().flatten()
    }

    /// Patches for `pixels` of the output each, which begin at multiples of `align`, and `steps` of a product in `tile`.
    fn new<T: Element>(shape: &Shape, tile: Tile, steps: usize, [pixels, align]: [usize; 2]) -> Option<Self> {
        let (chunk, (groups, depth, _)) = (chunk::<T>(), shape.groups());
        if groups != 1 || depth >= MANY || depth.is_multiple_of(chunk) || shape.batch() == 0 {
            return None;
        }
        let ([image_rows, image_columns], padding) = (shape.padded(), shape.padding()[1] * depth);
        let lead = padding.next_multiple_of(chunk);
        let pitch = (lead + image_columns * depth - padding).next_multiple_of(chunk);
        let bytes = (patch_rows(shape, pixels, align) * pitch * size_of::<T>()).next_multiple_of(1024); // as stages begin
        let shared = tile.tile_bytes::<T>().max(bytes + steps.min(Tile::STAGES) * tile.stage_bytes());
        if shared > MOST_SHARED || shape.batch() * image_rows >= MOST_ROWS {
            return None;
        }
        let chunked = (shape.input()[1] * depth).is_multiple_of(chunk);
        let [rows, columns] = shape.output();
        let cut = Cut {
            bytes: bytes as i32,
            pitch: pitch as i32,
            lead: lead as i32,
            pixels: pixels as i32,
            chunked: chunked.into(),
            units: Divisor::by(if chunked { pitch / chunk } else { pitch }),
            image_rows: Divisor::by(image_rows),
            area: Divisor::by(rows * columns),
            columns: Divisor::by(columns),
            tap_row: Divisor::by(shape.kernel()[1] * depth),
            depth: Divisor::by(depth),
        };
        Some(Stem { cut, tile, shared })
    }
}

/// How many rows of padded images, one above the other, `pixels` of the output read at most, of which the first is a multiple
/// of `align`.
fn patch_rows(shape: &Shape, pixels: usize, align: usize) -> usize {
    let ([rows, columns], [stride, _], [window, _]) = (shape.output(), shape.stride(), shape.window());
    // How often they go on to the next of parts of `size` pixels: the first is at most size - gcd behind the first of a part.
    let crossed = |size: usize| (size - gcd(size, align) + pixels - 1) / size;
    let images = crossed(rows * columns).min(shape.batch() - 1);
    let lines = crossed(columns).min(shape.batch() * rows - 1);
    // From one row of the output to the next it is a stride, but from image to image a whole window.
    lines * stride + images * window.saturating_sub(stride) + window
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use cnn_core::{Conv2dOptions, Conv2dSpec, Padding};
    use half::bf16;

    use super::*;

    fn shape(input: [usize; 4], channels: usize, options: Conv2dOptions) -> Shape {
        Shape::conv2d(&Conv2dSpec::new(input, channels, &options).unwrap()).unwrap()
    }

    #[test]
    fn patches_have_room_for_all_that_their_pixels_read() {
        let mut tight = 0;
        for (batch, side) in [(1, 5), (3, 4), (2, 16), (40, 1)] {
            for (kernel, stride, dilation) in [(1, 1, 1), (1, 3, 1), (3, 1, 1), (3, 2, 1), (5, 3, 2), (2, 7, 1)] {
                let padding = Padding { top: 1, left: 2, bottom: 8, right: 9 };
                let options = Conv2dOptions::square(kernel).stride(stride).dilation(dilation);
                let shape = shape([batch, side, side + 2, 3], 8, Conv2dOptions { padding, ..options });
                let ([rows, columns], [image_rows, _]) = (shape.output(), shape.padded());
                let row = |pixel: usize| pixel / (rows * columns) * image_rows + pixel / columns % rows * stride;
                let all = shape.output_pixels();
                for (pixels, align) in [(32, 32), (64, 64), (192, 64), (640, 32), (1, 1), (7, 1)] {
                    let room = patch_rows(&shape, pixels, align);
                    for first in (0..all).step_by(align) {
                        let last = all.min(first + pixels) - 1;
                        let reads = row(last) + shape.window()[0] - row(first);
                        assert!(reads <= room, "{shape:?}, {pixels} pixels from {first}: {reads} rows, {room} fit");
                        tight += usize::from(reads == room);
                    }
                }
            }
        }
        assert!(tight > 100, "most of the room is needed somewhere");
    }

    #[test]
    fn first_layers_of_networks_take_it_and_others_do_not() {
        let same = |kernel: usize, stride| Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
        let cifar = shape([512, 32, 32, 3], 64, same(3, 1));
        let stem = Stem::forward::<bf16>(None, &cifar).unwrap();
        assert_eq!((stem.tile, stem.cut.bytes, stem.cut.chunked), (Tile::Narrow, 2048, 1));
        assert_eq!(Stem::forward::<f32>(None, &cifar).unwrap().tile, Tile::Narrow);
        assert_eq!(
            Stem::weight::<bf16>(&cifar).unwrap().grown::<bf16>(&cifar, 2048).cut.pixels,
            2048,
            "one patch serves all"
        );

        let imagenet = shape([256, 224, 224, 3], 64, same(7, 2));
        for stem in [Stem::forward::<bf16>(None, &imagenet), Stem::forward::<f32>(None, &imagenet)] {
            assert_eq!(stem.unwrap().tile, Tile::Narrow);
        }
        let stem = Stem::weight::<bf16>(&imagenet).unwrap().grown::<bf16>(&imagenet, 1 << 16);
        assert_eq!((stem.tile, stem.cut.pixels), (Tile::Small, 1344));

        let long = shape([1, 40, 400, 3], 8, Conv2dOptions::square(4).stride(4));
        assert_eq!(Stem::weight::<bf16>(&long).unwrap().grown::<bf16>(&long, 512).cut.pixels, 384, "several patches");

        let one = shape([1, 28, 28, 1], 10, same(5, 1));
        assert_eq!(Stem::forward::<bf16>(None, &one).unwrap().tile, Tile::Any);
        let four = shape([1, 32, 32, 4], 64, same(3, 1));
        assert!(Stem::forward::<bf16>(None, &four).is_some());
        assert!(Stem::forward::<f32>(None, &four).is_none(), "four f32 are a whole chunk");
        let wide = shape([1, 16, 100_000, 3], 64, same(3, 1));
        assert!(Stem::forward::<bf16>(None, &wide).is_none() && Stem::weight::<bf16>(&wide).is_none());
        let grouped = shape([8, 32, 32, 6], 64, same(3, 1).groups(2));
        assert!(Stem::forward::<bf16>(None, &grouped).is_none());
    }
}
