//! The kernels of a device: each file compiled and loaded when one of its kernels is first asked for.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::Result;
use cudarc::driver::result;
use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUmodule};

use crate::compiler::{Precision, Source, compile_cached};
use crate::cubin_cache::CubinCache;
use crate::driver::Context;

/// A kernel that can be launched, for as long as its device is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) function: CUfunction,
}

/// Everything that was loaded.
#[derive(Debug)]
pub(crate) struct Modules {
    context: Arc<Context>,
    cache: CubinCache,
    precision: Precision,
    architecture: String,
    loaded: Mutex<Loaded>,
}

#[derive(Debug, Default)]
struct Loaded {
    modules: HashMap<&'static str, CUmodule>,
    /// With the bytes of shared memory that they may use.
    kernels: HashMap<(&'static str, &'static str), (CUfunction, usize)>,
}

// SAFETY: the driver's handles may be used from any thread whose current context is theirs.
unsafe impl Send for Loaded {}

impl Modules {
    pub(crate) fn new(context: Arc<Context>, cache: CubinCache, precision: Precision, architecture: String) -> Self {
        Modules { context, cache, precision, architecture, loaded: Mutex::default() }
    }

    /// What they are compiled for.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether they may use the instructions of their architecture alone.
    pub(crate) fn are_specific(&self) -> bool {
        self.architecture.ends_with('a')
    }

    /// The kernel `name` of `source`, which may use `shared` bytes of shared memory beside what it declares.
    ///
    /// # Errors
    /// The source does not compile or has no such kernel, or what the driver says.
    pub(crate) fn kernel(&self, source: Source, name: &'static str, shared: usize) -> Result<Kernel> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let (function, allowed) = match loaded.kernels.get(&(source.name, name)) {
            Some(&known) => known,
            None => (self.function(&mut loaded, source, name)?, DEFAULT_SHARED),
        };
        if shared > allowed {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is the module's.
            unsafe { result::function::set_function_attribute(function, attribute, shared as i32) }.map_err(
                |error| self.context.error(format!("kernel {name} may not use {shared} bytes of shared memory"), error),
            )?;
        }
        loaded.kernels.insert((source.name, name), (function, allowed.max(shared)));
        Ok(Kernel { name, function })
    }

    fn function(&self, loaded: &mut Loaded, source: Source, name: &'static str) -> Result<CUfunction> {
        self.context.stream_flushed()?;
        let module = match loaded.modules.get(source.name) {
            Some(&module) => module,
            None => {
                let module = self.load(source)?;
                loaded.modules.insert(source.name, module);
                module
            }
        };
        let c_name = CString::new(name).expect("names have no zero byte");
        // SAFETY: the module is loaded and stays.
        unsafe { result::module::get_function(module, c_name) }
            .map_err(|error| self.context.error(format!("kernel {name} of {} was not found", source.name), error))
    }

    /// The names of the kernels that were asked for so far, in order.
    pub(crate) fn used(&self) -> Vec<&'static str> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = loaded.kernels.keys().map(|&(_, name)| name).collect();
        names.sort_unstable();
        names
    }

    fn load(&self, source: Source) -> Result<CUmodule> {
        let cubin = compile_cached(&self.cache, source, self.precision, &self.architecture)?;
        // SAFETY: the image is what the compiler made for this very architecture, whole, as the cache compares its digest; the
        // driver copies it.
        unsafe { result::module::load_data(cubin.as_ptr().cast()) }
            .map_err(|error| self.context.error(format!("kernels {} could not be loaded", source.name), error))
    }
}

/// What a kernel may use without asking.
const DEFAULT_SHARED: usize = 48 << 10;

impl Drop for Modules {
    fn drop(&mut self) {
        if self.context.synchronise().is_ok() {
            let loaded = self.loaded.get_mut().unwrap_or_else(PoisonError::into_inner);
            for (_, module) in loaded.modules.drain() {
                // SAFETY: it was loaded, none of its kernels runs any more, and their handles borrow the device.
                let _ = unsafe { result::module::unload(module) };
            }
        }
    }
}
