//! What a measurement is held against: the limits of the machine that a backend runs on.

use cnn_core::{Backend, Result};
use cnn_cpu::{Cpu, CpuElement};

/// A backend that can say what its machine does at most.
pub trait Machine: Backend {
    /// The instruction set that it computes with.
    fn isa(&self) -> String;

    /// Threads that it computes with.
    fn threads(&self) -> usize;

    /// GFLOP/s of nothing but independent multiply-adds, measured for about `seconds`. A multiply-add counts as two.
    ///
    /// # Errors
    /// The device's.
    fn fma_peak(&self, seconds: f64) -> Result<f64>;

    /// Waits for all work that was asked for.
    ///
    /// # Errors
    /// What that work has failed with.
    fn wait(&self) -> Result<()>;

    /// GB/s of the triad `a = b + 3 c` over arrays that no cache holds, measured for about `seconds`.
    ///
    /// # Errors
    /// No memory for the arrays.
    fn memory_bandwidth(&self, seconds: f64) -> Result<f64>;
}

impl<T: CpuElement> Machine for Cpu<T> {
    fn isa(&self) -> String {
        Cpu::isa(self).to_string()
    }

    fn threads(&self) -> usize {
        Cpu::threads(self)
    }

    fn fma_peak(&self, seconds: f64) -> Result<f64> {
        Ok(cnn_cpu::fma_peak(self, seconds))
    }

    fn wait(&self) -> Result<()> {
        Ok(()) // a method of the CPU returns when its work is done
    }

    fn memory_bandwidth(&self, seconds: f64) -> Result<f64> {
        cnn_cpu::memory_bandwidth(self, seconds)
    }
}

#[cfg(feature = "cuda")]
impl<T: cnn_cuda::CudaElement> Machine for cnn_cuda::Cuda<T> {
    fn isa(&self) -> String {
        self.about().architecture()
    }

    fn threads(&self) -> usize {
        1 // of the CPU, which asks and waits
    }

    fn fma_peak(&self, seconds: f64) -> Result<f64> {
        cnn_cuda::fma_peak(self, seconds)
    }

    fn wait(&self) -> Result<()> {
        self.synchronise()
    }

    fn memory_bandwidth(&self, seconds: f64) -> Result<f64> {
        cnn_cuda::memory_bandwidth(self, seconds)
    }
}
