//! Images times a factor for each channel of each of them.

use cnn_core::backend::{Data, ScaleSpec, check};
use cnn_core::{Error, Result};

use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::elementwise::narrow;
use crate::launch::THREADS;
use crate::sums::combined;

pub(crate) const SOURCE: Source = source!("scale_channels");

/// Pixels whose products a block sums: of a large image, or of all rows of a batch as a layer scale takes them, there are many.
const PIXELS_OF_PART: usize = 512;

/// A problem whose numbers belong together.
struct Checked {
    /// Elements of the images and of the factors.
    lengths: [usize; 2],
    /// As the kernels take them.
    pixels: u32,
    channels: u32,
    /// Elements that a thread has: neighbouring channels.
    lanes: usize,
}

impl Checked {
    fn new<T: CudaElement>(spec: &ScaleSpec) -> Result<Self> {
        let [pixels, channels] = [spec.pixels, spec.channels].map(|size| {
            let rule = "must be below 2^32 on this backend";
            u32::try_from(size).map_err(|_| Error::invalid("size of a product by channels", size, rule))
        });
        let lanes = 16 / size_of::<T>();
        let lanes = if spec.channels.is_multiple_of(lanes) { lanes } else { 1 };
        Ok(Checked { lengths: spec.lengths()?, pixels: pixels?, channels: channels?, lanes })
    }
}

pub(crate) fn scale_channels<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &ScaleSpec,
    mut x: Data<Cuda<T>>,
    factors: &Data<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let Checked { lengths: [len, factors_len], pixels, channels, lanes } = Checked::new::<T>(spec)?;
    check::length("the input", x.len(), len)?;
    check::length("the factors", factors.len(), factors_len)?;
    let y = cuda.in_place(&mut x)?;
    let launch = cuda.kernel(SOURCE, "scale_channels")?.buffer(&x).buffer(factors).buffer(&y);
    let launch = launch.value(pixels).value(channels).value(len as u64);
    // SAFETY: the buffers have as many elements as the spec says; y is new, or x, which was given away.
    unsafe { launch.over(len / lanes) }?;
    Ok(y)
}

/// Of the images and of the factors.
type Gradients<T> = (Data<Cuda<T>>, Data<Cuda<T>>);

pub(crate) fn scale_channels_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &ScaleSpec,
    mut dy: Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
    factors: &Data<Cuda<T>>,
) -> Result<Gradients<T>> {
    let Checked { lengths: [len, factors_len], pixels, channels, lanes } = Checked::new::<T>(spec)?;
    check::length("the gradient", dy.len(), len)?;
    check::length("the input", x.len(), len)?;
    check::length("the factors", factors.len(), factors_len)?;
    let parts = spec.pixels.div_ceil(PIXELS_OF_PART).max(1);
    let (dx, sums) = (cuda.in_place(&mut dy)?, cuda.alloc::<f32>(check::numel(parts, factors_len)?)?);
    let vectors = spec.channels / lanes;
    // Vectors that a block has side by side: those of a warp, or all. A block sums over some pixels of one image.
    let side_by_side = vectors.next_power_of_two().min(32);
    let grid = [check::numel(spec.batch, parts)?, vectors.div_ceil(side_by_side), 1];
    let launch = cuda.kernel(SOURCE, "scale_channels_backward")?.buffer(&dy).buffer(x).buffer(factors);
    let launch = launch.buffer(&dx).buffer(&sums).value(pixels).value(channels).value(side_by_side as u32);
    let launch = launch.value(parts as u32).value(PIXELS_OF_PART as u32);
    // SAFETY: the buffers have as many elements as the spec says; the sums are new and have a factor's for each part, dx is new or
    // dy, which was given away; there is a block for each part of each image, and for each 32 of its vectors of channels.
    unsafe { launch.on(grid, THREADS) }?;
    let dfactors = combined(cuda, sums, parts, factors_len)?;
    Ok((dx, narrow(cuda, &dfactors)?))
}
