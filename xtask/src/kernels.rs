//! `cargo xtask kernels`: the CUDA kernels by NVIDIA's own compiler, for every architecture; no GPU and no CUDA needed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{cargo, root, run};

/// What is fetched from Python's package index: the compiler and the disassembler.
const PACKAGES: [&str; 2] = ["nvidia-cuda-nvrtc==13.0.*", "nvidia-cuda-nvdisasm==13.3.*"];

/// For every architecture.
pub(crate) fn kernels() -> Result<(), String> {
    compiled("")
}

/// For the oldest that there are kernels for, and that for which there are kernels of its own.
pub(crate) fn some_kernels() -> Result<(), String> {
    compiled("sm_80,sm_90")
}

fn compiled(architectures: &str) -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        println!("SKIPPED: NVIDIA's compiler is fetched for Linux on x86-64 only");
        return Ok(());
    }
    let environment = root().join("target/nvrtc");
    if found(&environment).is_none() {
        if Command::new("python3")
            .args(["-m", "venv", "--help"])
            .output()
            .map_or(true, |output| !output.status.success())
        {
            println!("SKIPPED: no python3 with venv, by which NVIDIA's compiler is fetched");
            return Ok(());
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        run(Command::new(environment.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    }
    let nvrtc =
        found(&environment).ok_or_else(|| format!("{}: no NVRTC in what was fetched", environment.display()))?;
    run(cargo(&["test", "-p", "cnn-cuda", "--test", "architectures"])
        .env("CNN_NVRTC", nvrtc)
        .env("CNN_ARCHITECTURES", architectures))
}

/// The folder of both packages in a Python environment.
fn found(environment: &std::path::Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(environment.join("lib")).ok()?.flatten();
    let places = pythons.map(|python| python.path().join("site-packages/nvidia/cu13"));
    places.into_iter().find(|place| place.join("lib").is_dir() && place.join("bin/nvdisasm").is_file())
}
