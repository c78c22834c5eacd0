//! Developer commands: `cargo xtask check | circles | kernels | gpu-pack | bench | data | fuzz | golden`.
#![forbid(unsafe_code)]

mod bench;
mod check;
mod circles;
mod data;
mod deep;
mod fuzz;
mod golden;
mod gpu_pack;
mod kernels;
mod run;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check [--deep]                          everything that CI runs; or also what takes half an hour
  circles                                 circles of imports in the workspace: one of the checks
  kernels                                 the CUDA kernels by NVIDIA's compiler: registers, spills, instructions
  gpu-pack                                a folder for a machine with a GPU: suites, bench, PyTorch, one script
  bench [--peers PYTHON [--rust-peers]] [--only layers|train|infer] [--model NAME] [--batch N]
        [--threads N] [--precision f32|bf16] [--backend cpu|cuda] [--rounds N] [--json FILE]
                                          measure this machine or its GPU, and other engines beside it
  data cifar10|cifar100|mnist [--dir DIR] [--mirror URL] [--archive FILE]
                                          fetch a data set
  fuzz all|NAME SECONDS                   a parser under libfuzzer: safetensors, pytorch, recipe, cifar, idx, archive,
                                          picture
  golden [PYTHON]                         regenerate the PyTorch fixtures (needs torch, torchvision, timm, numpy, safetensors)";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let result = match command.as_str() {
        "check" => check::check(&rest),
        "circles" => circles::circles(),
        "kernels" => kernels::kernels(),
        "gpu-pack" => gpu_pack::gpu_pack(&rest),
        "bench" => bench::bench(&rest),
        "data" => data::data(&rest),
        "fuzz" => fuzz::fuzz(&rest),
        "golden" => golden::golden(&rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("error: {command:?}: no such command\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
