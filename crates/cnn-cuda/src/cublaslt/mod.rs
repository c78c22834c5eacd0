//! Matrix products by NVIDIA's library cuBLASLt, where it is found.
//!
//! It has kernels for every GPU and size, also with the instructions that only one generation has, and is 500 MB large: nobody must
//! install it. Where it is, dense layers run on it; where it is not, on the kernels of this crate.
//!
//! The same bits in every run: a product's algorithm is the first that the library's heuristics name for its sizes on this
//! GPU, and no part of a sum is added up in another order or precision, see [`plan`].

pub(crate) mod bindings;
pub(crate) mod linear;
mod plan;

use std::collections::HashMap;
use std::ffi::{CStr, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cnn_core::backend::check;
use cnn_core::{DType, Error, Plain, Result};

use bindings::{CUBLAS_STATUS_SUCCESS, Functions, cublasLtHandle_t, cublasStatus_t};
use plan::Plan;

use crate::buffer::Buffer;
use crate::driver::Context;
use crate::element::CudaElement;
use crate::libraries::{self, Library};
use crate::pool::Pool;
use crate::stream::Node;

/// The library at work on one GPU.
pub(crate) struct CublasLt {
    plans: Mutex<HashMap<Key, Option<Arc<Plan>>>>,
    handle: Handle,
    pool: Arc<Pool>,
}

/// A matrix product `c [m, n] = a [m, k] b [k, n]` of matrices that lie row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// a lies as its transpose, \[k, m\].
    pub(crate) a_transposed: bool,
    /// b lies as its transpose, \[n, k\].
    pub(crate) b_transposed: bool,
}

/// All that an algorithm depends on, on one GPU: also how operands and result are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    operands: DType,
    result: DType,
}

/// The library's functions, and their handle of a GPU.
struct Handle {
    functions: Functions,
    handle: cublasLtHandle_t,
    context: Arc<Context>,
}

// SAFETY: the library's handle may be used by several threads at once, and destroyed by any.
unsafe impl Send for Handle {}
// SAFETY: see Send.
unsafe impl Sync for Handle {}

impl CublasLt {
    /// The library for a GPU and its memory, if it was found.
    ///
    /// # Errors
    /// It was found and does not start, as one of a CUDA version that the driver does not know.
    pub(crate) fn open(context: &Arc<Context>, pool: &Arc<Pool>) -> Result<Option<Self>> {
        let Some(path) = libraries::place_of(Library::CublasLt) else { return Ok(None) };
        Ok(Some(CublasLt { plans: Mutex::default(), handle: Handle::new(path, context)?, pool: pool.clone() }))
    }

    /// Its version, which decides its bits.
    pub(crate) fn version(&self) -> String {
        // SAFETY: it has no argument.
        let number = unsafe { (self.handle.functions.cublasLtGetVersion)() };
        format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
    }

    /// The product, in a new buffer; none where the library has no algorithm for these sizes.
    ///
    /// # Errors
    /// Operands of other sizes, or what the library or the driver says.
    pub(crate) fn multiply<T: CudaElement, U: CudaElement>(
        &self,
        product: Product,
        a: &Buffer<T>,
        b: &Buffer<T>,
    ) -> Result<Option<Buffer<U>>> {
        let Product { m, n, k, .. } = product;
        check::length("the first factor", a.len(), check::numel(m, k)?)?;
        check::length("the second factor", b.len(), check::numel(k, n)?)?;
        let len = check::numel(m, n)?;
        if m == 0 || n == 0 || k == 0 {
            return Ok(None);
        }
        let (operands, result) = (T::DTYPE, U::DTYPE);
        let failed = |status| {
            let what = format!("product [{m}, {k}] x [{k}, {n}] of {operands} into {result}");
            self.error(&what, status)
        };
        let key = Key { product, operands, result };
        let Some(plan) = self.plan(key).map_err(failed)? else { return Ok(None) };
        let c = Buffer::new(self.pool.take::<U>(len)?, len);
        // It goes back to the free list at the end, for whatever comes later in the stream.
        let workspace: Option<Buffer<u8>> = match plan.workspace() {
            0 => None,
            bytes => Some(Buffer::new(self.pool.take::<u8>(bytes)?, bytes)),
        };
        let operands = plan::Operands {
            a: address(a),
            b: address(b),
            c: address(&c),
            workspace: workspace.as_ref().map_or(std::ptr::null_mut(), address),
        };
        // SAFETY: the buffers have the sizes of the plan's product, compared above; c and the workspace are new; the stream is
        // the context's, which is current.
        let run = |stream| unsafe { plan.run(&self.handle, &operands, stream) };
        if let Err(status) = self.handle.context.stream()?.enqueue(Node::Product, run) {
            // The library does not say of a device that it is lost; the driver does, also while a stream is captured.
            self.handle.context.free_memory()?;
            return Err(failed(status));
        }
        Ok(Some(c))
    }

    /// The plan for a product, found by the first who asks; none where the library has no algorithm.
    fn plan(&self, key: Key) -> Result<Option<Arc<Plan>>, cublasStatus_t> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plans.get(&key) {
            return Ok(known.clone());
        }
        let found = Plan::find(&self.handle, &key, self.handle.context.about().capability)?.map(Arc::new);
        plans.insert(key, found.clone());
        Ok(found)
    }

    /// The library's answer for this GPU while something was done.
    fn error(&self, what: &str, status: cublasStatus_t) -> Error {
        let about = self.handle.context.about();
        error(format!("GPU {} ({}): {what}", about.ordinal, about.name), &self.handle.functions, status)
    }
}

/// Where a buffer is, as C has it.
fn address<U: Plain>(buffer: &Buffer<U>) -> *mut c_void {
    buffer.at() as *mut c_void
}

impl Handle {
    fn new(path: &Path, context: &Arc<Context>) -> Result<Self> {
        let named = |error: libloading::Error| Error::Device {
            backend: "cuda",
            message: format!("cuBLASLt of {}: {error}", path.display()),
        };
        // SAFETY: the same file was opened before, and looked at; to open it again gives the same library.
        let library = unsafe { libloading::Library::new(path) }.map_err(named)?;
        // SAFETY: this is cuBLASLt, which stays open.
        let functions = unsafe { Functions::of(&library) }.map_err(named)?;
        std::mem::forget(library); // as every library of CUDA's stays for the whole process
        context.stream()?; // makes the context current, whose the handle will be
        let mut handle = std::ptr::null_mut();
        // SAFETY: the handle is written; a context is current.
        let status = unsafe { (functions.cublasLtCreate)(&mut handle) };
        if status != CUBLAS_STATUS_SUCCESS {
            let rule = "must be of a CUDA version that the driver knows; nothing needs it, so that it can be removed";
            return Err(error(format!("{} does not start ({rule})", path.display()), &functions, status));
        }
        Ok(Handle { functions, handle, context: context.clone() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Products that run need it. Of a device that is lost nothing runs, and nothing can be given back.
        if self.context.synchronise().is_ok() {
            // SAFETY: it was created and is destroyed once; its context is current.
            let _ = unsafe { (self.functions.cublasLtDestroy)(self.handle) };
        }
    }
}

fn error(what: String, functions: &Functions, status: cublasStatus_t) -> Error {
    // SAFETY: any number has a text or none.
    let text = unsafe { (functions.cublasLtGetStatusString)(status) };
    let meaning = match text.is_null() {
        true => "no text".into(),
        // SAFETY: a text of the library's own, which ends with zero and stays.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy(),
    };
    Error::Device { backend: "cuda", message: format!("cuBLASLt: {what}: status {} ({meaning})", status.0) }
}
