//! A GPU as the driver knows it: its context, its stream, and what it says about itself.
//!
//! All work of a device is put into one stream, in the order of the calls; nothing here waits for it but
//! [`Context::synchronise`] and copies to the host.

use std::ffi::c_int;

use cnn_core::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use crate::libraries::{self, Library};

/// The oldest GPUs whose instructions the kernels use: bf16 on tensor cores, asynchronous copies.
const OLDEST: (c_int, c_int) = (8, 0);

/// A GPU that is open.
#[derive(Debug)]
pub(crate) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
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

/// How many GPUs there are.
fn count() -> Result<usize> {
    libraries::require(Library::Driver)?;
    result::init().map_err(|error| driver_error("the driver did not start", error))?;
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
        libraries::require(Library::Nvrtc)?;
        if ordinal >= count {
            let rule = match count {
                0 => "there is none on this machine".to_owned(),
                _ => format!("must be below {count}, the GPUs of this machine"),
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
        // SAFETY: the device is one that the driver has given; the context is released in drop.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed)?;
        // SAFETY: the context was retained just now.
        unsafe { result::ctx::set_current(context) }.map_err(failed)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        Ok(Context { device, context, stream, about })
    }

    /// What the GPU says about itself.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// The stream of all work, for calls of this thread, whose current context is this one from now on.
    ///
    /// # Errors
    /// What the driver says, such as that the device was lost.
    pub(crate) fn stream(&self) -> Result<sys::CUstream> {
        // SAFETY: the context is retained as long as self lives.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(|error| self.error("the GPU could not be used", error))?;
        Ok(self.stream)
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
        let stream = self.stream()?;
        // SAFETY: the stream lives as long as self.
        unsafe { result::stream::synchronize(stream) }.map_err(|error| self.error("work failed", error))
    }

    /// Bytes of memory that nobody has, and of all memory.
    pub(crate) fn free_memory(&self) -> Result<(usize, usize)> {
        self.stream()?;
        result::mem_get_info().map_err(|error| self.error("memory could not be asked for", error))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.stream().is_ok() {
            // SAFETY: the stream is this context's, and nobody else has it. What fails here fails at the end of everything.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
        // SAFETY: it was retained in open.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
