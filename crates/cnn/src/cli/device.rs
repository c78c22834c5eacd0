//! What computes: the backend that was asked for, or the best that is there.

use cnn::core::{Backend, bf16};
use cnn::cpu::{Cpu, CpuElement};
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
    /// The device that `args` asks for, with activations of this precision.
    pub(crate) fn open(args: DeviceArgs, precision: Precision) -> Result<Device, Failure> {
        match (args.backend, precision) {
            (BackendChoice::Auto | BackendChoice::Cpu, Precision::F32) => Ok(Device::Cpu(cpu(args)?)),
            (BackendChoice::Auto | BackendChoice::Cpu, Precision::Bf16) => Ok(Device::CpuBf16(cpu(args)?)),
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

fn cpu<T: CpuElement>(args: DeviceArgs) -> Result<Cpu<T>, Failure> {
    let cpu = match args.threads {
        Some(0) => return Err(Failure::usage("threads 0: must be at least 1")),
        Some(threads) => Cpu::with_threads(threads),
        None => Cpu::new(),
    };
    cpu.map_err(Failure::usage)
}
