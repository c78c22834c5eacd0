//! `cnn devices`: what this machine has to compute with, what is missing, and how to get it.

use cnn::cpu::{Isa, available_threads};
use serde_json::{Value, json};

use super::args::DevicesArgs;
use super::failure::Failure;
use super::output;

/// Runs the command.
pub(crate) fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let cpu = Cpu { isa: Isa::detect().map_err(Failure::usage)?.to_string(), threads: available_threads() };
    let gpus = gpus();
    if args.json {
        return output::print_json(&json!({ "cpu": { "isa": cpu.isa, "threads": cpu.threads }, "cuda": gpus.json }));
    }
    let threads = if cpu.threads == 1 { "thread" } else { "threads" };
    let mut text = format!("cpu   {} {threads}, instruction set {}\n", cpu.threads, cpu.isa);
    gpus.lines.iter().for_each(|line| text += &format!("cuda  {line}\n"));
    output::print(&text)
}

struct Cpu {
    isa: String,
    threads: usize,
}

/// What there is to say about GPUs.
struct Gpus {
    lines: Vec<String>,
    json: Value,
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> Gpus {
    let why = "this program was built without GPUs: build it with `--features cuda`, which takes no CUDA";
    Gpus { lines: vec![why.to_owned()], json: json!({ "missing": why }) }
}

#[cfg(feature = "cuda")]
fn gpus() -> Gpus {
    use cnn::cuda::libraries::{Found, found};

    let (mut lines, mut libraries) = (Vec::new(), Vec::new());
    for (library, found) in found() {
        let (at, why) = match found {
            Found::At(path) => (Some(output::shown(path)), None),
            Found::Missing(why) => (None, Some(output::printable(why))),
        };
        lines.push(match (&at, &why) {
            (Some(at), _) => format!("{library}: {at}"),
            (None, why) => {
                format!("{library}: missing, {}; {}", why.as_deref().unwrap_or_default(), library.how_to_get())
            }
        });
        libraries.push(json!({ "library": library.to_string(), "path": at, "missing": why }));
    }
    match cnn::cuda::gpus() {
        Ok(gpus) => {
            if gpus.is_empty() {
                lines.push("no GPU: the driver shows none".to_owned());
            }
            for gpu in &gpus {
                let (major, minor) = gpu.capability;
                let gibibytes = gpu.memory as f64 / f64::from(1 << 30);
                let name = output::printable(&gpu.name);
                let too_old = if gpu.is_new_enough() { "" } else { ": too old, as kernels use instructions of 8.0" };
                let capability = format!("compute capability {major}.{minor}{too_old}");
                lines.push(format!("GPU {}: {name}, {gibibytes:.0} GiB, {capability}", gpu.ordinal));
            }
            let gpus: Vec<Value> = gpus.iter().map(gpu_json).collect();
            Gpus { lines, json: json!({ "libraries": libraries, "gpus": gpus }) }
        }
        Err(error) => {
            let why = error.to_string();
            lines.push(format!("no GPU: {}", output::printable(&why)));
            Gpus { lines, json: json!({ "libraries": libraries, "gpus": [], "missing": why }) }
        }
    }
}

#[cfg(feature = "cuda")]
fn gpu_json(gpu: &cnn::cuda::About) -> Value {
    let (major, minor) = gpu.capability;
    json!({
        "ordinal": gpu.ordinal, "name": gpu.name, "memory_bytes": gpu.memory, "capability": format!("{major}.{minor}"),
        "multiprocessors": gpu.multiprocessors, "usable": gpu.is_new_enough(),
    })
}
