//! `cargo xtask gpu-pack`: a folder for a machine that has a GPU and PyTorch, and neither Rust nor a network.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{cargo, output, root, run};

/// The most that the folder may take, in bytes.
const MOST: u64 = 64 << 20;

pub(crate) fn gpu_pack(arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err(format!("{}: gpu-pack takes no arguments", arguments.join(" ")));
    }
    let target = root().join("target");
    let pack = target.join("gpu-pack");
    let _ = fs::remove_dir_all(&pack);
    create(&pack.join("peers"))?;
    run(&mut cargo(&["build", "--release", "-p", "cnn", "--features", "cuda"]))?;
    copy(&target.join("release/cnn"), &pack.join("cnn"))?;
    run(&mut cargo(&["build", "--release", "-p", "cnn-benches", "--bin", "bench"]))?;
    copy(&target.join("release/bench"), &pack.join("bench"))?;
    copy(&suite()?, &pack.join("cuda-suite"))?;
    for script in ["pytorch.py", "networks.py", "timing.py"] {
        copy(&root().join("benches/peers").join(script), &pack.join("peers").join(script))?;
    }
    copy(&root().join("benches/gpu/run.sh"), &pack.join("run.sh"))?;
    let bytes = size(&pack)?;
    if bytes > MOST {
        return Err(format!("{}: {bytes} bytes: must be at most {MOST}", pack.display()));
    }
    println!("{}: {:.1} MiB; there: ./run.sh OUT", pack.display(), bytes as f64 / f64::from(1 << 20));
    Ok(())
}

/// Builds the suite of the CUDA backend; its program.
fn suite() -> Result<PathBuf, String> {
    let build = ["test", "--release", "-p", "cnn-tests", "--test", "cuda", "--no-run", "--message-format", "json"];
    let messages = output(&mut cargo(&build))?;
    let program = messages.lines().filter(|line| line.contains("\"compiler-artifact\"")).find_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        let path = rest.split('"').next()?;
        Path::new(path).file_name()?.to_string_lossy().starts_with("cuda-").then(|| PathBuf::from(path))
    });
    program.ok_or_else(|| "cargo built no program of the CUDA suite".to_owned())
}

fn create(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn size(folder: &Path) -> Result<u64, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    entries.flatten().try_fold(0, |sum, entry| {
        let path = entry.path();
        let bytes = if path.is_dir() { size(&path)? } else { entry.metadata().map_or(0, |metadata| metadata.len()) };
        Ok(sum + bytes)
    })
}
