//! `cargo xtask fuzz NAME SECONDS`: one parser under libfuzzer and AddressSanitizer.
//!
//! The targets are in `tests/fuzz`, a workspace of its own. What a run finds worth keeping is in `tests/fuzz/corpus`,
//! which starts from the files in `tests/fuzz/seeds`; an input that breaks a parser is left in `tests/fuzz/artifacts`.

use std::fs;

use crate::run::{nightly, output, root, run};

/// Memory that a parser may take, in MiB; what it refuses must be refused for less.
const MEMORY: u32 = 2048;
/// Seconds that an input may take.
const PATIENCE: u32 = 20;

pub(crate) const TARGETS: [&str; 8] =
    ["safetensors", "pytorch", "recipe", "cifar", "idx", "archive", "picture", "labels"];

pub(crate) fn fuzz(arguments: &[String]) -> Result<(), String> {
    let (name, seconds) = match arguments {
        [name, seconds] => (name.as_str(), seconds),
        _ => return Err(format!("fuzz takes NAME (all, {}) and SECONDS", TARGETS.join(", "))),
    };
    let seconds: u32 = seconds.parse().map_err(|_| format!("seconds {seconds:?}: must be a whole number"))?;
    if name == "all" {
        return TARGETS.into_iter().try_for_each(|target| target_for(target, seconds));
    }
    match TARGETS.into_iter().find(|target| *target == name) {
        Some(target) => target_for(target, seconds),
        None => Err(format!("fuzz target {name:?}: must be all or one of {}", TARGETS.join(", "))),
    }
}

/// Fuzzes one target for so long.
pub(crate) fn target_for(target: &str, seconds: u32) -> Result<(), String> {
    output(&mut nightly(&["fuzz", "--version"])).map_err(|error| {
        format!("{error}\nfuzzing needs a nightly toolchain and cargo-fuzz: cargo install --locked cargo-fuzz")
    })?;
    let fuzz = root().join("tests/fuzz");
    let corpus = fuzz.join("corpus").join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let mut command = nightly(&["fuzz", "run", target]);
    command.arg("--fuzz-dir").arg(&fuzz).arg(&corpus).arg(fuzz.join("seeds").join(target));
    command.args(["--", "-print_final_stats=1", "-verbosity=0"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.args([format!("-rss_limit_mb={MEMORY}"), format!("-timeout={PATIENCE}")]);
    run(&mut command)
}
