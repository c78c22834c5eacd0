//! `cargo xtask bench`: the measuring program of the package `benches`, optimised.

use crate::run::{cargo, root, run};

pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    // In the caller's folder, which relative paths among the arguments mean.
    let here = std::env::current_dir().map_err(|error| format!("current folder: {error}"))?;
    let mut command = cargo(&["run", "--release", "--quiet", "--manifest-path"]);
    command.arg(root().join("Cargo.toml")).args(["-p", "cnn-benches", "--bin", "bench", "--"]);
    run(command.args(arguments).current_dir(here))
}
