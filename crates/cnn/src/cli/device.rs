//! What computes: the backend that was asked for, or the best that is there.

use cnn::Cpu;
use cnn::core::Backend;

use super::args::{BackendChoice, DeviceArgs};
use super::failure::Failure;

/// A backend that was found. A command matches on it once and is generic from there on.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    /// The CPU, in f32.
    Cpu(Cpu),
}

impl Device {
    /// The device that `args` asks for.
    pub(crate) fn open(args: DeviceArgs) -> Result<Device, Failure> {
        match args.backend {
            BackendChoice::Auto | BackendChoice::Cpu => {
                let cpu = match args.threads {
                    Some(0) => return Err(Failure::usage("threads 0: must be at least 1")),
                    Some(threads) => Cpu::with_threads(threads),
                    None => Cpu::new(),
                };
                Ok(Device::Cpu(cpu.map_err(Failure::usage)?))
            }
            BackendChoice::Cuda => {
                Err(Failure::usage("backend cuda: this version has no CUDA backend yet; use --backend cpu"))
            }
        }
    }

    /// What reads a file or runs one image: not worth more than the thread that asks.
    pub(crate) fn for_little() -> Result<Device, Failure> {
        Ok(Device::Cpu(Cpu::with_threads(1)?))
    }

    /// One line that says what it is.
    pub(crate) fn describe(&self) -> String {
        match self {
            Device::Cpu(cpu) => cpu.describe(),
        }
    }
}
