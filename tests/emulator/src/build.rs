//! Building the stand-ins, once for a state of their sources and a compiler.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::Missing;
use crate::sources::{DEVICE_HEADERS, LIBRARIES, Library, SOURCES};

/// Of the stand-ins themselves. Products of tensor cores are what kernels spend their time with here. A library's own calls are
/// bound when it is built, so that tests can take functions away.
const OPTIONS: [&str; 8] =
    ["-std=c++17", "-O2", "-w", "-shared", "-fPIC", "-fvisibility=hidden", "-U_FORTIFY_SOURCE", "-Wl,-Bsymbolic"];

/// How kernels are optimised: they are compiled more often than they run for long.
const KERNEL_OPTIMISATION: &str = "-O1";

struct Compiler {
    program: String,
    version: String,
}

pub(crate) fn folder() -> Result<PathBuf, Missing> {
    if !cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        return Err(Missing("the emulated GPU needs Linux on a 64-bit processor".to_owned()));
    }
    let compiler = compiler()?;
    let cache = target_folder().join("emulator");
    let place = cache.join(key(&compiler));
    let failed =
        |error: io::Error| Missing(format!("the emulated GPU could not be built in {}: {error}", cache.display()));
    fs::create_dir_all(&cache).map_err(failed)?;
    // Whoever comes second waits for the first, and finds what that has built.
    let lock = File::create(cache.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if !place.is_dir() {
        let unfinished = tempfile::tempdir_in(&cache).map_err(failed)?;
        build(&compiler, unfinished.path()).map_err(failed)?;
        fs::rename(unfinished.path(), &place).map_err(failed)?;
    }
    Ok(place)
}

/// The compiler that `CXX` names, or else the system's.
fn compiler() -> Result<Compiler, Missing> {
    let program = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let answer = Command::new(&program).arg("--version").output();
    let answer = answer.map_err(|error| Missing(format!("no C++ compiler: {program}: {error}")))?;
    if !answer.status.success() {
        return Err(Missing(format!("no C++ compiler: {program} --version: {}", answer.status)));
    }
    Ok(Compiler { program, version: String::from_utf8_lossy(&answer.stdout).into_owned() })
}

/// Cargo's target folder, which a test's program lies in; it marks that for programs that make backups.
fn target_folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(std::env::temp_dir, Path::to_path_buf)
}

/// Changes with everything that the built files depend on.
fn key(compiler: &Compiler) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &str| {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    [&compiler.program, &compiler.version, KERNEL_OPTIMISATION].into_iter().for_each(&mut add);
    OPTIONS.into_iter().for_each(&mut add);
    for library in LIBRARIES {
        add(library.name);
        add(library.folder);
    }
    for source in SOURCES {
        add(source.path);
        add(source.text);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn build(compiler: &Compiler, folder: &Path) -> io::Result<()> {
    for source in SOURCES {
        let path = folder.join(source.path);
        fs::create_dir_all(path.parent().expect("a source lies in a folder"))?;
        fs::write(path, source.text)?;
    }
    for library in &LIBRARIES {
        compile(compiler, folder, library)?;
    }
    // Only the headers are needed from now on.
    for library in &LIBRARIES {
        fs::remove_dir_all(folder.join(library.folder))?;
    }
    assert!(folder.join(DEVICE_HEADERS).is_dir());
    Ok(())
}

fn compile(compiler: &Compiler, folder: &Path, library: &Library) -> io::Result<()> {
    let sources = SOURCES.iter().map(|source| source.path);
    let sources = sources.filter(|path| path.starts_with(library.folder) && path.ends_with(".cpp"));
    let output = Command::new(&compiler.program)
        .args(OPTIONS)
        .arg(format!("-DEMULATOR_COMPILER=\"{}\"", compiler.program))
        .arg(format!("-DEMULATOR_OPTIMISATION=\"{KERNEL_OPTIMISATION}\""))
        .arg(format!("-Wl,-soname,{}", library.name))
        .args(["-o", library.name])
        .args(sources)
        .args(library.calls.map(|name| format!("./{name}")))
        .args(["-Wl,-rpath,$ORIGIN", "-ldl"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{} does not compile: {log}", library.name)))
}
