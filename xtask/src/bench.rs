//! `cargo xtask bench`: the measuring program of the package `benches`, optimised.

use crate::run::{cargo, run};

pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let here = std::env::current_dir().map_err(|error| format!("current folder: {error}"))?;
    // A relative FILE means the caller's folder.
    let arguments = arguments.iter().enumerate().map(|(i, argument)| match i.checked_sub(1) {
        Some(previous) if arguments[previous] == "--json" => here.join(argument).into_os_string(),
        _ => argument.into(),
    });
    let build = ["run", "--release", "--quiet", "-p", "cnn-benches", "--bin", "bench", "--"];
    run(cargo(&build).args(arguments))
}
