//! `cargo xtask check`: everything that CI runs, cheapest first.

use std::collections::BTreeSet;
use std::fs;

use crate::circles::circles;
use crate::run::{cargo, output, root, run};

/// The most crates that the program may be built from, itself included.
const MAX_CRATES: usize = 120;

pub(crate) fn check(arguments: &[String]) -> Result<(), String> {
    if let Some(argument) = arguments.first() {
        return Err(format!("{argument}: check takes no arguments"));
    }
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["fmt", "--check", "--manifest-path", "benches/rust_peers/Cargo.toml"]))?;
    circles()?;
    dependencies()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // The library of somebody who wants no program.
    let bare = ["-p", "cnn", "--no-default-features", "--features", "cpu"];
    run(cargo(&["clippy"]).args(bare).args(["--", "-D", "warnings"]))?;
    // Unit, integration and doc tests.
    run(&mut cargo(&["test", "--workspace"]))?;
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    examples()
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

/// Both examples, as a user would run them: the one trains, the other classifies with what it left.
fn examples() -> Result<(), String> {
    let place = std::env::temp_dir().join(format!("cnn-examples-{}", std::process::id()));
    let (folder, image) = (place.join("run"), root().join("crates/cnn/tests/images/star.png"));
    let result = (|| {
        fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
        run(cargo(&["run", "--release", "-p", "cnn", "--example", "train", "--"]).arg(&folder))?;
        run(cargo(&["run", "--release", "-p", "cnn", "--example", "classify", "--"])
            .arg(folder.join("model.safetensors"))
            .arg(&image))
    })();
    let _ = fs::remove_dir_all(&place);
    result
}
