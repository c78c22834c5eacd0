//! A GPU as the driver knows it: its context, its stream, and what it says about itself.

use std::ffi::c_int;

use cnn_core::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use crate::libraries::{self, Library};
use crate::stream::{Exec, Stream};

/// The oldest GPUs whose instructions the kernels use: bf16 on tensor cores, asynchronous copies.
const OLDEST: (c_int, c_int) = (8, 0);

/// A GPU that is open.
#[derive(Debug)]
pub(crate) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// None only while the context is closed: it goes before it.
    stream: Option<Stream>,
    about: About,
}

/// What a GPU says about itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Its number among the GPUs that the driver shows.
    pub ordinal: usize,
    /// Its model.
    pub name: String,
    /// Compute capability.
    pub capability: (c_int, c_int),
    /// Bytes of memory.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// The most bytes of shared memory that a block may ask for.
    pub shared_memory: usize,
    /// Bytes of the cache that all multiprocessors share.
    pub l2_cache: usize,
}

// SAFETY: the driver's handles may be used from any thread that has made the context its current one, which every method
// does first; the driver itself takes calls from several threads.
unsafe impl Send for Context {}
// SAFETY: see Send.
unsafe impl Sync for Context {}

/// The driver's answer while something was done, as an error of ours.
pub(crate) fn driver_error(doing: impl std::fmt::Display, error: DriverError) -> Error {
    let text = |text: Result<&std::ffi::CStr, DriverError>| match text {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    };
    let (name, meaning) = (text(error.error_name()), text(error.error_string()));
    Error::Device { backend: "cuda", message: format!("{doing}: {name} ({meaning})") }
}

/// The GPUs of this machine, those too that are too old, without opening any.
///
/// # Errors
/// No driver, or one that does not start.
pub fn gpus() -> Result<Vec<About>> {
    let about = |ordinal: usize| {
        let device = result::device::get(ordinal as c_int)
            .map_err(|error| driver_error(format!("GPU {ordinal} could not be found"), error))?;
        About::of(ordinal, device)
    };
    (0..count()?).map(about).collect()
}

/// How many GPUs there are. A driver that has none to show does not start.
fn count() -> Result<usize> {
    libraries::require(Library::Driver)?;
    match result::init() {
        Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
        started => started.map_err(|error| driver_error("the driver did not start", error))?,
    }
    let count = result::device::get_count().map_err(|error| driver_error("GPUs could not be counted", error))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl About {
    fn of(ordinal: usize, device: sys::CUdevice) -> Result<Self> {
        let unknown = |error| driver_error(format!("GPU {ordinal} could not be asked"), error);
        let attribute = |attribute: Attribute| {
            // SAFETY: the device is one that the driver has given.
            unsafe { result::device::get_attribute(device, attribute) }.map_err(unknown)
        };
        let size = |value: c_int| usize::try_from(value).unwrap_or(0);
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(About {
            ordinal,
            name: result::device::get_name(device).map_err(unknown)?,
            capability: (major, minor),
            // SAFETY: as above.
            memory: unsafe { result::device::total_mem(device) }.map_err(unknown)?,
            multiprocessors: size(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?),
            shared_memory: size(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?),
            l2_cache: size(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
        })
    }

    /// Whether the kernels run on it.
    pub fn is_new_enough(&self) -> bool {
        self.capability >= OLDEST
    }

    /// What NVRTC calls its architecture.
    pub fn architecture(&self) -> String {
        format!("sm_{}{}", self.capability.0, self.capability.1)
    }
}

impl Context {
    /// Opens GPU `ordinal`.
    ///
    /// # Errors
    /// A library that is missing, no such GPU, one that is too old, or what the driver says.
    pub(crate) fn open(ordinal: usize) -> Result<Self> {
        let count = count()?;
        if ordinal >= count {
            let rule = match count {
                0 => {
                    "the driver shows none: `nvidia-smi -L` lists those it has, and CUDA_VISIBLE_DEVICES can hide them"
                        .to_owned()
                }
                _ => format!("must be below {count}, the GPUs that the driver shows"),
            };
            return Err(Error::invalid("GPU", ordinal, rule));
        }
        let failed = |error| driver_error(format!("GPU {ordinal} could not be opened"), error);
        let device = result::device::get(ordinal as c_int).map_err(failed)?;
        let about = About::of(ordinal, device)?;
        if !about.is_new_enough() {
            let (major, minor) = about.capability;
            let (name, (oldest, _)) = (&about.name, OLDEST);
            let rule = format!("must be at least {oldest}.0: the kernels use its instructions");
            return Err(Error::invalid(
                format!("compute capability of GPU {ordinal} ({name})"),
                format!("{major}.{minor}"),
                rule,
            ));
        }
        // Last, as it is of no use to who has no GPU for it.
        libraries::require(Library::Nvrtc)?;
        // SAFETY: the device is one that the driver has given; the context is released in drop.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        let mut opened = Context { device, context, stream: None, about };
        opened.make_current()?;
        opened.stream = Some(Stream::create().map_err(failed)?);
        Ok(opened)
    }

    /// What the GPU says about itself.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// Makes this context the current one of this thread, as the driver's calls want it.
    ///
    /// # Errors
    /// What the driver says, such as that the device was lost.
    fn make_current(&self) -> Result<()> {
        // SAFETY: the context is retained as long as self lives.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(|error| self.error("the GPU could not be used", error))
    }

    /// The stream of all work, for calls of this thread, whose current context is this one from now on.
    ///
    /// # Errors
    /// What the driver says, such as that the device was lost.
    pub(crate) fn stream(&self) -> Result<&Stream> {
        self.make_current()?;
        Ok(self.stream.as_ref().expect("an open context has a stream"))
    }

    /// The same for calls that a capture does not allow, to which what was gathered is handed over.
    ///
    /// # Errors
    /// As `stream`.
    pub(crate) fn stream_flushed(&self) -> Result<&Stream> {
        let stream = self.stream()?;
        stream.flush().map_err(|error| self.error("work could not be launched", error))?;
        Ok(stream)
    }

    /// Does `work`, whose calls of the GPU are handed over at once as far as that is possible.
    ///
    /// # Errors
    /// Those of `work`, and what the driver says.
    pub(crate) fn at_once<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let failed = |error| self.error("gathered work could not be launched", error);
        let stream = self.stream()?;
        if !stream.gather().map_err(failed)? {
            return work();
        }
        let mut end = Always(Some(|| stream.end_gathering()));
        let result = work();
        let ended = end.now();
        let result = result?;
        ended.transpose().map_err(failed)?;
        Ok(result)
    }

    /// Does `work` and records its calls of the GPU, in which nobody else's get in between; no recording where it had to wait
    /// for the GPU, or somebody else was gathering.
    ///
    /// # Errors
    /// Those of `work`, and what the driver says.
    pub(crate) fn record<R>(&self, work: impl FnOnce() -> Result<R>) -> Result<(R, Option<Exec>)> {
        let failed = |error| self.error("recorded work could not be launched", error);
        let stream = self.stream()?;
        if !stream.record().map_err(failed)? {
            return Ok((work()?, None));
        }
        let mut end = Always(Some(|| stream.end_recording()));
        let result = work();
        let ended = end.now();
        let result = result?;
        Ok((result, ended.transpose().map_err(failed)?.flatten()))
    }

    /// The driver's answer while something was done on this GPU.
    pub(crate) fn error(&self, doing: impl std::fmt::Display, error: DriverError) -> Error {
        driver_error(format!("GPU {} ({}): {doing}", self.about.ordinal, self.about.name), error)
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// What that work has failed with.
    pub(crate) fn synchronise(&self) -> Result<()> {
        self.stream()?.synchronise().map_err(|error| self.error("work failed", error))
    }

    /// Bytes of memory that nobody has, and of all memory.
    pub(crate) fn free_memory(&self) -> Result<(usize, usize)> {
        self.make_current()?;
        result::mem_get_info().map_err(|error| self.error("memory could not be asked for", error))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = self.make_current(); // where it fails the stream cannot be destroyed either, and goes with the process
        drop(self.stream.take());
        // SAFETY: it was retained in open.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// What is done once, also when a panic comes in between.
struct Always<R, F: FnOnce() -> R>(Option<F>);

impl<R, F: FnOnce() -> R> Always<R, F> {
    /// Does it now; none if it was done.
    fn now(&mut self) -> Option<R> {
        self.0.take().map(|work| work())
    }
}

impl<R, F: FnOnce() -> R> Drop for Always<R, F> {
    fn drop(&mut self) {
        self.now();
    }
}
