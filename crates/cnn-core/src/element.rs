//! What a buffer can hold, and how activations are rounded.
//!
//! An [`Element`] is how activations are stored; its [`Accum`](Element::Accum) is what sums, parameters, statistics and
//! losses are computed in: f64 for f64 and f32 for the rest.

use std::fmt::{Debug, Display};
use std::ops::AddAssign;

use half::{bf16, f16};
use num_traits::{Float, NumAssign};
use serde::{Deserialize, Serialize};

/// What device memory holds: numbers without padding or pointers, of which every bit pattern is one. Backends rely on
/// that when they hand out memory that was used before, so no other crate can add to the list.
pub trait Plain: sealed::Sealed + Copy + Debug + Default + PartialEq + Send + Sync + 'static {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! plain {
    ($($t:ty)*) => { $(
        impl sealed::Sealed for $t {}
        impl Plain for $t {}
    )* };
}

plain!(u8 u32 f32 f64 bf16 f16);

/// A floating-point format by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE binary64.
    F64,
    /// IEEE binary32.
    F32,
    /// The upper half of a binary32: 8 bits of precision.
    BF16,
    /// IEEE binary16: storage only, there is no loss scaling.
    F16,
}

impl Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
        })
    }
}

/// How activations are stored.
pub trait Element: Plain + Display {
    /// What sums of such elements are computed in.
    type Accum: Real;
    /// The name of the format.
    const DTYPE: DType;
    /// The nearest element.
    fn from_accum(value: Self::Accum) -> Self;
    /// The same value, exactly.
    fn to_accum(self) -> Self::Accum;
}

/// An element that is its own accumulator: f32 or f64.
pub trait Real: Element<Accum = Self> + Float + NumAssign + AddAssign + std::iter::Sum {
    /// The nearest number of this format.
    fn from_f64(value: f64) -> Self;
    /// The same value, exactly.
    fn as_f64(self) -> f64;
}

macro_rules! element {
    ($($t:ty, $accum:ty, $dtype:ident, $from:expr, $to:expr;)*) => { $(
        impl Element for $t {
            type Accum = $accum;
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn from_accum(value: $accum) -> Self {
                $from(value)
            }
            #[inline(always)]
            fn to_accum(self) -> $accum {
                $to(self)
            }
        }
    )* };
}

element! {
    f64, f64, F64, std::convert::identity, std::convert::identity;
    f32, f32, F32, std::convert::identity, std::convert::identity;
    bf16, f32, BF16, bf16::from_f32, bf16::to_f32;
    f16, f32, F16, f16::from_f32, f16::to_f32;
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn as_f64(self) -> f64 {
        self
    }
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}
