//! The peers in their best configurations; what measures them is `benches/peers`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cnn_measure::kernels::convolution_name;
use cnn_measure::{Area, Row, Setting};

use crate::contender::{Contender, Measured, Role, measure};
use crate::on::On;
use crate::setup::Setup;

/// An allocator of glibc that keeps its memory, on huge pages: PyTorch's best case.
const TUNED: [(&str, &str); 4] = [
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "100000000000"),
    ("MALLOC_TOP_PAD_", "268435456"),
    ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
];

/// The instruction sets that `CNN_ISA` can cap this workspace at, and what says the same to oneDNN (which OpenVINO has
/// too), to PyTorch's own kernels, compiled ones among them, and to MKL.
const CAPS: [(&str, [(&str, &str); 3]); 2] = [
    ("avx2", [("ONEDNN_MAX_CPU_ISA", "AVX2"), ("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_ENABLE_INSTRUCTIONS", "AVX2")]),
    (
        "portable",
        [("ONEDNN_MAX_CPU_ISA", "SSE41"), ("ATEN_CPU_CAPABILITY", "default"), ("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")],
    ),
];

fn cap() -> Option<(&'static str, [(&'static str, &'static str); 3])> {
    let asked = std::env::var("CNN_ISA").ok()?;
    CAPS.into_iter().find(|(name, _)| *name == asked)
}

/// The name of the cap for tables, `best` without one.
pub(crate) fn isa() -> &'static str {
    cap().map_or("best", |(name, _)| name)
}

/// A script of `benches/peers`, its instruction set capped as ours is.
fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg("-B").arg(scripts().join(name));
    command.envs(cap().into_iter().flat_map(|(_, limits)| limits));
    command
}

/// Where the scripts are: beside this program where it was packed with them, or else in the sources.
fn scripts() -> PathBuf {
    let packed = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("peers")));
    packed.filter(|folder| folder.is_dir()).unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers"))
}

/// Where the other engines are.
#[derive(Debug)]
pub(crate) struct Peers {
    /// A Python that has `benches/peers/requirements.txt`.
    pub(crate) python: PathBuf,
    /// The program of `benches/rust_peers`, if Rust's other frameworks are wanted.
    pub(crate) rust: Option<PathBuf>,
}

/// Builds Rust's other frameworks for this very machine, which is more than ours asks of its users.
pub(crate) fn build_rust() -> Result<PathBuf, String> {
    let benches = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let (manifest, target) = (benches.join("rust_peers/Cargo.toml"), benches.join("../target/rust_peers"));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(&target).env("RUSTFLAGS", "-C target-cpu=native");
    match command.status() {
        Ok(status) if status.success() => Ok(target.join("release").join("cnn-rust-peers")),
        Ok(status) => Err(format!("building benches/rust_peers: {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// Everyone whom a network of ours is held against. An ONNX file goes into `folder`.
pub(crate) fn networks(peers: &Peers, setup: &Setup, folder: &Path) -> Vec<Contender> {
    let python = &peers.python;
    let mut contenders = Vec::new();
    let mut pytorch = |mode: &str, layout: &str, tuned: bool| {
        let mut command = script(python, "pytorch.py");
        command.arg(setup.area.to_string()).args(arguments(setup)).args(["--precision", &setup.precision]);
        command.args(["--layout", layout, "--mode", mode, "--device", &setup.on.to_string()]);
        if tuned {
            command.envs(TUNED);
        }
        let how = if tuned {
            ", tuned allocator"
        } else if is_tf32(setup) {
            ", tf32"
        } else {
            ""
        };
        let config = format!("{mode} {layout}{how}");
        let role = if setup.area == Area::Train && !tuned { Role::MemoryPeer } else { Role::Peer };
        contenders.push(Contender { setting: setup.setting("pytorch", &config, isa()), role, command });
    };
    if setup.on == On::Cuda {
        // Compiled without graphs it waits for the host, as it does when it is eager.
        ["eager", "graphs"].iter().for_each(|mode| pytorch(mode, "nhwc", false));
        return contenders;
    }
    let layouts = if setup.precision == "bf16" { &["nhwc"][..] } else { &["nhwc", "nchw"] };
    // Of the zoo there are many, and compiling each takes a minute.
    let modes: &[&str] = match (setup.area, setup.side) {
        (Area::Train, 32) => &["eager", "compile"],
        (Area::Train, _) => &["eager"],
        (_, 32) => &["compile", "freeze"],
        _ => &["freeze"],
    };
    for layout in layouts {
        modes.iter().for_each(|mode| pytorch(mode, layout, true));
    }
    if setup.area == Area::Train {
        pytorch("eager", "nhwc", false);
        return contenders;
    }
    let onnx = folder.join(format!("{}.onnx", setup.model));
    let mut runtime = |engine: &str, config: &str, isa: &str, role: Role| {
        let mut command = script(python, "runtimes.py");
        command.arg(engine).args(arguments(setup)).args(["--precision", &setup.precision]);
        command.arg("--onnx").arg(&onnx).args(["--side", &setup.side.to_string()]);
        contenders.push(Contender { setting: setup.setting(engine, config, isa), role, command });
    };
    // It has no convolution in bf16 for a CPU.
    if setup.precision == "f32" {
        match cap() {
            Some((cap, _)) => {
                runtime("onnxruntime", &format!("no option to limit it to {cap}"), "best", Role::Unlimited);
            }
            None => runtime("onnxruntime", "defaults", isa(), Role::Peer),
        }
    }
    runtime("openvino", "latency", isa(), Role::Peer);
    // They have the two networks of 32x32 pixels.
    if let Some(program) = peers.rust.as_ref().filter(|_| setup.precision == "f32" && setup.side == 32) {
        // Nothing limits their instruction set. tract reads the file that onnxruntime has exported before it.
        let role = if cap().is_some() { Role::Unlimited } else { Role::Peer };
        for engine in ["tract", "burn", "candle"] {
            let mut command = Command::new(program);
            command.arg(engine).args(arguments(setup)).arg("--onnx").arg(&onnx);
            contenders.push(Contender { setting: setup.setting(engine, "frozen", "best"), role, command });
        }
    }
    contenders
}

/// What PyTorch calls f32 on a GPU has tf32's 10 bits in its convolutions, by default.
fn is_tf32(setup: &Setup) -> bool {
    setup.on == On::Cuda && setup.precision == "f32"
}

fn arguments(setup: &Setup) -> [String; 6] {
    let Setup { model, batch, threads, .. } = setup;
    ["--model", model, "--batch", &batch.to_string(), "--threads", &threads.to_string()].map(str::to_owned)
}

/// PyTorch's convolutions, one by one.
pub(crate) fn layers(python: &Path, setup: &Setup, convolutions: &[[usize; 5]]) -> Result<Vec<Row>, String> {
    let Setup { batch, threads, precision, on, .. } = setup;
    let mut command = script(python, "pytorch.py");
    command.args(["layers", "--batch", &batch.to_string(), "--threads", &threads.to_string()]);
    command.args(["--precision", precision, "--device", &on.to_string()]).envs(TUNED);
    for &shape in convolutions {
        command.arg("--convolution").arg(convolution_name(shape)).args(shape.map(|number| number.to_string()));
    }
    let row = |measured: Measured| {
        let setting = Setting {
            config: measured.config.ok_or("a result without its layer")?,
            ..setup.setting(if is_tf32(setup) { "pytorch, tf32" } else { "pytorch" }, "", isa())
        };
        Ok(Row::new(setting, Duration::from_secs_f64(1e-3 * measured.median_ms)))
    };
    measure(&mut command)?.into_iter().map(row).collect()
}

/// PyTorch's convolutions, each when it is asked for.
pub(crate) fn sweep(python: &Path, setup: &Setup) -> Command {
    let mut command = script(python, "pytorch.py");
    command.args(["sweep", "--threads", &setup.threads.to_string(), "--precision", &setup.precision]);
    command.args(["--device", &setup.on.to_string()]).envs(TUNED);
    command
}
