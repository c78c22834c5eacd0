//! Kernels from source to the GPU's own instructions, by NVRTC.
//!
//! For the GPU that there is, not for an abstract one: a driver refuses the intermediate code of a compiler that is newer
//! than itself. The sources include no header of NVIDIA's, so the compiler's library is all that is needed.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt::{Display, Formatter};

use cnn_core::{Error, Result};
use cudarc::nvrtc::result::NvrtcError;
use cudarc::nvrtc::sys;

use crate::cubin_cache::CubinCache;
use crate::libraries;

/// A file of kernels.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name, without the ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// `source!("norm")` is `kernels/norm.cu`.
macro_rules! source {
    ($name:literal) => {
        $crate::compiler::Source {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/kernels/", $name, ".cu")),
        }
    };
}
pub(crate) use source;

/// What the files of kernels include.
const HEADERS: &[(&CStr, &str)] = &[
    (c"prim.cuh", include_str!("kernels/prim.cuh")),
    (c"grid.cuh", include_str!("kernels/grid.cuh")),
    (c"activations.cuh", include_str!("kernels/activations.cuh")),
    (c"vectors.cuh", include_str!("kernels/vectors.cuh")),
    (c"channels.cuh", include_str!("kernels/channels.cuh")),
    (c"combine.cuh", include_str!("kernels/combine.cuh")),
    (c"moments.cuh", include_str!("kernels/moments.cuh")),
    (c"tile.cuh", include_str!("kernels/tile.cuh")),
    (c"product.cuh", include_str!("kernels/product.cuh")),
    (c"pipeline.cuh", include_str!("kernels/pipeline.cuh")),
    (c"conv2d.cuh", include_str!("kernels/conv2d.cuh")),
    (c"halo.cuh", include_str!("kernels/halo.cuh")),
    (c"warpgroup.cuh", include_str!("kernels/warpgroup.cuh")),
    (c"epilogue.cuh", include_str!("kernels/epilogue.cuh")),
    (c"tiles.cuh", include_str!("kernels/tiles.cuh")),
    (c"divisor.cuh", include_str!("kernels/divisor.cuh")),
    (c"philox.cuh", include_str!("kernels/philox.cuh")),
];

/// What kernels are compiled for: how activations are stored, and what their products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32 throughout.
    F32,
    /// Stored as f32, and rounded to tf32 where tensor cores multiply.
    Tf32,
    /// Stored and multiplied as bf16.
    Bf16,
}

impl Precision {
    /// Every one.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];
}

impl Display for Precision {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// A compiled file of kernels, and what the compiler had to say about it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Instructions for one architecture.
    pub cubin: Vec<u8>,
    /// Warnings, and for each kernel its registers and spilled bytes.
    pub log: String,
}

/// Compiles `source` for a precision and an architecture such as `sm_90`, which need not be there.
///
/// # Errors
/// No compiler, one that does not know the architecture, or what it says about the source.
pub fn compile(source: Source, precision: Precision, architecture: &str) -> Result<Compiled> {
    libraries::require(libraries::Library::Nvrtc)?;
    let options = options(precision, architecture);
    Program::new(source)?.compile(source, &options)
}

/// The same from the cache, where it was compiled before.
pub(crate) fn compile_cached(
    cache: &CubinCache,
    source: Source,
    precision: Precision,
    architecture: &str,
) -> Result<Vec<u8>> {
    let options = options(precision, architecture);
    let version = version()?;
    let mut parts: Vec<&[u8]> = vec![version.as_bytes(), source.name.as_bytes(), source.text.as_bytes()];
    parts.extend(HEADERS.iter().flat_map(|(name, text)| [name.to_bytes(), text.as_bytes()]));
    parts.extend(options.iter().map(|option| option.as_bytes()));
    cache.get_or(&parts, || Ok(compile(source, precision, architecture)?.cubin))
}

fn options(precision: Precision, architecture: &str) -> Vec<String> {
    vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".to_owned(),
        "--ptxas-options=-v".to_owned(),
        format!("-DELEMENT_BF16={}", u8::from(precision == Precision::Bf16)),
        format!("-DTF32={}", u8::from(precision == Precision::Tf32)),
    ]
}

/// The compiler's version and where it is: a stand-in is not the same compiler.
fn version() -> Result<String> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are written and nothing else is.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }
        .result()
        .map_err(|error| failed("NVRTC does not tell its version", error))?;
    let place =
        libraries::place_of(libraries::Library::Nvrtc).map_or_else(String::new, |path| path.display().to_string());
    Ok(format!("NVRTC {major}.{minor} {place}"))
}

fn failed(what: impl Display, error: NvrtcError) -> Error {
    Error::Device { backend: "cuda", message: format!("{what}: {:?}", error.0) }
}

/// A program of NVRTC's, destroyed with it.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(source: Source) -> Result<Self> {
        let c_string = |text: &str| CString::new(text).expect("sources have no zero byte");
        let (text, name) = (c_string(source.text), c_string(&format!("{}.cu", source.name)));
        let headers: Vec<CString> = HEADERS.iter().map(|(_, text)| c_string(text)).collect();
        let texts: Vec<*const c_char> = headers.iter().map(|text| text.as_ptr()).collect();
        let names: Vec<*const c_char> = HEADERS.iter().map(|(name, _)| name.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        // SAFETY: every pointer is to a string that ends with zero and outlives the call, which copies what it keeps; there are
        // as many headers as names.
        unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                text.as_ptr(),
                name.as_ptr(),
                names.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            )
        }
        .result()
        .map_err(|error| failed(format!("kernels {} were not taken by NVRTC", source.name), error))?;
        Ok(Program(program))
    }

    fn compile(&self, source: Source, options: &[String]) -> Result<Compiled> {
        let strings: Vec<CString> =
            options.iter().map(|option| CString::new(option.as_str()).expect("options have no zero byte")).collect();
        let pointers: Vec<*const c_char> = strings.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the program was created and is not destroyed; the options end with zero and outlive the call.
        let outcome = unsafe { sys::nvrtcCompileProgram(self.0, pointers.len() as c_int, pointers.as_ptr()) }.result();
        let log = self.log()?;
        if let Err(error) = outcome {
            // The first lines say what is wrong; an error of ours is one line.
            let said = log.lines().filter(|line| !line.trim().is_empty()).take(3).collect::<Vec<_>>().join("; ");
            let about = options.first().map_or("", String::as_str);
            return Err(failed(format!("kernels {} do not compile ({about}): {said}", source.name), error));
        }
        Ok(Compiled { cubin: self.bytes("instructions", sys::nvrtcGetCUBINSize, sys::nvrtcGetCUBIN)?, log })
    }

    fn log(&self) -> Result<String> {
        let bytes = self.bytes("log", sys::nvrtcGetProgramLogSize, sys::nvrtcGetProgramLog)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    }

    /// What a pair of NVRTC's functions, one for its size and one for itself, has to give.
    fn bytes(
        &self,
        what: &str,
        size: unsafe fn(sys::nvrtcProgram, *mut usize) -> sys::nvrtcResult,
        get: unsafe fn(sys::nvrtcProgram, *mut c_char) -> sys::nvrtcResult,
    ) -> Result<Vec<u8>> {
        let refused = |error| failed(format!("NVRTC has no {what}"), error);
        let mut len = 0;
        // SAFETY: the program was created and is not destroyed; the size is written.
        unsafe { size(self.0, &mut len) }.result().map_err(refused)?;
        let mut bytes = vec![0u8; len];
        // SAFETY: as above, and there is room for as many bytes as it said.
        unsafe { get(self.0, bytes.as_mut_ptr().cast()) }.result().map_err(refused)?;
        Ok(bytes)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was created and is destroyed once. Nothing can be done if that fails, and nothing depends on it.
        let _ = unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
    }
}
