//! The CUDA backend by the suites that every backend passes: on an emulated GPU, which runs the very kernels on the CPU; or
//! on a real one where `CNN_TEST_GPU` is set.

mod cache;
mod conformance;
mod cublaslt;
mod device;
mod faults;
mod gradients;
mod halo;
mod libraries;
mod lost;
mod networks;
mod planted;
mod rounded;
mod splits;
mod stem;
mod streams;
mod tf32;
mod training;
mod wide;
