//! What `cargo xtask check --deep` runs besides: many more cases, sanitizers, models of the worker protocol, fuzzing.
//!
//! It needs a nightly toolchain and cargo-fuzz, and some half an hour.

use crate::fuzz::{self, TARGETS};
use crate::run::{Step, cargo, nightly, run};

pub(crate) const DEEP: [Step; 4] = [
    ("a thousand cases of every property", properties),
    ("AddressSanitizer over the CPU backend, each instruction set", address_sanitizer),
    ("loom over the worker protocol", loom),
    ("a minute of libfuzzer for each parser", fuzzing),
];

fn properties() -> Result<(), String> {
    run(cargo(&["test", "-p", "cnn-tests", "-p", "cnn-cpu"]).env("CNN_TEST_CASES", "1000"))
}

fn address_sanitizer() -> Result<(), String> {
    // A target that is named keeps the flags away from build scripts and procedural macros.
    let target = ["--target", "x86_64-unknown-linux-gnu", "--target-dir", "target/asan"];
    let test = |what: &[&str], isa: &str| {
        let mut command = nightly(&["test"]);
        command.args(target).args(what).env("RUSTFLAGS", "-Zsanitizer=address").env("CNN_ISA", isa);
        run(&mut command)
    };
    for isa in ["portable", "avx2", "avx512"] {
        test(&["-p", "cnn-cpu", "--lib", "--tests"], isa)?;
    }
    // This suite takes every instruction set by itself.
    test(&["-p", "cnn-tests", "--test", "suite", "conformance"], "avx512bf16")
}

/// The protocol is built alone, as the kernels would take minutes.
fn loom() -> Result<(), String> {
    let place = ["--manifest-path", "crates/cnn-cpu/loom/Cargo.toml", "--target-dir", "target/loom"];
    run(cargo(&["test", "--release"]).args(place))
}

fn fuzzing() -> Result<(), String> {
    TARGETS.into_iter().try_for_each(|target| fuzz::target_for(target, 60))
}
