//! What computes: the backend that was asked for, or the best that is there.

#[cfg(feature = "cuda")]
use cnn::core::backend::AUTO;
use cnn::core::{Backend, DType, Element, bf16};
use cnn::cpu::{ConvAlgorithm, Cpu, CpuElement, Isa, available_threads};
#[cfg(feature = "cuda")]
use cnn::cuda::{self, Cuda};
use cnn::data::Pool;
use cnn::train::Precision;
use cnn_measure::Machine;

use super::args::DeviceArgs;
use super::failure::Failure;
#[cfg(feature = "cuda")]
use super::output;

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
    /// A GPU, activations in f32, and the threads that decode pictures for it.
    #[cfg(feature = "cuda")]
    Cuda(Cuda<f32>, usize),
    /// A GPU, activations in bf16.
    #[cfg(feature = "cuda")]
    CudaBf16(Cuda<bf16>, usize),
}

/// What `--backend` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Auto,
    Cpu,
    #[cfg(feature = "cuda")]
    Gpu(usize),
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "auto" => return Ok(Wanted::Auto),
            "cpu" => return Ok(Wanted::Cpu),
            #[cfg(feature = "cuda")]
            "cuda" => return Ok(Wanted::Gpu(0)),
            _ => {}
        }
        #[cfg(feature = "cuda")]
        if let Some(Ok(ordinal)) = text.strip_prefix("cuda:").map(str::parse) {
            return Ok(Wanted::Gpu(ordinal));
        }
        let rule = if cfg!(feature = "cuda") {
            "must be auto, cpu, cuda, or cuda:N for GPU N"
        } else if text.starts_with("cuda") {
            "must be auto or cpu: this program was built without GPUs; build it with `--features cuda`, which takes no CUDA"
        } else {
            "must be auto or cpu"
        };
        Err(Failure::usage(format!("backend {text}: {rule}")))
    }
}

impl Device {
    /// The device that `args` ask for, with activations of this precision, and with this tuning unless they ask for
    /// another.
    pub(crate) fn open(args: &DeviceArgs, precision: Precision, tuning: &str) -> Result<Device, Failure> {
        let tuning = args.conv_algo.as_deref().unwrap_or(tuning);
        let conv_algo: ConvAlgorithm = tuning.parse().map_err(Failure::usage)?;
        match Wanted::parse(&args.backend)? {
            Wanted::Cpu => {}
            #[cfg(feature = "cuda")]
            Wanted::Gpu(ordinal) if tuning == AUTO => return gpu(args, precision, ordinal),
            #[cfg(feature = "cuda")]
            Wanted::Gpu(_) => {
                let rule = "must be auto on a GPU: the others are the CPU's";
                return Err(Failure::usage(format!("convolutions {tuning}: {rule}")));
            }
            #[cfg(feature = "cuda")]
            Wanted::Auto if tuning != AUTO => {
                output::note(&format!("on the CPU: convolutions {tuning} are the CPU's"));
            }
            #[cfg(feature = "cuda")]
            Wanted::Auto => match gpu(args, precision, 0) {
                Ok(device) => return Ok(device),
                Err(failure) if precision == Precision::Tf32 => return Err(failure),
                Err(failure) => {
                    output::note(&format!("on the CPU: {}", failure.message().unwrap_or_default()));
                }
            },
            #[cfg(not(feature = "cuda"))]
            Wanted::Auto => {}
        }
        match precision {
            Precision::F32 => Ok(Device::Cpu(cpu(args, conv_algo)?)),
            Precision::Tf32 => {
                Err(Failure::usage("precision tf32: must be f32 or bf16 on a CPU: only a GPU multiplies tf32"))
            }
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
            #[cfg(feature = "cuda")]
            Device::Cuda(_, threads) | Device::CudaBf16(_, threads) => {
                return Pool::new(*threads).map_err(Failure::usage);
            }
        };
        threads.map_or_else(|| Pool::new(1).map_err(Failure::usage), |threads| Ok(threads.clone().into()))
    }

    /// The threads that compute, on a CPU.
    pub(crate) fn cpu_threads(&self) -> Option<usize> {
        match self {
            Device::Cpu(cpu) => Some(cpu.threads()),
            Device::CpuBf16(cpu) => Some(cpu.threads()),
            #[cfg(feature = "cuda")]
            Device::Cuda(..) | Device::CudaBf16(..) => None,
        }
    }

    /// Does `command` on it. These two are the places that know every backend by its type.
    pub(crate) fn run(&self, command: impl Command) -> Result<(), Failure> {
        match self {
            Device::Cpu(cpu) => command.run(cpu),
            Device::CpuBf16(cpu) => command.run(cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(cuda, _) => command.run(cuda),
            #[cfg(feature = "cuda")]
            Device::CudaBf16(cuda, _) => command.run(cuda),
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

#[cfg(feature = "cuda")]
fn gpu(args: &DeviceArgs, precision: Precision, ordinal: usize) -> Result<Device, Failure> {
    let options = cuda::Options::gpu(ordinal).tf32(precision == Precision::Tf32);
    let threads = args.threads.unwrap_or_else(available_threads);
    match precision {
        Precision::F32 | Precision::Tf32 => Ok(Device::Cuda(Cuda::open(&options)?, threads)),
        Precision::Bf16 => Ok(Device::CudaBf16(Cuda::open(&options)?, threads)),
    }
}
