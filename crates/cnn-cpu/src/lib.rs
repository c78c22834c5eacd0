//! The CPU backend: explicit SIMD kernels over the data in parallel.
//!
//! [`Cpu`] is a handle to an instruction set, some threads and a free list of memory. Every operation of the
//! [`Backend`](cnn_core::Backend) trait has a file of its name. Work is split by the shape of the data, so that results
//! do not depend on the number of threads.

mod activation;
mod backend;
mod binary_loss;
mod buffer;
mod concat;
mod conv2d;
mod conv_algorithm;
mod device;
mod element;
mod elementwise;
mod exp;
mod fork_join;
mod gemm;
mod images;
mod kernel;
mod layer_norm;
mod linear;
mod loss;
mod machine;
mod norm;
mod optim;
mod optimised;
mod pages;
mod pool;
mod pool2d;
mod roofline;
mod scale_channels;
mod scratch;
mod simd;
mod sums;
#[doc(hidden)]
pub mod testing;
mod threads;
mod update;
mod workers;

pub use buffer::Buffer;
pub use conv_algorithm::ConvAlgorithm;
pub use conv2d::Filter;
pub use device::{Cpu, available_threads};
pub use element::{CpuElement, CpuReal};
pub use roofline::{fma_peak, memory_bandwidth};
pub use simd::Isa;
