//! An emulated NVIDIA GPU, for tests on machines without one.
//!
//! [`folder`] is a folder with stand-ins for `libcuda.so.1`, `libnvrtc.so.13` and `libcublasLt.so.13`, built by the
//! system's C++ compiler. A program that opens them in the place of the real ones runs unchanged: its kernels, from the
//! very sources that a GPU's are compiled from, become machine code of the CPU, a fiber for each thread. It is slow, and
//! strict where a GPU is forgiving or undefined:
//!
//! - memory of the device and of a block is NaN until it is written, and lies between pages that cannot be touched;
//! - asynchronous copies land when they are waited for and not before;
//! - threads run in an order that is random and the same in every run, each warp as far ahead of others as it can be;
//! - two threads that access one byte of shared memory, one of them to write, have a barrier between them (in a warp,
//!   `__syncwarp`; a shuffle is none), whether or not that shows in the result;
//! - all threads come to a barrier, all lanes to a warp-wide operation, on the same line;
//! - accesses are aligned.
//!
//! What breaks these rules, or lets no thread go on, ends the launch: later calls return the error that a GPU would
//! give, and one line on the standard error says which kernel, block and thread, and what was wrong.
//!
//! What it does not show: races in global memory within a launch but for their results, registers and speed. It
//! is tested with GCC.
//!
//! A kernel is found as a line of a source, not of a header, that begins `KERNEL(threads) name(`.
//!
//! # Environment variables of a program that uses it
//!
//! | variable | meaning |
//! | --- | --- |
//! | `EMULATOR_ORDER` | order of threads: `random:SEED` (default, seed 1), `ascending`, `descending`, `interleaved` |
//! | `EMULATOR_STREAMS` | when a stream does its work: `at_once` (default), `late` (when somebody waits for it), `late:N` (late in the N-th that is created, from 0) |
//! | `EMULATOR_CAPABILITY` | compute capability, `90` by default |
//! | `EMULATOR_GPUS` | `0`: the driver finds no GPU |
//! | `EMULATOR_LOST` | the device is lost at the kernel of this number, from 0, as by a fault of its memory |
//! | `EMULATOR_MEMORY` | bytes of the device's memory, 8 GiB by default |
//! | `EMULATOR_CUBLASLT` | `no-algorithm`: cuBLASLt knows none for any product; `does-not-start` |
//! | `EMULATOR_PATCH` | a file of lines `NAME<TAB>FROM<TAB>TO`: faults that tests plant into sources and headers |
//!
//! Compiled kernels depend on `EMULATOR_PATCH`, so a program's own cache of them must be another one for each.

mod build;
mod sources;

use std::fmt::{Display, Formatter};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Why there is no emulated device here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(String);

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The folder of the stand-ins, built by the first call on this machine (some seconds) and kept in cargo's target
/// folder. Any number of threads and processes may call it.
///
/// # Errors
/// Another system than Linux on a 64-bit processor, no C++ compiler (`CXX`, or else `c++`), or what that says.
pub fn folder() -> Result<PathBuf, Missing> {
    static BUILT: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    BUILT.get_or_init(build::folder).clone()
}
