//! What is measured: this machine's CPU, or its first GPU.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::{Device, Error, bf16};
use cnn_cpu::Cpu;
use cnn_cuda::{About, Cuda, gpus};
use cnn_measure::Machine;

/// Where our side computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// On the CPU.
    Cpu,
    /// On the first NVIDIA GPU.
    Cuda,
}

/// What is done on a backend, whichever it is.
pub(crate) trait Task {
    /// What it comes to.
    type Output;

    fn run<B: Machine>(self, backend: &B) -> Result<Self::Output, String>;
}

impl On {
    /// Runs `task` on the backend.
    pub(crate) fn run<T: Task>(self, threads: usize, precision: &str, task: T) -> Result<T::Output, String> {
        let text = |error: Error| error.to_string();
        match (self, precision) {
            (On::Cpu, "f32") => task.run(&Cpu::<f32>::with_threads(threads).map_err(text)?),
            (On::Cpu, "bf16") => task.run(&Cpu::<bf16>::with_threads(threads).map_err(text)?),
            (On::Cuda, "f32") => task.run(&Cuda::<f32>::new().map_err(text)?),
            (On::Cuda, "bf16") => task.run(&Cuda::<bf16>::new().map_err(text)?),
            (_, other) => Err(unknown_precision(other).to_string()),
        }
    }

    /// The instruction set or architecture, asked without holding a device while others are measured on it.
    pub(crate) fn isa(self, precision: &str) -> Result<String, String> {
        let isa = match (self, precision) {
            (On::Cuda, _) => return Ok(gpu()?.architecture()),
            (On::Cpu, "f32") => Cpu::<f32>::with_threads(1).map(|cpu| cpu.isa()),
            (On::Cpu, "bf16") => Cpu::<bf16>::with_threads(1).map(|cpu| cpu.isa()),
            (On::Cpu, other) => Err(unknown_precision(other)),
        };
        isa.map(|isa| isa.to_string()).map_err(|error| error.to_string())
    }

    /// In a race's title: the GPU, or how many threads.
    pub(crate) fn title(self, threads: usize) -> String {
        match (self, threads) {
            (On::Cuda, _) => gpu().map_or_else(|why| why, |gpu| gpu.name),
            (On::Cpu, 1) => "1 thread".to_owned(),
            (On::Cpu, threads) => format!("{threads} threads"),
        }
    }
}

/// The first GPU.
fn gpu() -> Result<About, String> {
    let none = || Error::invalid("GPU", 0, "there is none on this machine").to_string();
    gpus().map_err(|error| error.to_string())?.into_iter().next().ok_or_else(none)
}

/// A precision that no backend has.
pub(crate) fn unknown_precision(precision: &str) -> Error {
    Error::invalid("precision", precision, "must be f32 or bf16")
}

impl Display for On {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            On::Cpu => Cpu::<f32>::NAME,
            On::Cuda => Cuda::<f32>::NAME,
        })
    }
}

impl FromStr for On {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = [On::Cpu, On::Cuda].into_iter().find(|on| on.to_string() == text);
        found.ok_or_else(|| Error::invalid("backend", text, "must be cpu or cuda"))
    }
}
