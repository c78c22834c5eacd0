//! Stored bytes to normalised activations.

use cnn_core::backend::{Data, check_samples};
use cnn_core::image::{Border, ImageSpec, Mix, SampleView};
use cnn_core::{Error, Result};

use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, MOST_BLOCKS, THREADS};

pub(crate) const SOURCE: Source = source!("images");

/// `kernels/images.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Images {
    stored: [i32; 2],
    output: [u32; 2],
    channels: u32,
    reflect: u32,
}

// SAFETY: six numbers of four bytes.
unsafe impl Argument for Images {}

impl Images {
    /// Of a checked spec, whose sizes are those of shapes: at most [`MAX_NUMEL`](cnn_core::shape::MAX_NUMEL) elements.
    fn new(spec: &ImageSpec) -> Self {
        Images {
            stored: spec.stored.map(|side| side as i32),
            output: spec.output.map(|side| side as u32),
            channels: spec.channels as u32,
            reflect: u32::from(spec.border == Border::Reflect),
        }
    }
}

/// A sample in the words of the struct `Sample` of `kernels/images.cu`.
fn words(view: &SampleView, output: [usize; 2]) -> [u32; 8] {
    let [row, column] = view.offset.map(i32::cast_unsigned);
    let [rows, columns] = view.shown(output).map(|side| side as u32);
    let [top, left, bottom, right] = view.cutout.map(u32::from);
    [view.index, row, column, rows, columns, top | bottom << 16, left | right << 16, u32::from(view.flip)]
}

pub(crate) fn load_images<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &ImageSpec,
    bytes: &Buffer<u8>,
    samples: &[SampleView],
) -> Result<Data<Cuda<T>>> {
    check_samples(spec, bytes.len(), samples)?;
    // All that is not in memory of the GPU goes there in one copy: the samples, then a factor for each channel and what is
    // added after it, which makes (byte / 255 - mean) / std of a byte.
    let mut numbers: Vec<u32> = samples.iter().flat_map(|view| words(view, spec.output)).collect();
    let scale_at = numbers.len() as u32;
    numbers.extend(spec.std.iter().map(|&std| ((1.0 / (255.0 * f64::from(std))) as f32).to_bits()));
    let shift = spec.mean.iter().zip(&spec.std).map(|(&mean, &std)| -f64::from(mean) / f64::from(std));
    numbers.extend(shift.map(|shift| (shift as f32).to_bits()));
    let numbers = cuda.uploaded(&numbers)?;

    let y = cuda.alloc(samples.len().saturating_mul(spec.numel()))?;
    let blocks = (spec.output[0] * spec.output[1]).div_ceil(THREADS).min(MOST_BLOCKS[1]);
    let launch = cuda.kernel(SOURCE, "load_images")?.buffer(bytes).buffer(&numbers).value(scale_at);
    let launch = launch.buffer(&y).value(Images::new(spec));
    // SAFETY: every sample is of an image that is stored, and positions outside it are not read; there are eight words for each
    // sample and two for each channel; y is new and has room for all samples.
    unsafe { launch.on([samples.len(), blocks, 1], THREADS) }?;
    Ok(y)
}

/// `kernels/images.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Mixing {
    images: u32,
    height: u32,
    width: u32,
    channels: u32,
    own: f32,
    rest: f32,
    patch: [u16; 4],
}

// SAFETY: six numbers of four bytes and four of two, without a gap.
unsafe impl Argument for Mixing {}

pub(crate) fn mix_images<T: CudaElement>(cuda: &Cuda<T>, mix: &Mix, x: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    let images = mix.check(x.len())?;
    let ([height, width, channels], own) = (mix.size, mix.own);
    let mixing = Mixing {
        images: u32::try_from(images).map_err(|_| Error::invalid("images", images, "must be at most 4294967295"))?,
        height: height as u32,
        width: width as u32,
        channels: channels as u32,
        own: own as f32,
        rest: (1.0 - own) as f32,
        patch: mix.patch,
    };
    let y = cuda.alloc(x.len())?;
    let blocks = (height * width).div_ceil(THREADS).min(MOST_BLOCKS[1]);
    let launch = cuda.kernel(SOURCE, "mix_images")?.buffer(x).buffer(&y).value(mixing);
    // SAFETY: both have as many images of as many numbers, and y is new.
    unsafe { launch.on([images, blocks, 1], THREADS) }?;
    Ok(y)
}
