//! Weights rounded to activations, as products read them: kept beside the weights until these change, and written by the
//! optimiser with the weights, which it has in registers then.
//!
//! A copy is found through the weights' own memory, so it is that of no others; and numbers change only where a buffer says
//! [`can_change`](crate::buffer::Buffer::can_change), which forgets the copy. Of f32 there is none: a handle to the weights serves.

use cnn_core::backend::{Data, Wide};
use cnn_core::{DType, Result};

use crate::buffer::Rounded;
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::elementwise::{narrow, same};

/// `weight` rounded to activations.
pub(crate) fn rounded<T: CudaElement>(cuda: &Cuda<T>, weight: &Wide<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    // A recording works in memory of its own, and leaves nothing in it.
    if cuda.pool().is_recording() {
        return narrow(cuda, weight);
    }
    let lost = cuda.context().stream()?.lost();
    let kept = weight.rounded().filter(|kept| kept.lost == lost);
    if let Some(kept) = kept.and_then(|kept| same(&kept.numbers)) {
        return Ok(kept);
    }
    let numbers = narrow(cuda, weight)?;
    if let Some(numbers) = same(&numbers) {
        weight.keep_rounded(Rounded { numbers, lost });
    }
    Ok(numbers)
}

/// What `weight` has rounded, for who is about to write both; none where others still read one of them.
pub(crate) fn to_be_written<T: CudaElement>(cuda: &Cuda<T>, weight: &mut Wide<Cuda<T>>) -> Result<Option<Rounded>> {
    let lost = cuda.context().stream()?.lost();
    // The kernels of f32 would write numbers of four bytes.
    let ours = |kept: &mut Rounded| T::DTYPE == DType::BF16 && kept.lost == lost && kept.numbers.can_change();
    Ok(weight.take_rounded().and_then(|mut kept| ours(&mut kept).then_some(kept)))
}
