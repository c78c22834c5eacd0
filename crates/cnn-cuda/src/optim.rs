//! Blends of parameters; SGD and Adam over many parameters at once, and the check that allows it.

use cnn_core::backend::{AdamParam, AdamStep, Health, SgdParam, SgdStep, Wide, check, check_blend};
use cnn_core::{Error, Result};

use crate::buffer::{Buffer, Rounded};
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::{Argument, THREADS};
use crate::rounded::to_be_written;

pub(crate) const SOURCE: Source = source!("optim");

/// Numbers of a piece, which a block has.
const PIECE: usize = 8192;
/// The most parameters of a launch: what describes them is an argument of the kernel, and all arguments have 4 KiB.
const PARAMETERS: usize = 64;

/// A parameter of a launch: `kernels/optim.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parameter<const BUFFERS: usize> {
    /// Where its buffers are in the GPU's memory, and its value rounded, or null.
    buffers: [u64; BUFFERS],
    rounded: u64,
    len: u32,
    rate: f32,
    weight_decay: f32,
    /// Pieces up to its end, with those of all parameters before it.
    pieces: u32,
}

/// The parameters of a launch: `kernels/optim.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters<const BUFFERS: usize> {
    of: [Parameter<BUFFERS>; PARAMETERS],
    count: u64,
}

// SAFETY: numbers, of which four of four bytes follow those of eight, so that there is no padding. The addresses are those of
// buffers that are borrowed until the launch is in the stream.
unsafe impl<const BUFFERS: usize> Argument for Parameters<BUFFERS> {}

/// What a kernel is told about a parameter.
struct Described<'a, const BUFFERS: usize> {
    /// All of one length.
    buffers: [&'a Buffer<f32>; BUFFERS],
    /// The value rounded, which is written with it: as long.
    rounded: Option<&'a Rounded>,
    rate: f64,
    weight_decay: f64,
}

impl<const BUFFERS: usize> Parameters<BUFFERS> {
    fn new(parameters: &[Described<'_, BUFFERS>]) -> Result<Self> {
        let none = Parameter { buffers: [0; BUFFERS], rounded: 0, len: 0, rate: 0.0, weight_decay: 0.0, pieces: 0 };
        let mut table = Parameters { of: [none; PARAMETERS], count: parameters.len() as u64 };
        let mut pieces = 0;
        for (entry, parameter) in table.of.iter_mut().zip(parameters) {
            let len = parameter.buffers[0].len();
            let most = i32::MAX as usize;
            if len > most {
                let rule = format!("must be at most {most} numbers on this backend");
                return Err(Error::invalid("length of a parameter", len, rule));
            }
            pieces += len.div_ceil(PIECE) as u32;
            *entry = Parameter {
                buffers: parameter.buffers.map(Buffer::at),
                rounded: parameter.rounded.map_or(0, |rounded| rounded.numbers.at()),
                len: len as u32,
                rate: parameter.rate as f32,
                weight_decay: parameter.weight_decay as f32,
                pieces,
            };
        }
        Ok(table)
    }

    /// Blocks of a kernel.
    fn pieces(&self) -> usize {
        self.of[..self.count as usize].last().map_or(0, |last| last.pieces as usize)
    }
}

pub(crate) fn blend<T: CudaElement>(
    cuda: &Cuda<T>,
    into: &mut Wide<Cuda<T>>,
    a: f64,
    from: &Wide<Cuda<T>>,
    b: f64,
) -> Result<()> {
    check_blend(into.len(), from.len())?;
    cuda.make_unique(into)?;
    let launch = cuda.kernel(SOURCE, "blend")?.buffer(into).buffer(from).value(a as f32).value(b as f32);
    // SAFETY: both have as many numbers, and nobody else has the first.
    unsafe { launch.value(into.len() as u64).over_vectors::<f32>(into.len()) }
}

pub(crate) fn gradient_health<T: CudaElement>(
    cuda: &Cuda<T>,
    loss: Option<&Wide<Cuda<T>>>,
    gradients: &[&Wide<Cuda<T>>],
    largest: f64,
) -> Result<Health<Cuda<T>>> {
    let described: Vec<Described<'_, 1>> = gradients
        .iter()
        .map(|&gradient| Described { buffers: [gradient], rounded: None, rate: 0.0, weight_decay: 0.0 })
        .collect();
    let tables = described.chunks(PARAMETERS).map(Parameters::new).collect::<Result<Vec<_>>>()?;
    let pieces: usize = tables.iter().map(Parameters::pieces).sum();
    let squares = cuda.alloc::<f64>(pieces)?;
    let mut first = 0;
    for table in tables {
        let launch = cuda.kernel(SOURCE, "squared_norms")?.value(table).buffer(&squares).value(first as u32);
        // SAFETY: the gradients are as long as the table says, and there is a square for each piece of all tables; they are new.
        unsafe { launch.on([table.pieces(), 1, 1], THREADS) }?;
        first += table.pieces();
    }

    let health = Health { norm: cuda.alloc(1)?, finite: cuda.alloc(1)? };
    let launch = cuda.kernel(SOURCE, "gradient_health")?.buffer(&squares).value(pieces as u32);
    let launch = launch.optional(loss).value(loss.map_or(0, Buffer::len) as u32).value(largest);
    let launch = launch.buffer(&health.norm).buffer(&health.finite);
    // SAFETY: there are as many squares and losses as it is told, and what is written is new.
    unsafe { launch.on([1; 3], THREADS) }?;
    Ok(health)
}

/// Where an optimiser's kernels read the health of a step: `kernels/optim.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct HealthAt {
    norm: u64,
    finite: u64,
}

// SAFETY: two numbers, the addresses of buffers that are borrowed until the launch is in the stream.
unsafe impl Argument for HealthAt {}

impl HealthAt {
    fn new<T: CudaElement>(health: &Health<Cuda<T>>) -> Result<Self> {
        check::length("a norm", health.norm.len(), 1)?;
        check::length("the health of a step", health.finite.len(), 1)?;
        Ok(HealthAt { norm: health.norm.at(), finite: health.finite.at() })
    }
}

/// Refuses a parameter or state that is not as long as its gradient.
fn same_length(gradient: &Buffer<f32>, buffers: &[&mut Buffer<f32>]) -> Result<()> {
    match buffers.iter().find(|buffer| buffer.len() != gradient.len()) {
        None => Ok(()),
        Some(buffer) => {
            let rule = format!("must be as long as the gradient, which has {}", gradient.len());
            Err(Error::invalid("length of a parameter or its state", buffer.len(), rule))
        }
    }
}

pub(crate) fn sgd<T: CudaElement>(
    cuda: &Cuda<T>,
    step: &SgdStep,
    parameters: &mut [SgdParam<'_, Cuda<T>>],
    health: &Health<Cuda<T>>,
) -> Result<()> {
    let health = HealthAt::new(health)?;
    let mut rounded = Vec::with_capacity(parameters.len());
    for p in parameters.iter_mut() {
        same_length(p.gradient, &[p.value, p.velocity])?;
        rounded.push(to_be_written(cuda, p.value)?);
        cuda.make_unique(p.value)?;
        cuda.make_unique(p.velocity)?;
    }
    let described: Vec<Described<'_, 3>> = parameters
        .iter()
        .zip(&rounded)
        .map(|(p, rounded)| Described {
            buffers: [p.value, p.gradient, p.velocity],
            rounded: rounded.as_ref(),
            rate: step.lr * p.lr_scale,
            weight_decay: p.weight_decay,
        })
        .collect();
    // All of them before the first launch: a refused one leaves the others as they were.
    for table in described.chunks(PARAMETERS).map(Parameters::new).collect::<Result<Vec<_>>>()? {
        let launch = cuda.kernel(SOURCE, "sgd")?.value(table).value(health).value(step.max_norm as f32);
        let launch = launch.value(step.momentum as f32).value(i32::from(step.nesterov));
        // SAFETY: the buffers of a parameter are of one length; nobody else has those that are written, which are borrowed
        // exclusively and so are all different, or taken out of those; norm and flag are one number each.
        unsafe { launch.on([table.pieces(), 1, 1], THREADS) }?;
    }
    keep(rounded, parameters.iter().map(|p| &*p.value));
    Ok(())
}

/// Keeps the values' rounded numbers, which were written with them: where a step is not healthy, neither was.
fn keep<'a>(rounded: Vec<Option<Rounded>>, values: impl Iterator<Item = &'a Buffer<f32>>) {
    for (rounded, value) in rounded.into_iter().zip(values) {
        rounded.into_iter().for_each(|rounded| value.keep_rounded(rounded));
    }
}

/// The numbers of a step: `kernels/optim.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct AdamNumbers {
    beta: [f64; 2],
    /// 1 - beta.
    rest: [f32; 2],
    eps: f32,
    max_norm: f32,
    decoupled: u64,
}

// SAFETY: two numbers of eight bytes, four of four and one of eight: no padding.
unsafe impl Argument for AdamNumbers {}

/// Where the counts of steps of the parameters of a launch are: `kernels/optim.cu` has the same struct.
#[derive(Clone, Copy)]
#[repr(C)]
struct StepCounts {
    of: [u64; PARAMETERS],
}

// SAFETY: numbers, the addresses of buffers that are borrowed until the launch is in the stream.
unsafe impl Argument for StepCounts {}

pub(crate) fn adam<T: CudaElement>(
    cuda: &Cuda<T>,
    step: &AdamStep,
    parameters: &mut [AdamParam<'_, Cuda<T>>],
    health: &Health<Cuda<T>>,
) -> Result<()> {
    let health = HealthAt::new(health)?;
    let mut rounded = Vec::with_capacity(parameters.len());
    for p in parameters.iter_mut() {
        same_length(p.gradient, &[p.value, p.m, p.v])?;
        rounded.push(to_be_written(cuda, p.value)?);
        check::length("the count of a parameter's steps", p.steps.len(), 1)?;
        for buffer in [&mut *p.value, &mut *p.m, &mut *p.v] {
            cuda.make_unique(buffer)?;
        }
        cuda.make_unique(p.steps)?;
    }
    let numbers = AdamNumbers {
        beta: [step.beta1, step.beta2],
        rest: [1.0 - step.beta1, 1.0 - step.beta2].map(|rest| rest as f32),
        eps: step.eps as f32,
        max_norm: step.max_norm as f32,
        decoupled: u64::from(step.decoupled),
    };
    let described: Vec<Described<'_, 4>> = parameters
        .iter()
        .zip(&rounded)
        .map(|(p, rounded)| Described {
            buffers: [p.value, p.gradient, p.m, p.v],
            rounded: rounded.as_ref(),
            rate: step.lr * p.lr_scale,
            weight_decay: p.weight_decay,
        })
        .collect();
    let tables = described.chunks(PARAMETERS).map(Parameters::new).collect::<Result<Vec<_>>>()?;
    for (table, parameters) in tables.into_iter().zip(parameters.chunks(PARAMETERS)) {
        let mut steps = StepCounts { of: [0; PARAMETERS] };
        steps.of.iter_mut().zip(parameters).for_each(|(at, p)| *at = p.steps.at());
        let corrections = cuda.alloc::<f32>(2 * parameters.len())?;
        let launch = cuda.kernel(SOURCE, "adam_count")?.value(steps).value(parameters.len() as u32);
        let launch = launch.value(health).value(numbers).buffer(&corrections);
        // SAFETY: there is one count for each parameter, which nobody else has, and two new numbers.
        unsafe { launch.on([1; 3], PARAMETERS) }?;
        let launch = cuda.kernel(SOURCE, "adam")?.value(table).value(health).value(numbers).buffer(&corrections);
        // SAFETY: as in sgd, and there are two corrections for each parameter.
        unsafe { launch.on([table.pieces(), 1, 1], THREADS) }?;
    }
    keep(rounded, parameters.iter().map(|p| &*p.value));
    Ok(())
}
