//! What `cargo xtask check --deep` runs besides: many more cases, sanitizers, models of the worker protocol, fuzzing.
//!
//! It needs a nightly toolchain and cargo-fuzz, and some half an hour.

use crate::fuzz::{self, TARGETS};
use crate::kernels::kernels;
use crate::run::{Step, cargo, nightly, run};

pub(crate) const DEEP: [Step; 6] = [
    ("tests that take long", long_tests),
    ("a thousand cases of every property", properties),
    ("CUDA kernels for every architecture", kernels),
    ("AddressSanitizer over the CPU backend, each instruction set", address_sanitizer),
    ("loom over the worker protocol", loom),
    ("a minute of libfuzzer for each parser", fuzzing),
];

fn long_tests() -> Result<(), String> {
    run(&mut cargo(&["test", "--workspace", "--", "--ignored"]))
}

fn properties() -> Result<(), String> {
    run(cargo(&["test", "-p", "cnn-tests", "-p", "cnn-cpu"]).env("CNN_TEST_CASES", "1000"))
}

fn address_sanitizer() -> Result<(), String> {
    // A target that is named keeps the flags away from build scripts and procedural macros.
    let target = ["--target", "x86_64-unknown-linux-gnu", "--target-dir", "target/asan"];
    // With the sanitizer the kernels are slow to build, and slower with all optimisations.
    let quick = ["--config", "profile.dev.package.cnn-cpu.opt-level=1"];
    let test = |what: &[&str], isa: &str| {
        let mut command = nightly(&["test"]);
        command.args(quick).args(target).args(what).env("RUSTFLAGS", "-Zsanitizer=address").env("CNN_ISA", isa);
        // Tests ask for more memory than there can be, and for an error.
        command.env("ASAN_OPTIONS", "allocator_may_return_null=1");
        run(&mut command)
    };
    for isa in instruction_sets() {
        // But for the count of allocations, among which the sanitizer has its own.
        test(&["-p", "cnn-cpu", "--lib", "--test", "conv2d", "--test", "values", "--test", "refused"], isa)?;
    }
    // This suite takes every instruction set by itself.
    test(&["-p", "cnn-tests", "--test", "suite", "conformance"], "amx")
}

/// Those that this CPU has: to cap it at another one would test a narrower one again.
fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let wider = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")),
        ("avx512", std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bw")),
        // Whether the system lets a process use tiles is for the backend to ask: where it does not, this is the one before.
        ("amx", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let wider = [("avx2", false), ("avx512", false), ("amx", false)];
    let (has, lacks): (Vec<_>, Vec<_>) = wider.into_iter().partition(|(_, found)| *found);
    lacks.iter().for_each(|(isa, _)| println!("SKIPPED {isa}: this CPU does not have it"));
    ["portable"].into_iter().chain(has.into_iter().map(|(isa, _)| isa)).collect()
}

/// The protocol is built alone, as the kernels would take minutes.
fn loom() -> Result<(), String> {
    let place = ["--manifest-path", "crates/cnn-cpu/loom/Cargo.toml", "--target-dir", "target/loom"];
    run(cargo(&["test", "--release"]).args(place))
}

fn fuzzing() -> Result<(), String> {
    TARGETS.into_iter().try_for_each(|target| fuzz::target_for(target, 60))
}
