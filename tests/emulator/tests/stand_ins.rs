//! The stand-ins do what CUDA's libraries do, and what they should not forgive they do not: a program in C++ that is
//! linked with them has the cases, each in a process of its own, as a lost device is lost for good.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// The program of cases, or `None` where there is no C++ compiler.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    let libraries = match cnn_emulator::folder() {
        Ok(folder) => folder,
        Err(missing) => {
            eprintln!("SKIPPED: {missing}");
            return None;
        }
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("stand_ins");
    let sources = fs::read_dir(Path::new(HERE).join("programs")).unwrap().map(|entry| entry.unwrap().path());
    let output = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned()))
        .args(["-std=c++17", "-O0", "-Wall", "-Wextra", "-pthread"])
        .arg(format!("-DKERNELS=\"{HERE}/kernels\""))
        .args(sources.filter(|path| path.extension().is_some_and(|extension| extension == "cpp")))
        .args(["libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13"].map(|name| libraries.join(name)))
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

struct Answer {
    passed: bool,
    text: String,
}

/// Runs a case with some of the emulator's environment variables; `None` if it cannot be run here.
fn run(case: &str, variables: &[(&str, &str)]) -> Option<Answer> {
    let mut command = Command::new(program()?);
    for variable in ["ORDER", "STREAMS", "CAPABILITY", "GPUS", "LOST", "MEMORY", "PATCH"] {
        command.env_remove(format!("EMULATOR_{variable}"));
    }
    let output = command.arg(case).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // A process that was killed by a signal has no exit status.
    let code = output.status.code().unwrap_or_else(|| panic!("{case}: {}: {text}", output.status));
    assert!(code < 2, "{case}: {text}");
    Some(Answer { passed: code == 0, text })
}

fn passes_with(case: &str, variables: &[(&str, &str)]) {
    if let Some(answer) = run(case, variables) {
        assert!(answer.passed, "{case}: {}", answer.text);
    }
}

fn passes(case: &str) {
    passes_with(case, &[]);
}

/// The case passes, whose kernel is at fault, and the line about that has `words`.
fn reports(case: &str, words: &str) {
    if let Some(answer) = run(case, &[]) {
        assert!(answer.passed, "{case}: {}", answer.text);
        let lines: Vec<_> = answer.text.lines().filter(|line| line.starts_with("emulated GPU: kernel ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(words), "{case}: {}", answer.text);
    }
}

/// The case, one of those that pass as they are, does not once `from` is `to` in its kernels; what the program says.
fn fails_with(case: &str, kernels: &str, from: &str, to: &str, order: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let patch = folder.path().join("patch");
    fs::write(&patch, format!("{kernels}.cu\t{from}\t{to}\n")).unwrap();
    let answer = run(case, &[("EMULATOR_PATCH", patch.to_str().unwrap()), ("EMULATOR_ORDER", order)])?;
    assert!(!answer.passed && !answer.text.contains("EMULATOR_PATCH"), "{case} with {to:?}: {}", answer.text);
    Some(answer.text)
}

/// A missing barrier is a race, in an order that would hide it as well.
fn races_without(case: &str, kernels: &str, barrier: &str, order: &str) {
    if let Some(text) = fails_with(case, kernels, barrier, "", order) {
        assert!(text.contains("race: thread "), "{case} without {barrier}: {text}");
    }
}

macro_rules! pass {
    ($($case:ident)*) => { $(#[test] fn $case() { passes(stringify!($case)); })* };
}

pass! { tensor_core_bf16 tensor_core_tf32 contexts memory launch_limits compiler threads graph capture_rules events cublaslt read_in_the_guard }

#[test]
fn small_memory() {
    passes_with("small_memory", &[("EMULATOR_MEMORY", "1000")]);
}

#[test]
fn no_gpu() {
    passes_with("no_gpu", &[("EMULATOR_GPUS", "0")]);
}

#[test]
fn a_device_that_is_lost() {
    passes_with("lost", &[("EMULATOR_LOST", "1")]);
}

#[test]
fn kernels_with_their_barriers_give_the_same_in_every_order() {
    for order in ["ascending", "descending", "interleaved", "random:2"] {
        for case in ["matmul", "warp", "pipeline", "neighbours"] {
            passes_with(case, &[("EMULATOR_ORDER", order)]);
        }
    }
}

#[test]
fn missing_barriers() {
    races_without("matmul", "matmul", "__syncthreads();  // tiles are full", "random:1");
    races_without("matmul", "matmul", "__syncthreads();  // tiles were read", "random:1");
    races_without("neighbours", "neighbours", "__syncthreads();  // for the next", "descending");
    races_without("neighbours", "neighbours", "__syncthreads();  // for the previous", "ascending");
    races_without("neighbours", "neighbours", "__syncthreads();  // for all", "ascending");
    races_without("neighbours", "neighbours", "__syncthreads();  // for words", "random:1");
    races_without("pipeline", "pipeline", "__syncthreads();", "random:1");
    races_without("tensor_core_bf16", "tensor_core", "__syncwarp();", "random:1");
}

#[test]
fn a_stage_too_few_waited_for() {
    let wait = "copy_async_wait<STAGES - 2>();";
    fails_with("pipeline", "pipeline", wait, "copy_async_wait<STAGES - 1>();", "random:1");
    fails_with("pipeline", "pipeline", wait, "", "random:1");
}

#[test]
fn tf32_that_was_not_rounded() {
    fails_with("tensor_core_tf32", "tensor_core", "to_tf32(", "__float_as_uint(", "random:1");
}

#[test]
fn a_patch_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let patch = folder.path().join("patch");
    fs::write(&patch, "matmul.cu\tno such text\t\n").unwrap();
    if let Some(answer) = run("matmul", &[("EMULATOR_PATCH", patch.to_str().unwrap())]) {
        assert!(!answer.passed && answer.text.contains("does not occur in matmul.cu: no such text"), "{}", answer.text);
    }
}

#[test]
fn barriers_that_not_all_come_to() {
    reports("conditional_barrier", "left the kernel");
    reports("two_barriers", "divergent barrier: the thread waits at faults.cu:");
    reports("early_return", "left the kernel");
    reports("deadlock", "deadlock: no thread can go on");
    reports("divergent_shuffle", "divergent warp");
    reports("partial_mask", "__shfl_sync of the lanes 0xffff: must be of all");
}

#[test]
fn accesses_outside_of_memory() {
    reports("read_behind", "bytes behind the end of an allocation of 512 bytes");
    reports("write_behind", "bytes behind the end of an allocation of 512 bytes");
    reports("write_before", "bytes before the begin of an allocation of 512 bytes");
    reports("write_in_the_guard", "0 bytes behind the end of an allocation of 132 bytes was written to");
    reports("null_pointer", "far from any allocation");
    reports("use_after_free", "CUDA_ERROR_ILLEGAL_ADDRESS");
    reports("shared_overflow", "behind the end of shared memory");
    reports("shared_overflow_by_a_few", "behind the end of its dynamic shared memory");
    reports("copy_to_global", "must be in shared memory");
    reports("deep_stack", "do not fit into the emulated stack");
}

#[test]
fn accesses_that_are_not_aligned() {
    reports("misaligned_vector", "not aligned");
    reports("misaligned_pair", "not aligned");
    reports("misaligned_copy", "must be aligned to its size");
    reports("misaligned_ldmatrix", "must be aligned to 16 bytes");
}

/// In some order of two streams each missing wait shows.
#[test]
fn streams_that_do_not_wait() {
    for streams in ["at_once", "late", "late:0", "late:1"] {
        let variables = [("EMULATOR_STREAMS", streams)];
        passes_with("streams_that_wait", &variables);
        let fails = |case: &str, in_which: &[&str]| {
            if let Some(answer) = run(case, &variables) {
                assert_eq!(answer.passed, !in_which.contains(&streams), "{case} with {streams}: {}", answer.text);
            }
        };
        fails("work_that_does_not_wait", &["late", "late:1"]);
        fails("a_copy_that_does_not_wait", &["late:0"]);
        fails("staged_numbers_that_are_changed_too_early", &["late", "late:1"]);
        fails("an_event_to_come", &["at_once", "late:0"]);
    }
}

#[test]
fn a_trap() {
    reports("trap", "thread (3, 0, 0): CUDA_ERROR_LAUNCH_FAILED: ");
}
