//! What computes: the backend that was asked for, or the best that is there.

use cnn::core::{Backend, DType, Element, bf16};
use cnn::cpu::{ConvAlgorithm, Cpu, CpuElement, Isa, available_threads};
use cnn::data::Pool;
use cnn::train::Precision;
use cnn_measure::Machine;

use super::args::DeviceArgs;
use super::failure::Failure;

/// What is done on a device, whichever it is.
pub(crate) trait Command {
    /// Does it on this one.
    fn run<B: Machine>(self, backend: &B) -> Result<(), Failure>;
}

/// A backend that was found.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    /// The CPU, activations in f32.
    Cpu(Cpu<f32>),
    /// The CPU, activations in bf16.
    CpuBf16(Cpu<bf16>),
}

impl Device {
    /// The device that `args` ask for, with activations of this precision, and with this tuning unless they ask for
    /// another.
    pub(crate) fn open(args: &DeviceArgs, precision: Precision, tuning: &str) -> Result<Device, Failure> {
        let conv_algo: ConvAlgorithm = args.conv_algo.as_deref().unwrap_or(tuning).parse().map_err(Failure::usage)?;
        match args.backend.as_str() {
            "auto" | "cpu" => {}
            other => {
                let rule = "must be auto or cpu; this version computes on no other device: use --backend cpu";
                return Err(Failure::usage(format!("backend {other}: {rule}")));
            }
        }
        match precision {
            Precision::F32 => Ok(Device::Cpu(cpu(args, conv_algo)?)),
            Precision::Bf16 => Ok(Device::CpuBf16(cpu(args, conv_algo)?)),
        }
    }

    /// What reads a file or runs one image: not worth more than the thread that asks.
    pub(crate) fn for_little() -> Result<Device, Failure> {
        Ok(Device::Cpu(Cpu::with_threads(1)?))
    }

    /// The threads that decode pictures for it: those that compute, where there are several.
    pub(crate) fn pool(&self) -> Result<Pool, Failure> {
        let threads = match self {
            Device::Cpu(cpu) => cpu.thread_pool(),
            Device::CpuBf16(cpu) => cpu.thread_pool(),
        };
        threads.map_or_else(|| Pool::new(1).map_err(Failure::usage), |threads| Ok(threads.clone().into()))
    }

    /// Does `command` on it. These two are the places that know every backend by its type.
    pub(crate) fn run(&self, command: impl Command) -> Result<(), Failure> {
        match self {
            Device::Cpu(cpu) => command.run(cpu),
            Device::CpuBf16(cpu) => command.run(cpu),
        }
    }
}

/// One line that says what `backend` is.
pub(crate) fn describe<B: Backend>(backend: &B) -> String {
    let activations = if B::Elem::DTYPE == DType::F32 { "" } else { " activations" };
    format!("{}, {}{activations}", backend.describe(), B::Elem::DTYPE)
}

fn cpu<T: CpuElement>(args: &DeviceArgs, conv_algo: ConvAlgorithm) -> Result<Cpu<T>, Failure> {
    let threads = args.threads.unwrap_or_else(available_threads);
    Isa::detect().and_then(|isa| Cpu::with_algorithm(threads, isa, conv_algo)).map_err(Failure::usage)
}
