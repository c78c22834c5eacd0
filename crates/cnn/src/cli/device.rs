//! What computes: the backend that was asked for, or the best that is there.

use cnn::core::{Backend, ConvAlgorithm, bf16};
use cnn::cpu::{Cpu, CpuElement, Isa, available_threads};
use cnn::train::Precision;

use super::args::{BackendChoice, DeviceArgs};
use super::failure::Failure;

/// A backend that was found. A command matches on it once and is generic from there on.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    /// The CPU, activations in f32.
    Cpu(Cpu<f32>),
    /// The CPU, activations in bf16.
    CpuBf16(Cpu<bf16>),
}

impl Device {
    /// The device that `args` ask for, with activations of this precision, and with this algorithm for convolutions
    /// unless they ask for another.
    pub(crate) fn open(args: &DeviceArgs, precision: Precision, conv_algo: ConvAlgorithm) -> Result<Device, Failure> {
        let conv_algo = self::conv_algo(args)?.unwrap_or(conv_algo);
        match (args.backend, precision) {
            (BackendChoice::Auto | BackendChoice::Cpu, Precision::F32) => Ok(Device::Cpu(cpu(args, conv_algo)?)),
            (BackendChoice::Auto | BackendChoice::Cpu, Precision::Bf16) => Ok(Device::CpuBf16(cpu(args, conv_algo)?)),
            (BackendChoice::Cuda, _) => {
                Err(Failure::usage("backend cuda: this version has no CUDA backend yet; use --backend cpu"))
            }
        }
    }

    /// What reads a file or runs one image: not worth more than the thread that asks.
    pub(crate) fn for_little() -> Result<Cpu<f32>, Failure> {
        Ok(Cpu::with_threads(1)?)
    }

    /// One line that says what it is.
    pub(crate) fn describe(&self) -> String {
        match self {
            Device::Cpu(cpu) => format!("{}, f32", cpu.describe()),
            Device::CpuBf16(cpu) => format!("{}, bf16 activations", cpu.describe()),
        }
    }
}

/// The algorithm for convolutions that `args` ask for.
pub(crate) fn conv_algo(args: &DeviceArgs) -> Result<Option<ConvAlgorithm>, Failure> {
    args.conv_algo.as_deref().map(str::parse).transpose().map_err(Failure::usage)
}

fn cpu<T: CpuElement>(args: &DeviceArgs, conv_algo: ConvAlgorithm) -> Result<Cpu<T>, Failure> {
    let threads = args.threads.unwrap_or_else(available_threads);
    Isa::detect().and_then(|isa| Cpu::with_algorithm(threads, isa, conv_algo)).map_err(Failure::usage)
}
