//! The device that the suites run on.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use cnn_cuda::{Cuda, CudaElement, Options, Tile, libraries};
use half::bf16;

/// Set to anything, the suites run on the first GPU of this machine.
pub(crate) const REAL: &str = "CNN_TEST_GPU";

/// Whether the suites run on no GPU of this machine.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os(REAL).is_none()
}

/// The device as a program opens it; none where there is neither a GPU nor an emulated one.
pub(crate) fn cuda<T: CudaElement>() -> Option<Cuda<T>> {
    Some(open(&options()?))
}

/// The same without cuBLASLt, and products of tiles of one size if one is given.
pub(crate) fn own_products<T: CudaElement>(tile: Option<Tile>) -> Option<Cuda<T>> {
    Some(open(&with_tile(options()?, tile)))
}

/// The same without the instructions of compute capability 9.0.
pub(crate) fn by_warps(tile: Option<Tile>) -> Option<Cuda<bf16>> {
    let mut options = with_tile(options()?, tile);
    options.warpgroups = false;
    Some(open(&options))
}

/// The same with products of f32 in tf32.
pub(crate) fn tf32(tile: Option<Tile>) -> Option<Cuda<f32>> {
    Some(open(&with_tile(options()?.tf32(true), tile)))
}

/// A folder of libraries that come before the emulated GPU's own.
pub(crate) const FIRST: &str = "CNN_TEST_LIBRARIES";

/// Tests of this program again, in a process whose emulated GPU is as these variables say: whether they passed, all of them,
/// and what they said. None where the GPU is not emulated.
pub(crate) fn again(tests: &[&str], variables: &[(&str, &str)]) -> Option<(bool, String)> {
    if std::env::var_os(REAL).is_some() || cnn_emulator::folder().is_err() {
        println!("SKIPPED: the emulated GPU, which does as it is told, is not here");
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        // One after the other: what one test takes is missing from the memory that another finds.
        .args(["--exact", "--include-ignored", "--test-threads=1"])
        .args(tests)
        .envs(variables.iter().copied())
        .env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let all = said.contains(&format!("test result: ok. {} passed; 0 failed", tests.len()));
    Some((output.status.success() && all, said.into_owned()))
}

fn with_tile(mut options: Options, tile: Option<Tile>) -> Options {
    (options.own_products, options.tile) = (true, tile);
    options
}

pub(crate) fn open<T: CudaElement>(options: &Options) -> Cuda<T> {
    Cuda::open(options).unwrap_or_else(|error| panic!("{error}"))
}

/// What a device is opened with; none as above.
pub(crate) fn options() -> Option<Options> {
    static CACHE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| {
        if std::env::var_os(REAL).is_some() {
            return Some(std::env::temp_dir().join("cnn-test-kernels"));
        }
        match cnn_emulator::folder() {
            Ok(folder) => {
                libraries::look_first_in(&folder).expect("nobody has opened a device yet");
                if let Some(first) = std::env::var_os(FIRST) {
                    libraries::look_first_in(first).expect("nobody has opened a device yet");
                }
                // A process whose kernels have a planted fault has a folder of its own for them.
                Some(std::env::var_os("CNN_CUDA_CACHE").map_or_else(|| folder.join("kernels"), PathBuf::from))
            }
            Err(missing) => {
                println!("SKIPPED: no emulated GPU: {missing}");
                None
            }
        }
    });
    Some(Options::gpu(0).cache(cache.as_ref()?))
}
