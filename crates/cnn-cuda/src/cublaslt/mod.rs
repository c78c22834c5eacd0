//! Matrix products by NVIDIA's library cuBLASLt, where it is found.
//!
//! It has kernels for every GPU and size, also with the instructions that only one generation has, and is 500 MB large: nobody must
//! install it. Where it is, dense layers run on it; where it is not, on the kernels of this crate.
//!
//! The same bits in every run: a product's algorithm is the first that the library's heuristics name for its sizes on this
//! GPU, and no part of a sum is added up in another order or precision, see [`plan`].

mod bindings;
pub(crate) mod linear;
mod plan;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

/// The library at work on one GPU.
pub(crate) struct CublasLt {
    plans: Mutex<HashMap<Key, Option<Plan>>>,
    handle: Handle,
    pool: Arc<Pool>,
}

/// A matrix product `c [m, n] = a [m, k] b [k, n]` of matrices that lie row by row, with what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// a lies as its transpose, \[k, m\].
    pub(crate) a_transposed: bool,
    /// b lies as its transpose, \[n, k\].
    pub(crate) b_transposed: bool,
    /// What is negative becomes 0, last of all.
    pub(crate) relu: bool,
}

/// What is added to a product before its ReLU.
pub(crate) struct Terms<'a, U: CudaElement> {
    /// To every row, \[n\].
    pub(crate) bias: Option<&'a Buffer<U>>,
    /// Element by element, \[m, n\].
    pub(crate) residual: Option<&'a Buffer<U>>,
}

impl<U: CudaElement> Terms<'_, U> {
    pub(crate) const NONE: Self = Terms { bias: None, residual: None };
}

/// All that an algorithm depends on, on one GPU: also how operands and result are stored, and which terms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    operands: DType,
    result: DType,
    bias: bool,
    residual: bool,
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

    /// The product and what follows it, in a new buffer; none where the library has no algorithm for these sizes.
    ///
    /// # Errors
    /// Operands of other sizes, or what the library or the driver says.
    pub(crate) fn multiply<T: CudaElement, U: CudaElement>(
        &self,
        product: Product,
        a: &Buffer<T>,
        b: &Buffer<T>,
        terms: &Terms<'_, U>,
    ) -> Result<Option<Buffer<U>>> {
        let Product { m, n, k, .. } = product;
        check::length("the first factor", a.len(), check::numel(m, k)?)?;
        check::length("the second factor", b.len(), check::numel(k, n)?)?;
        let len = check::numel(m, n)?;
        if let Some(bias) = terms.bias {
            check::length("the bias", bias.len(), n)?;
        }
        if let Some(residual) = terms.residual {
            check::length("the residual", residual.len(), len)?;
        }
        if m == 0 || n == 0 || k == 0 {
            return Ok(None);
        }
        let (operands, result) = (T::DTYPE, U::DTYPE);
        let failed = |status| {
            let what = format!("product [{m}, {k}] x [{k}, {n}] of {operands} into {result}");
            self.error(&what, status)
        };
        let stream = self.handle.context.stream()?;
        let (bias, residual) = (terms.bias.is_some(), terms.residual.is_some());
        let key = Key { product, operands, result, bias, residual };
        let bias = terms.bias.map(address);
        let Some(workspace) = self.planned(&key, bias, |plan| plan.workspace()).map_err(failed)? else {
            return Ok(None);
        };
        let c = Buffer::new(self.pool.take::<U>(len)?, len);
        // It goes back to the free list at the end, for whatever comes later in the stream.
        let workspace: Option<Buffer<u8>> = match workspace {
            0 => None,
            bytes => Some(Buffer::new(self.pool.take::<u8>(bytes)?, bytes)),
        };
        let operands = plan::Operands {
            a: address(a),
            b: address(b),
            c: address(&c),
            bias,
            residual: terms.residual.map(address),
            workspace: workspace.as_ref().map_or(std::ptr::null_mut(), address),
        };
        // The plans are locked within the stream and never the other way around, as who has the stream may wait for neither.
        let run = |stream| {
            // SAFETY: the buffers have the sizes of the plan's product, compared above; c and the workspace are new; the stream is
            // the context's, which is current.
            let run = |plan: &mut Plan| unsafe { plan.run(&self.handle, &operands, stream) };
            self.planned(&key, bias, run)?.unwrap_or(Ok(()))
        };
        stream.enqueue(PRODUCT, run).map_err(failed)?;
        Ok(Some(c))
    }

    /// Has `work` done with the plan, that only it has meanwhile: the address of the bias is the plan's. None where the
    /// library has no algorithm.
    fn planned<R>(
        &self,
        key: &Key,
        bias: Option<*mut c_void>,
        work: impl FnOnce(&mut Plan) -> R,
    ) -> Result<Option<R>, cublasStatus_t> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.entry(*key) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let capability = self.handle.context.about().capability;
                place.insert(Plan::find(&self.handle, key, bias, capability)?)
            }
        };
        Ok(plan.as_mut().map(work))
    }

    /// The library's answer for this GPU while something was done.
    fn error(&self, what: &str, status: cublasStatus_t) -> Error {
        let about = self.handle.context.about();
        error(format!("GPU {} ({}): {what}", about.ordinal, about.name), &self.handle.functions, status)
    }
}

/// What a product is known by in a graph.
const PRODUCT: usize = 3;

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
