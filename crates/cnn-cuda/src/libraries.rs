//! NVIDIA's libraries, found when the program runs.
//!
//! Two are needed: the driver, which comes with the GPU's driver package, and the run-time compiler NVRTC, which opens its
//! built-in functions by itself. cuBLASLt is used where it is. Each is looked for in the folders of `CNN_CUDA_LIBRARIES`,
//! then by the system's own search, then where CUDA's packages and Python's wheels of them are usually installed. A library
//! that was found is opened by its full path and for the whole process, so that those who ask for it by name later get the
//! same one.

use std::error::Error as _;
use std::fmt::{Display, Formatter};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use cnn_core::{Error, Result};

/// Folders that are looked into first, as `PATH` lists them.
pub const VARIABLE: &str = "CNN_CUDA_LIBRARIES";

/// One of NVIDIA's libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Talks to the GPU.
    Driver,
    /// Compiles kernels.
    Nvrtc,
    /// What NVRTC opens by name when it compiles.
    NvrtcBuiltins,
    /// Multiplies matrices. Nothing needs it: see the module `cublaslt`.
    CublasLt,
}

/// All of them, in the order in which they are opened.
pub const ALL: [Library; 4] = [Library::Driver, Library::NvrtcBuiltins, Library::Nvrtc, Library::CublasLt];

impl Library {
    /// File names, the newest first; a star stands for any minor version.
    fn names(self) -> &'static [&'static str] {
        match self {
            Library::Driver if cfg!(windows) => &["nvcuda.dll"],
            Library::Driver => &["libcuda.so.1"],
            Library::Nvrtc if cfg!(windows) => &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"],
            Library::Nvrtc => &["libnvrtc.so.13", "libnvrtc.so.12"],
            Library::NvrtcBuiltins if cfg!(windows) => &["nvrtc-builtins64_13*", "nvrtc-builtins64_12*"],
            Library::NvrtcBuiltins => &["libnvrtc-builtins.so.13*", "libnvrtc-builtins.so.12*"],
            Library::CublasLt if cfg!(windows) => &["cublasLt64_13.dll", "cublasLt64_12.dll"],
            Library::CublasLt => &["libcublasLt.so.13", "libcublasLt.so.12"],
        }
    }

    /// How a person gets it.
    pub fn how_to_get(self) -> &'static str {
        match self {
            Library::Driver => {
                "it comes with NVIDIA's driver, 525 or later (Debian and Ubuntu: nvidia-driver, WSL: the Windows driver)"
            }
            Library::Nvrtc | Library::NvrtcBuiltins => {
                "pip install nvidia-cuda-nvrtc, or NVIDIA's package cuda-nvrtc; then set CNN_CUDA_LIBRARIES to its folder \
                 if it is not found by itself"
            }
            Library::CublasLt => {
                "not needed: dense layers run on kernels of our own; pip install nvidia-cublas brings it"
            }
        }
    }

    /// Every function of it that is called: a version without one of them, as it is too old, counts as missing. Called all the
    /// same, a function that is not there would end in a panic of the bindings.
    pub fn functions(self) -> &'static [&'static str] {
        match self {
            Library::Driver => DRIVER,
            Library::Nvrtc => NVRTC,
            Library::NvrtcBuiltins => &[],
            Library::CublasLt => crate::cublaslt::bindings::FUNCTIONS,
        }
    }
}

impl Display for Library {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Library::Driver => "CUDA driver",
            Library::Nvrtc => "NVRTC",
            Library::NvrtcBuiltins => "NVRTC's built-in functions",
            Library::CublasLt => "cuBLASLt",
        })
    }
}

/// The youngest, `cuGraphExecUpdate_v2`, came with CUDA 12.0.
const DRIVER: &[&str] = &[
    "cuInit",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuFuncSetAttribute",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventQuery",
    "cuGraphInstantiateWithFlags",
    "cuGraphExecUpdate_v2",
    "cuGraphLaunch",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
];

const NVRTC: &[&str] = &[
    "nvrtcVersion",
    "nvrtcCreateProgram",
    "nvrtcCompileProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetCUBINSize",
    "nvrtcGetCUBIN",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
];

/// What was found of a library.
#[derive(Clone, Debug)]
pub enum Found {
    /// It was opened from here.
    At(PathBuf),
    /// It was not, and why.
    Missing(String),
}

static FIRST: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static OPENED: OnceLock<Vec<(Library, Found)>> = OnceLock::new();

/// Looks into `folder` before anywhere else. Libraries are of the whole process, so this must come before a device is opened.
///
/// # Errors
/// The libraries were opened before.
pub fn look_first_in(folder: impl Into<PathBuf>) -> Result<()> {
    let folder = folder.into();
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if OPENED.get().is_some() {
        let rule = "must be named before the first device is opened, as libraries are of the whole process";
        return if first.contains(&folder) { Ok(()) } else { Err(Error::invalid("folder", folder.display(), rule)) };
    }
    first.insert(0, folder);
    Ok(())
}

/// Opens the libraries, in the first call, and says what was found.
pub fn found() -> &'static [(Library, Found)] {
    OPENED.get_or_init(|| {
        let folders = folders();
        ALL.iter().map(|&library| (library, open(library, &folders))).collect()
    })
}

/// Opens a library that cannot be done without. What NVRTC brings beside itself is its own, and missed when it compiles.
///
/// # Errors
/// It is missing, why, and how to get it.
pub(crate) fn require(wanted: Library) -> Result<()> {
    match found().iter().find(|(library, _)| *library == wanted) {
        Some((_, Found::Missing(why))) => {
            let message = format!("no {wanted}: {why}; {}", wanted.how_to_get());
            Err(Error::Device { backend: "cuda", message })
        }
        _ => Ok(()),
    }
}

/// Where a library was opened from.
pub(crate) fn place_of(wanted: Library) -> Option<&'static Path> {
    found().iter().find_map(|(library, found)| match found {
        Found::At(path) if *library == wanted => Some(path.as_path()),
        _ => None,
    })
}

fn open(library: Library, folders: &Folders) -> Found {
    let mut why = None;
    for name in library.names() {
        for path in folders.candidates(name) {
            match open_at(library, &path) {
                Ok(path) => return Found::At(path),
                // A file that is there and cannot be used tells more than those that are not.
                Err(reason) if names_a_file(&path) && path.exists() => why = why.or(Some(reason)),
                Err(_) => {}
            }
        }
    }
    let names = library.names().join(" or ");
    Found::Missing(
        why.unwrap_or_else(|| format!("{names} is in none of {} folders", folders.named.len() + folders.usual.len())),
    )
}

/// Opens a library; where the one is that will be called.
fn open_at(library: Library, path: &Path) -> Result<PathBuf, String> {
    // Why is in the error that this one has from the system.
    let said = |error: libloading::Error| match error.source() {
        Some(why) => format!("{}: {error}: {why}", path.display()),
        None => format!("{}: {error}", path.display()),
    };
    if names_a_file(path) {
        is_whole(path).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    #[cfg(unix)]
    let opened = {
        use libloading::os::unix::{Library as Handle, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: these are NVIDIA's libraries by name, or what the user has put in their place; their initialisers ask
        // nothing of the caller.
        unsafe { Handle::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map(libloading::Library::from)
    };
    #[cfg(not(unix))]
    // SAFETY: as above.
    let opened = unsafe { libloading::Library::new(path) };
    let handle = opened.map_err(said)?;
    is_complete(library, &handle, path)?;
    let called = called_instead(library, &handle, path)?;
    std::mem::forget(handle); // it stays for those who ask for it by name
    Ok(called.unwrap_or_else(|| path.to_owned()))
}

/// Whether it is of a folder, and not a bare name that the system looks for.
fn names_a_file(path: &Path) -> bool {
    path.components().nth(1).is_some()
}

/// Refuses what would stop the whole process while it is opened: a pipe that nobody writes to, and a library of which a part is
/// missing, whose pages the system maps and cannot read. Anything else the system itself refuses.
fn is_whole(path: &Path) -> Result<(), String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err("must be a file".to_owned());
    }
    let mut file = File::open(path).map_err(unreadable)?;
    // As the format ELF has them for 64 bits, where it is that.
    let mut header = [0; 64];
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(());
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
    let (table, size, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    let is_inside = |begin: u64, len: u64| begin.checked_add(len).is_some_and(|end| end <= about.len());
    let truncated = || Err("truncated".to_owned());
    if size < 56 || !is_inside(table, size * count) {
        return truncated();
    }
    let mut segments = vec![0; (size * count) as usize];
    file.seek(SeekFrom::Start(table)).and_then(|_| file.read_exact(&mut segments)).map_err(unreadable)?;
    let is_loaded = |segment: &&[u8]| number(&segment[..4]) == 1;
    let whole = |segment: &[u8]| is_inside(number(&segment[8..16]), number(&segment[32..40]));
    if segments.chunks_exact(size as usize).filter(is_loaded).all(whole) { Ok(()) } else { truncated() }
}

fn is_complete(library: Library, handle: &libloading::Library, path: &Path) -> Result<(), String> {
    match library.functions().iter().find(|name| address(handle, name).is_none()) {
        Some(name) => Err(format!("{}: too old, as it has no function {name}", path.display())),
        None => Ok(()),
    }
}

fn address(handle: &libloading::Library, name: &str) -> Option<*const ()> {
    // SAFETY: the symbol is only looked for, and not called.
    unsafe { handle.get::<*const ()>(name.as_bytes()) }.ok().map(|symbol| *symbol)
}

/// Another library that is called in the place of the one that was found, if there is one: cudarc's bindings look for it by
/// names of their own and take the first that opens, and a name without a version may lead to another file, such as that
/// of a toolkit in `LD_LIBRARY_PATH`.
fn called_instead(library: Library, found: &libloading::Library, path: &Path) -> Result<Option<PathBuf>, String> {
    let names: &[&str] = match library {
        Library::Driver => &["cuda", "nvcuda"],
        Library::Nvrtc => &["nvrtc"],
        Library::NvrtcBuiltins | Library::CublasLt => return Ok(None),
    };
    for name in names.iter().flat_map(|name| cudarc::get_lib_name_candidates(name)) {
        // SAFETY: as in `open_at`.
        let Ok(other) = (unsafe { libloading::Library::new(&name) }) else { continue };
        let first = library.functions()[0];
        if address(&other, first) == address(found, first) {
            return Ok(None);
        }
        let instead = |why| format!("{}: not used, as the system finds {why}", path.display());
        return is_complete(library, &other, Path::new(&name)).map(|()| Some(name.into())).map_err(instead);
    }
    Err(format!("{}: not used, as it has a name that the system does not find", path.display()))
}

/// Folders that are looked into: those that a user has named, before the system's own search, and the usual ones after it.
struct Folders {
    named: Vec<PathBuf>,
    usual: Vec<PathBuf>,
}

impl Folders {
    /// Where a file of this name may be, in order.
    fn candidates(&self, name: &str) -> Vec<PathBuf> {
        let within = |folders: &[PathBuf]| folders.iter().flat_map(|folder| files(folder, name)).collect::<Vec<_>>();
        let searched = (!name.ends_with('*')).then(|| name.into());
        within(&self.named).into_iter().chain(searched).chain(within(&self.usual)).collect()
    }
}

/// The files of a folder that a name with a star means, the last version first.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let Some(prefix) = name.strip_suffix('*') else { return vec![folder.join(name)] };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let mut files: Vec<_> = entries.filter(fits).collect();
    files.sort();
    files.reverse();
    files
}

fn folders() -> Folders {
    let mut named = FIRST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    named.extend(std::env::var_os(VARIABLE).iter().flat_map(std::env::split_paths));
    let mut usual = Vec::new();
    for root in ["CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"].iter().filter_map(std::env::var_os) {
        let root = PathBuf::from(root);
        usual.extend([root.join("lib64"), root.join("lib"), root.join("bin")]);
    }
    let of_systems = [
        "/usr/local/cuda/lib64",
        "/usr/local/cuda-13/lib64",
        "/usr/local/cuda-12/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib/wsl/lib",
        "/run/opengl-driver/lib",
    ];
    usual.extend(of_systems.map(PathBuf::from));
    for site in python_sites() {
        usual.extend(["cu13/lib", "cuda_nvrtc/lib", "cublas/lib"].map(|folder| site.join("nvidia").join(folder)));
    }
    Folders { named, usual }
}

/// Where Python's packages are usually installed: an environment's, the user's, the system's.
fn python_sites() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let roots = [
        std::env::var_os("VIRTUAL_ENV").map(PathBuf::from),
        std::env::var_os("CONDA_PREFIX").map(PathBuf::from),
        Some(PathBuf::from(".venv")),
        home.map(|home| home.join(".local")),
        Some(PathBuf::from("/usr/local")),
        Some(PathBuf::from("/usr")),
    ];
    let mut sites = Vec::new();
    for lib in roots.into_iter().flatten().map(|root| root.join("lib")) {
        for python in files(&lib, "python3*") {
            sites.extend(["site-packages", "dist-packages"].map(|folder| python.join(folder)));
        }
    }
    sites
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_whole_or_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let whole = fs::read("/proc/self/exe").unwrap();
        let written = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            is_whole(&path)
        };
        assert_eq!(written("whole", &whole), Ok(()));
        for len in [64, 100, 4096, 65_536] {
            assert_eq!(written("part", &whole[..len]), Err("truncated".to_owned()), "{len}");
        }
        assert_eq!(written("text", b"no library at all"), Ok(()), "the system refuses it");
        assert_eq!(is_whole(folder.path()), Err("must be a file".to_owned()));
    }
}
