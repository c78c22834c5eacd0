//! Every kernel by NVIDIA's own compiler, for every architecture, on a machine that need have no GPU: it compiles, keeps its
//! numbers in registers, and convolutions are made of the instructions that they are meant to be made of.
//!
//! `cargo xtask kernels` fetches the compiler and the disassembler and runs this; without them it is skipped. CNN_ARCHITECTURES names
//! some of the architectures, where not all of them are to be tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use cnn_cuda::compiler::{Compiled, Precision, Source, compile};
use cnn_cuda::{KERNELS, libraries};

const ARCHITECTURES: [&str; 6] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

/// With products by warpgroups, which compute capability 9.0 alone has.
const WARPGROUPS: &str = "sm_90a";
/// What has products; of these the last two read pixels from shared memory into registers.
const PRODUCTS: [&str; 6] =
    ["conv2d_forward", "conv2d_data", "conv2d_weight", "conv2d_stem", "conv2d_halo", "conv2d_halo_weight"];

/// What is for tensor cores alone, and for bf16 alone: no kernel is left of it otherwise.
fn is_empty(source: Source, precision: Precision) -> bool {
    match source.name {
        "conv2d_halo" => precision == Precision::F32,
        "conv2d_halo_weight" => precision != Precision::Bf16,
        _ => false,
    }
}

/// Bytes that a kernel may spill. These fetch element by element, which is slower by far more than that.
const SPILLS: &[(&str, usize)] = &[("forward_any", 16), ("norm_forward_any", 16)];

/// A kernel as the assembler reports it.
#[derive(Debug, Default)]
struct Report {
    name: String,
    registers: usize,
    spilled: usize,
}

fn reports(log: &str) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    let before = |line: &str, what: &str| -> usize {
        let head = line.split(what).next().unwrap_or_default();
        head.split_whitespace().last().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    };
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default().to_owned();
            reports.push(Report { name, ..Report::default() });
        } else if let (Some(report), true) = (reports.last_mut(), line.contains(" bytes spill stores")) {
            report.spilled = before(line, " bytes spill stores") + before(line, " bytes spill loads");
        } else if let (Some(report), true) = (reports.last_mut(), line.contains(" registers")) {
            report.registers = before(line, " registers");
        }
    }
    reports
}

/// The instructions of each kernel, by name.
fn disassembled(tool: &Path, compiled: &Compiled) -> Vec<(String, String)> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &compiled.cubin).unwrap();
    let output =
        Command::new(tool).arg("-c").arg(file.path()).output().unwrap_or_else(|e| panic!("{}: {e}", tool.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let section = |part: &str| {
        let (name, instructions) = part.split_once(|c: char| !c.is_alphanumeric() && c != '_')?;
        Some((name.to_owned(), instructions.to_owned()))
    };
    text.split(".section\t.text.").skip(1).filter_map(section).collect()
}

/// What is wrong with a file's kernels.
fn faults(source: Source, precision: Precision, architecture: &str, disassembler: &Path) -> Vec<String> {
    let compiled = match compile(source, precision, architecture) {
        Ok(compiled) => compiled,
        Err(error) => return vec![error.to_string()],
    };
    let mut faults = Vec::new();
    let reports = reports(&compiled.log);
    if is_empty(source, precision) {
        assert!(reports.is_empty(), "{} in {precision}: {reports:?}", source.name);
        return faults;
    }
    let mut fault = |kernel: &str, what: String| {
        faults.push(format!("{kernel} of {}, {precision}, {architecture}: {what}", source.name))
    };
    assert!(!reports.is_empty(), "the compiler reports nothing: {}", compiled.log);
    for Report { name, registers, spilled } in &reports {
        let allowed = SPILLS.iter().find_map(|(kernel, bytes)| (kernel == name).then_some(*bytes)).unwrap_or(0);
        if *spilled > allowed {
            fault(name, format!("{spilled} bytes spilled, {registers} registers"));
        }
        println!(
            "{:>16} {precision:>4} {architecture:>6} {name:<24} {registers:>3} registers, {spilled} bytes spilled",
            source.name
        );
    }
    if compiled.log.contains("Potential Performance Loss") {
        fault("", format!("the assembler warns: {}", compiled.log));
    }
    if PRODUCTS.contains(&source.name) {
        let kernels = disassembled(disassembler, &compiled);
        assert_eq!(kernels.len(), reports.len(), "every kernel is disassembled");
        for (name, instructions) in &kernels {
            let multiplies: &[&str] = match precision {
                Precision::Bf16 if architecture == WARPGROUPS && name.starts_with("halo") => &["HGMMA.64x", "LDSM."],
                Precision::Bf16 if architecture == WARPGROUPS => &["HGMMA.64x"],
                Precision::Bf16 => &["HMMA.16816.F32.BF16", "LDSM."],
                Precision::Tf32 => &["HMMA.1688.F32.TF32"],
                Precision::F32 => &["FFMA "],
            };
            let copies: &[&str] = if name.ends_with("_any") { &[] } else { &["LDGSTS."] };
            for wanted in multiplies.iter().chain(copies) {
                if !instructions.contains(wanted) {
                    fault(name, format!("has no {wanted}"));
                }
            }
            for unwanted in ["LDL", "STL"] {
                if instructions.contains(&format!(" {unwanted}")) && !SPILLS.iter().any(|(kernel, _)| kernel == name) {
                    fault(name, format!("has {unwanted}: local memory"));
                }
            }
        }
    }
    faults
}

#[test]
fn kernels_compile_for_every_architecture_without_spills() {
    let Some(root) = std::env::var_os("CNN_NVRTC").map(PathBuf::from) else {
        println!(
            "SKIPPED: CNN_NVRTC does not name a folder with NVRTC and nvdisasm; `cargo xtask kernels` fetches them"
        );
        return;
    };
    libraries::look_first_in(root.join("lib")).unwrap();
    let disassembler = root.join("bin").join("nvdisasm");
    let few = std::env::var("CNN_ARCHITECTURES").unwrap_or_default();
    let few: Vec<&str> = few.split(',').filter(|name| !name.is_empty()).collect();
    let unknown = few.iter().find(|name| !ARCHITECTURES.contains(name));
    assert!(unknown.is_none(), "CNN_ARCHITECTURES: {unknown:?} is none of {ARCHITECTURES:?}");
    let asked = if few.is_empty() { &ARCHITECTURES[..] } else { &few };
    let jobs: Vec<_> = KERNELS
        .iter()
        .flat_map(|&source| Precision::ALL.map(|precision| (source, precision)))
        .flat_map(|(source, precision)| {
            // As a GPU of this capability is given them.
            let by_warpgroups = PRODUCTS.contains(&source.name) && precision == Precision::Bf16;
            let given = move |name| if name == "sm_90" && by_warpgroups { WARPGROUPS } else { name };
            asked.iter().map(move |&name| (source, precision, given(name)))
        })
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut all = Vec::new();
        while let Some(&(source, precision, architecture)) =
            jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            all.extend(faults(source, precision, architecture, &disassembler));
        }
        all
    };
    let faults: Vec<String> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
