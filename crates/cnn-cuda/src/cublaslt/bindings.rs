//! What is used of cuBLASLt's C interface, under NVIDIA's names. Types, values and layouts are those of `cublasLt.h`, as
//! cudarc's own bindings are generated from it; its feature for them would bring a second version of the crate rand.
#![expect(non_camel_case_types, non_snake_case)]

use std::ffi::{c_char, c_int, c_void};

use cudarc::driver::sys::CUstream;

/// What every function returns: any number, as later versions have more of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct cublasStatus_t(pub(super) c_int);

pub(super) const CUBLAS_STATUS_SUCCESS: cublasStatus_t = cublasStatus_t(0);
pub(super) const CUBLAS_STATUS_NOT_SUPPORTED: cublasStatus_t = cublasStatus_t(15);

/// In what sums are added up.
pub(super) type cublasComputeType_t = c_int;

pub(super) const CUBLAS_COMPUTE_32F: cublasComputeType_t = 68;
pub(super) const CUBLAS_COMPUTE_32F_PEDANTIC: cublasComputeType_t = 69;

/// How a number is stored.
pub(super) type cudaDataType_t = c_int;

pub(super) const CUDA_R_32F: cudaDataType_t = 0;
pub(super) const CUDA_R_16BF: cudaDataType_t = 14;

/// Whether a matrix is read as its transpose.
pub(super) type cublasOperation_t = i32;

pub(super) const CUBLAS_OP_N: cublasOperation_t = 0;
pub(super) const CUBLAS_OP_T: cublasOperation_t = 1;

/// What can be set of a product.
pub(super) type cublasLtMatmulDescAttributes_t = c_int;

pub(super) const CUBLASLT_MATMUL_DESC_TRANSA: cublasLtMatmulDescAttributes_t = 3;
pub(super) const CUBLASLT_MATMUL_DESC_TRANSB: cublasLtMatmulDescAttributes_t = 4;

/// What can be asked of an algorithm.
pub(super) type cublasLtMatmulPreferenceAttributes_t = c_int;

pub(super) const CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: cublasLtMatmulPreferenceAttributes_t = 1;
pub(super) const CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: cublasLtMatmulPreferenceAttributes_t = 3;

/// How the parts of a sum that is split become one: bits of a mask.
pub(super) type cublasLtReductionScheme_t = u32;

pub(super) const CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: cublasLtReductionScheme_t = 2;

/// The library's handle, which several threads may use at once.
pub(super) type cublasLtHandle_t = *mut c_void;
pub(super) type cublasLtMatmulDesc_t = *mut c_void;
pub(super) type cublasLtMatrixLayout_t = *mut c_void;
pub(super) type cublasLtMatmulPreference_t = *mut c_void;

/// An algorithm, as only the library reads it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct cublasLtMatmulAlgo_t {
    data: [u64; 8],
}

/// An algorithm that was found.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct cublasLtMatmulHeuristicResult_t {
    pub(super) algo: cublasLtMatmulAlgo_t,
    pub(super) workspaceSize: usize,
    pub(super) state: cublasStatus_t,
    wavesCount: f32,
    reserved: [c_int; 4],
}

impl Default for cublasLtMatmulHeuristicResult_t {
    fn default() -> Self {
        let (algo, state) = (cublasLtMatmulAlgo_t::default(), CUBLAS_STATUS_NOT_SUPPORTED);
        cublasLtMatmulHeuristicResult_t { algo, workspaceSize: 0, state, wavesCount: 0.0, reserved: [0; 4] }
    }
}

/// The functions' names.
pub(crate) const FUNCTIONS: &[&str] = NAMES;

/// Declares the functions and finds them in the library.
macro_rules! functions {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// The functions of an open library.
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument: $type),*) -> $result,)*
        }

        impl Functions {
            /// # Safety
            /// The library is cuBLASLt, and stays open as long as the functions are used.
            pub(super) unsafe fn of(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the caller says what the library is, whose functions of these names have these types.
                Ok(Functions { $($name: *unsafe { library.get(stringify!($name)) }?),* })
            }
        }
    };
}

functions! {
    cublasLtCreate(handle: *mut cublasLtHandle_t) -> cublasStatus_t;
    cublasLtDestroy(handle: cublasLtHandle_t) -> cublasStatus_t;
    cublasLtGetVersion() -> usize;
    cublasLtGetStatusString(status: cublasStatus_t) -> *const c_char;
    cublasLtMatmulDescCreate(
        description: *mut cublasLtMatmulDesc_t,
        compute: cublasComputeType_t,
        scale: cudaDataType_t
    ) -> cublasStatus_t;
    cublasLtMatmulDescSetAttribute(
        description: cublasLtMatmulDesc_t,
        attribute: cublasLtMatmulDescAttributes_t,
        value: *const c_void,
        bytes: usize
    ) -> cublasStatus_t;
    cublasLtMatmulDescDestroy(description: cublasLtMatmulDesc_t) -> cublasStatus_t;
    cublasLtMatrixLayoutCreate(
        layout: *mut cublasLtMatrixLayout_t,
        data: cudaDataType_t,
        rows: u64,
        columns: u64,
        leading: i64
    ) -> cublasStatus_t;
    cublasLtMatrixLayoutDestroy(layout: cublasLtMatrixLayout_t) -> cublasStatus_t;
    cublasLtMatmulPreferenceCreate(preference: *mut cublasLtMatmulPreference_t) -> cublasStatus_t;
    cublasLtMatmulPreferenceSetAttribute(
        preference: cublasLtMatmulPreference_t,
        attribute: cublasLtMatmulPreferenceAttributes_t,
        value: *const c_void,
        bytes: usize
    ) -> cublasStatus_t;
    cublasLtMatmulPreferenceDestroy(preference: cublasLtMatmulPreference_t) -> cublasStatus_t;
    cublasLtMatmulAlgoGetHeuristic(
        handle: cublasLtHandle_t,
        description: cublasLtMatmulDesc_t,
        a: cublasLtMatrixLayout_t,
        b: cublasLtMatrixLayout_t,
        c: cublasLtMatrixLayout_t,
        d: cublasLtMatrixLayout_t,
        preference: cublasLtMatmulPreference_t,
        wanted: c_int,
        results: *mut cublasLtMatmulHeuristicResult_t,
        found: *mut c_int
    ) -> cublasStatus_t;
    cublasLtMatmul(
        handle: cublasLtHandle_t,
        description: cublasLtMatmulDesc_t,
        alpha: *const c_void,
        a: *const c_void,
        a_layout: cublasLtMatrixLayout_t,
        b: *const c_void,
        b_layout: cublasLtMatrixLayout_t,
        beta: *const c_void,
        c: *const c_void,
        c_layout: cublasLtMatrixLayout_t,
        d: *mut c_void,
        d_layout: cublasLtMatrixLayout_t,
        algorithm: *const cublasLtMatmulAlgo_t,
        workspace: *mut c_void,
        workspace_bytes: usize,
        stream: CUstream
    ) -> cublasStatus_t;
}
