//! An emulated NVIDIA GPU, for tests on machines without one.
//!
//! [`folder`] is a folder with stand-ins for `libcuda.so.1`, `libnvrtc.so.13` and `libcublasLt.so.13`, built by the
//! system's C++ compiler. A program that opens them in the real ones' place runs unchanged: its kernels, from the very
//! sources that a GPU's are compiled from, become machine code of the CPU, a fiber for each CUDA thread. It is slow, and
//! strict where a GPU is forgiving or undefined:
//!
//! - memory of the device and of a block is NaN until it is written, and lies between pages that cannot be touched;
//! - asynchronous copies land when they are waited for and not before;
//! - threads run in an order that is random and the same in every run, each warp as far ahead of others as it can be;
//! - barriers and warp-wide operations that not all threads come to, accesses that are not aligned, a kernel that no thread
//!   of can go on: all end the launch with the error that a GPU would give, and one line on the standard error that says
//!   where.
//!
//! What it does not show: two streams that should wait for each other and do not (each runs its work at once), work of the
//! host that comes too early, registers and speed.
//!
//! # Environment variables of a program that uses it
//!
//! | variable | meaning |
//! | --- | --- |
//! | `EMULATOR_ORDER` | order of threads: `random:SEED` (default, seed 1), `ascending`, `descending`, `interleaved` |
//! | `EMULATOR_CAPABILITY` | compute capability, `90` by default |
//! | `EMULATOR_MEMORY` | bytes of the device's memory, 8 GiB by default |
//! | `EMULATOR_PATCH` | a file of lines `NAME<TAB>FROM<TAB>TO`, replacements in sources and headers: faults that tests plant |
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

/// The folder of the stand-ins, built by the first call on this machine (some seconds) and kept in cargo's target folder.
/// Any number of threads and processes may call it.
///
/// # Errors
/// Another system than Linux on a 64-bit processor, no C++ compiler (`CXX`, or else `c++`), or what that says.
pub fn folder() -> Result<PathBuf, Missing> {
    static BUILT: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    BUILT.get_or_init(build::folder).clone()
}
