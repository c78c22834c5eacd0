//! What a CPU kernel can compute with: f32 or f64.
//!
//! One private trait carries everything that differs by element, so that no kernel is written twice.

use cnn_core::Real;

use crate::backend::Operations;
use crate::simd::{Simd, Vector};

/// An element of the CPU backend: f32, or with the feature `f64` also f64.
pub trait CpuElement: Real + sealed::Sealed {
    /// Its vector in an instruction set.
    #[doc(hidden)]
    type V<S: Simd>: Vector<Self, Simd = S>;

    /// What the backend does with such elements.
    #[doc(hidden)]
    fn operations() -> &'static Operations<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    #[cfg(feature = "f64")]
    impl Sealed for f64 {}
}

macro_rules! element {
    ($t:ty, $v:ident) => {
        impl CpuElement for $t {
            type V<S: Simd> = S::$v;

            fn operations() -> &'static Operations<Self> {
                static OPERATIONS: Operations<$t> = Operations::TABLE;
                &OPERATIONS
            }
        }
    };
}

element!(f32, F32);
#[cfg(feature = "f64")]
element!(f64, F64);
