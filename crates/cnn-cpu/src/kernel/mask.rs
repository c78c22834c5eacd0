//! Where a ReLU, and the rectifier of a normalisation, let a gradient through.

use cnn_core::backend::Rectifier;

use crate::element::{CpuElement, V};
use crate::simd::{Simd, Vector};

/// `dy`, or 0 where `y`, a ReLU's input or output, is at most 0. A NaN lets it through, as in PyTorch.
#[inline(always)]
pub(crate) fn relu_backward<T: CpuElement, S: Simd>(simd: S, y: V<T, S>, dy: V<T, S>) -> V<T, S> {
    let [least, _] = passes::<T, S>(simd, Rectifier::Relu);
    least.select_greater(y, V::<T, S>::zero(simd), dy)
}

/// The least and the greatest number at which `rectifier` lets a gradient through.
#[inline(always)]
pub(crate) fn passes<T: CpuElement, S: Simd>(simd: S, rectifier: Rectifier) -> [V<T, S>; 2] {
    rectifier.passes::<T::Accum>().map(|number| V::<T, S>::splat(simd, number))
}

/// `dy`, or 0 where `y`, a rectifier's input or output, is outside of the numbers that [`passes`] gives. A NaN lets it through.
#[inline(always)]
pub(crate) fn rectifier_backward<T: CpuElement, S: Simd>(
    simd: S,
    [least, greatest]: [V<T, S>; 2],
    y: V<T, S>,
    dy: V<T, S>,
) -> V<T, S> {
    let zero = V::<T, S>::zero(simd);
    y.select_greater(greatest, zero, least.select_greater(y, zero, dy))
}
