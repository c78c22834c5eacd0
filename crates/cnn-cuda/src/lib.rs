//! The CUDA backend: NVIDIA GPUs of compute capability 8.0 and later.
//!
//! [`Cuda`] is a handle to a GPU, a stream and a free list of its memory. Every operation of the
//! [`Backend`](cnn_core::Backend) trait has a file of its name, beside `kernels/NAME.cu` with what the GPU runs. Nothing of
//! CUDA is needed to build: the driver and the run-time compiler are found when the first device is opened
//! ([`libraries`]), and the kernels are compiled then for the GPU that there is. Dense layers run on
//! NVIDIA's cuBLASLt where it is found.
//!
//! Results are the same bits in every run on one model of GPU: sums are cut by the shape of the data and the GPU's
//! multiprocessors and combined in a fixed order, and no number is added by atomics.

mod activation;
mod backend;
pub mod baseline;
mod buffer;
mod channels;
pub mod compiler;
mod concat;
mod conv2d;
mod cubin_cache;
mod cublaslt;
mod device;
mod driver;
mod element;
mod elementwise;
mod event;
mod images;
mod later;
mod launch;
mod layer_norm;
pub mod libraries;
mod linear;
mod loss;
mod modules;
mod norm;
mod optim;
mod pinned;
mod pool;
mod pool2d;
mod recording;
mod roofline;
mod rounded;
mod scale_channels;
mod stream;
mod sums;
mod uploads;

pub use buffer::Buffer;
pub use conv2d::{Filter, Tile};
pub use device::{Cuda, Options};
pub use driver::{About, gpus};
pub use element::CudaElement;
pub use norm::PartMoments;
pub use pool::Usage;
pub use roofline::{fma_peak, memory_bandwidth};
pub use stream::Launches;

/// Every file of kernels.
pub const KERNELS: &[compiler::Source] = &[
    activation::SOURCE,
    concat::SOURCE,
    conv2d::FORWARD,
    conv2d::DATA,
    conv2d::WEIGHT,
    conv2d::DEPTHWISE,
    conv2d::SPLIT,
    conv2d::STEM,
    conv2d::HALO,
    conv2d::HALO_WEIGHT,
    elementwise::SOURCE,
    images::SOURCE,
    layer_norm::SOURCE,
    loss::SOURCE,
    norm::COEFFICIENTS,
    norm::MOMENTS,
    norm::SOURCE,
    optim::SOURCE,
    pool2d::SOURCE,
    roofline::SOURCE,
    scale_channels::SOURCE,
    sums::SOURCE,
];
