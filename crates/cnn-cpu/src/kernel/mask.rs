//! What a ReLU lets back.

use num_traits::Float;

use crate::element::{CpuElement, V};
use crate::simd::{Simd, Vector};

/// `dy`, or 0 where `y`, a ReLU's input or output, is at most 0. A NaN lets it through, as in PyTorch.
#[inline(always)]
pub(crate) fn relu_backward<T: CpuElement, S: Simd>(simd: S, y: V<T, S>, dy: V<T, S>) -> V<T, S> {
    // The least number above 0: to be below it is to be at most 0.
    let least = V::<T, S>::splat(simd, T::Accum::min_positive_value() * T::Accum::epsilon());
    least.select_greater(y, V::<T, S>::zero(simd), dy)
}
