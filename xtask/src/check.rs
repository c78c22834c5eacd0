//! `cargo xtask check`: everything that CI runs, cheapest first; with `--deep` also what takes long.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use crate::circles::circles;
use crate::deep::DEEP;
use crate::kernels::some_kernels;
use crate::run::{Step, cargo, output, root, run};

/// The most crates that the program may be built from, itself included.
const MAX_CRATES: usize = 120;

const ORDINARY: [Step; 12] = [
    ("formatting", formatting),
    ("circles of imports", circles),
    ("dependencies", dependencies),
    ("licences and sources", licences),
    ("clippy", clippy),
    ("clippy, the library alone", clippy_of_the_library),
    ("clippy, without GPUs", clippy_without_gpus),
    ("tests", tests),
    ("CUDA kernels for two architectures", some_kernels),
    ("documentation", documentation),
    ("examples", examples),
    ("tests, without GPUs", tests_without_gpus),
];

pub(crate) fn check(arguments: &[String]) -> Result<(), String> {
    let deep = match arguments {
        [] => &[][..],
        [deep] if deep == "--deep" => &DEEP[..],
        _ => return Err(format!("{}: check takes --deep or nothing", arguments.join(" "))),
    };
    let mut report = String::new();
    for (name, step) in ORDINARY.iter().chain(deep) {
        let begun = Instant::now();
        let result = step();
        report += &format!("{:>8.1} s  {name}\n", begun.elapsed().as_secs_f64());
        if let Err(error) = result {
            eprint!("{report}");
            return Err(error);
        }
    }
    eprint!("{report}");
    Ok(())
}

fn formatting() -> Result<(), String> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for manifest in ["benches/rust_peers/Cargo.toml", "tests/fuzz/Cargo.toml", "crates/cnn-cpu/loom/Cargo.toml"] {
        run(&mut cargo(&["fmt", "--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

fn clippy() -> Result<(), String> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// The library of somebody who wants no program.
fn clippy_of_the_library() -> Result<(), String> {
    let bare = ["-p", "cnn", "--no-default-features", "--features", "cpu"];
    run(cargo(&["clippy"]).args(bare).args(["--", "-D", "warnings"]))
}

/// The program as it is built by default; in the whole workspace it has GPUs, as `cnn-tests` asks for that.
fn clippy_without_gpus() -> Result<(), String> {
    run(&mut cargo(&["clippy", "-p", "cnn", "--all-targets", "--", "-D", "warnings"]))
}

/// Unit, integration and doc tests.
fn tests() -> Result<(), String> {
    run(&mut cargo(&["test", "--workspace"]))
}

/// What the program says as it is built by default: for a release, as the examples have just been.
fn tests_without_gpus() -> Result<(), String> {
    run(&mut cargo(&["test", "--release", "-p", "cnn", "--test", "cli", "without_gpus"]))
}

fn documentation() -> Result<(), String> {
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// What `deny.toml` says of licences, registries and crates that are there twice.
fn licences() -> Result<(), String> {
    output(&mut cargo(&["deny", "--version"]))
        .map_err(|error| format!("{error}\ncargo-deny is missing: cargo install --locked cargo-deny"))?;
    run(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))
}

/// How many crates there are, and that the library alone does not pull in what only the program needs.
fn dependencies() -> Result<(), String> {
    let tree = |features: &[&str]| {
        let arguments = ["tree", "-p", "cnn", "-e", "normal", "--prefix", "none", "--no-dedupe"];
        output(cargo(&arguments).args(features))
    };
    let crates = tree(&[])?.lines().map(str::to_owned).collect::<BTreeSet<_>>().len();
    eprintln!("the program is built from {crates} crates");
    if crates > MAX_CRATES {
        return Err(format!("{crates} crates: must be at most {MAX_CRATES}"));
    }
    let bare = tree(&["--no-default-features", "--features", "cpu"])?;
    for unwanted in ["clap ", "indicatif ", "ureq "] {
        if bare.lines().any(|line| line.starts_with(unwanted)) {
            return Err(format!("{unwanted}is a dependency of the library without the feature that needs it"));
        }
    }
    Ok(())
}

/// The examples, as a user would run them: one trains, one classifies with what it left, one brings its own network.
fn examples() -> Result<(), String> {
    let place = std::env::temp_dir().join(format!("cnn-examples-{}", std::process::id()));
    let (folder, image) = (place.join("run"), root().join("crates/cnn/tests/images/star.png"));
    let result = (|| {
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        run(cargo(&["run", "--release", "-p", "cnn", "--example", "train", "--"]).arg(&folder))?;
        run(cargo(&["run", "--release", "-p", "cnn", "--example", "classify", "--"])
            .arg(folder.join("model.safetensors"))
            .arg(&image))?;
        run(cargo(&["run", "--release", "-p", "cnn", "--example", "own_network", "--"]).arg(place.join("own")))
    })();
    let _ = fs::remove_dir_all(&place);
    result
}
