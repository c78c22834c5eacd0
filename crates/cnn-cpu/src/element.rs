//! What a CPU kernel can compute with: f32 or f64.
//!
//! One private trait carries everything that differs by element, so that no kernel is written twice.

use cnn_core::Real;

use crate::backend::Operations;
use crate::simd::{Simd, Vector};

/// An element of the CPU backend: f32 or f64.
pub trait CpuElement: Real + sealed::Sealed {
    /// Its vector in an instruction set.
    #[doc(hidden)]
    type V<S: Simd>: Vector<Self, Simd = S>;

    /// What the backend does with such elements.
    #[doc(hidden)]
    fn operations() -> &'static Operations<Self>;

    /// C = alpha * A * B + beta * C by `matrixmultiply`.
    ///
    /// # Safety
    /// As `matrixmultiply::sgemm`: every element that sizes and strides reach is valid, and those of C for writes and
    /// not reached twice. C may be uninitialised when beta is 0.
    #[doc(hidden)]
    unsafe fn gemm(
        size: [usize; 3],
        alpha: Self,
        a: (*const Self, [isize; 2]),
        b: (*const Self, [isize; 2]),
        beta: Self,
        c: (*mut Self, [isize; 2]),
    );
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! element {
    ($t:ty, $v:ident, $gemm:path) => {
        impl CpuElement for $t {
            type V<S: Simd> = S::$v;

            fn operations() -> &'static Operations<Self> {
                static OPERATIONS: Operations<$t> = Operations::TABLE;
                &OPERATIONS
            }

            unsafe fn gemm(
                [m, k, n]: [usize; 3],
                alpha: Self,
                (a, [rsa, csa]): (*const Self, [isize; 2]),
                (b, [rsb, csb]): (*const Self, [isize; 2]),
                beta: Self,
                (c, [rsc, csc]): (*mut Self, [isize; 2]),
            ) {
                // SAFETY: the caller's promise is the callee's.
                unsafe { $gemm(m, k, n, alpha, a, rsa, csa, b, rsb, csb, beta, c, rsc, csc) }
            }
        }
    };
}

element!(f32, F32, matrixmultiply::sgemm);
element!(f64, F64, matrixmultiply::dgemm);
