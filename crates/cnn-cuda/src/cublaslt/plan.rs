//! A product as cuBLASLt is asked for it, and the algorithm for it: found once.
//!
//! # Rows and columns
//!
//! cuBLASLt's matrices lie column by column. A matrix that lies row by row is, so read, its transpose. Our `c = a b` is theirs
//! `c^T = b^T a^T`: their A is our b, their B is our a, and neither is copied. An operand that we have as a transpose they have as one
//! too, so the two flags change places with their operands. Their rows are our columns: the leading dimension is the length of a
//! row.
//!
//! # Alignment
//!
//! Addresses are multiples of 512 bytes, as every block of the free list is, and so of the 256 that the heuristics take for
//! granted; what an odd length of rows does to the alignment of a row they see in the layouts.

use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};

use cnn_core::DType;
use cudarc::driver::sys::CUstream;

use super::bindings::*;
use super::{Handle, Key};

/// A product's description, its layouts and its algorithm.
pub(super) struct Plan {
    description: Object,
    a: Object,
    b: Object,
    c: Object,
    found: cublasLtMatmulHeuristicResult_t,
}

/// Addresses in the GPU's memory.
pub(super) struct Operands {
    pub(super) a: *mut c_void,
    pub(super) b: *mut c_void,
    pub(super) c: *mut c_void,
    /// Null where there is none.
    pub(super) workspace: *mut c_void,
}

/// Parts of a split sum are added up in f32, from the workspace, by a kernel of its own that follows. The other schemes add
/// them in the output's type, which in bf16 rounds each of them.
const REDUCTION: cublasLtReductionScheme_t = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;

/// The most bytes of workspace, as NVIDIA recommends for a GPU's generation.
fn most_workspace((major, _): (c_int, c_int)) -> u64 {
    match major {
        9 | 10 => 32 << 20,
        _ => 4 << 20,
    }
}

fn data_type(dtype: DType) -> cudaDataType_t {
    if dtype == DType::BF16 { CUDA_R_16BF } else { CUDA_R_32F }
}

impl Plan {
    /// The plan for a product, none if the library has no algorithm for it.
    pub(super) fn find(handle: &Handle, key: &Key, capability: (c_int, c_int)) -> Result<Option<Self>, cublasStatus_t> {
        let (product, functions) = (key.product, &handle.functions);
        // In f32 the plain mode may take what is as good as f32 by its own measure; this one computes in f32 alone.
        let compute = if key.operands == DType::BF16 { CUBLAS_COMPUTE_32F } else { CUBLAS_COMPUTE_32F_PEDANTIC };
        let description = Object::new(functions.cublasLtMatmulDescDestroy, |object| {
            // SAFETY: the object is written.
            unsafe { (functions.cublasLtMatmulDescCreate)(object, compute, CUDA_R_32F) }
        })?;
        let set = |attribute, value: *const c_void, bytes| {
            // SAFETY: the description lives, and the value has as many bytes.
            checked(unsafe { (functions.cublasLtMatmulDescSetAttribute)(description.0, attribute, value, bytes) })
        };
        let transposed = |transposed| if transposed { CUBLAS_OP_T } else { CUBLAS_OP_N };
        let operations = [
            (CUBLASLT_MATMUL_DESC_TRANSA, transposed(product.b_transposed)),
            (CUBLASLT_MATMUL_DESC_TRANSB, transposed(product.a_transposed)),
        ];
        for (attribute, operation) in operations {
            set(attribute, from_ref(&operation).cast(), size_of_val(&operation))?;
        }
        // Of a matrix [rows, columns] that lies row by row, or as its transpose.
        let layout = |dtype, rows: usize, columns: usize, transposed: bool| {
            let (across, down) = if transposed { (rows, columns) } else { (columns, rows) };
            Object::new(functions.cublasLtMatrixLayoutDestroy, |object| {
                let create = functions.cublasLtMatrixLayoutCreate;
                // SAFETY: the object is written.
                unsafe { create(object, data_type(dtype), across as u64, down as u64, across as i64) }
            })
        };
        let (m, n, k) = (product.m, product.n, product.k);
        let a = layout(key.operands, m, k, product.a_transposed)?;
        let b = layout(key.operands, k, n, product.b_transposed)?;
        let c = layout(key.result, m, n, false)?;

        let preference = Object::new(functions.cublasLtMatmulPreferenceDestroy, |object| {
            // SAFETY: the object is written.
            unsafe { (functions.cublasLtMatmulPreferenceCreate)(object) }
        })?;
        let prefer = |attribute, value: *const c_void, bytes| {
            let set = functions.cublasLtMatmulPreferenceSetAttribute;
            // SAFETY: the preference lives, and the value has as many bytes.
            checked(unsafe { set(preference.0, attribute, value, bytes) })
        };
        let workspace = most_workspace(capability);
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, from_ref(&workspace).cast(), size_of_val(&workspace))?;
        prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, from_ref(&REDUCTION).cast(), size_of_val(&REDUCTION))?;

        let (mut found, mut count) = (cublasLtMatmulHeuristicResult_t::default(), 0);
        // SAFETY: every object lives; there is room for the one result that is wanted.
        let status = unsafe {
            (functions.cublasLtMatmulAlgoGetHeuristic)(
                handle.handle,
                description.0,
                b.0,
                a.0,
                c.0,
                c.0,
                preference.0,
                1,
                &mut found,
                &mut count,
            )
        };
        if status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_SUCCESS && count == 0 {
            return Ok(None);
        }
        checked(status)?;
        checked(found.state)?;
        Ok(Some(Plan { description, a, b, c, found }))
    }

    /// Bytes of workspace that a run is given.
    pub(super) fn workspace(&self) -> usize {
        self.found.workspaceSize
    }

    /// Puts the product into the stream.
    ///
    /// # Safety
    /// The operands are there whose plan it is, of its sizes, and as much workspace as it says; nobody else reads or writes the
    /// result and the workspace; the stream is one of the current context.
    pub(super) unsafe fn run(
        &self,
        handle: &Handle,
        operands: &Operands,
        stream: CUstream,
    ) -> Result<(), cublasStatus_t> {
        // SAFETY: the objects live; the factors are read on the host before the call returns; the rest is the caller's promise.
        checked(unsafe {
            (handle.functions.cublasLtMatmul)(
                handle.handle,
                self.description.0,
                from_ref(&1.0f32).cast(),
                operands.b,
                self.b.0,
                operands.a,
                self.a.0,
                from_ref(&0.0f32).cast(),
                operands.c,
                self.c.0,
                operands.c,
                self.c.0,
                &self.found.algo,
                operands.workspace,
                self.workspace(),
                stream,
            )
        })
    }
}

/// Something of the library's on the host: where it is, and what destroys it.
struct Object(*mut c_void, Destroy);

type Destroy = unsafe extern "C" fn(*mut c_void) -> cublasStatus_t;

// SAFETY: memory of the host, which any thread may use and free.
unsafe impl Send for Object {}
// SAFETY: once a plan was found its objects are only read.
unsafe impl Sync for Object {}

impl Object {
    fn new(destroy: Destroy, create: impl FnOnce(*mut *mut c_void) -> cublasStatus_t) -> Result<Self, cublasStatus_t> {
        let mut object = null_mut();
        checked(create(&mut object))?;
        Ok(Object(object, destroy))
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: it was created, and is destroyed once.
        let _ = unsafe { (self.1)(self.0) };
    }
}

fn checked(status: cublasStatus_t) -> Result<(), cublasStatus_t> {
    if status == CUBLAS_STATUS_SUCCESS { Ok(()) } else { Err(status) }
}
