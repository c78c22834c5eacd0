//! Addition and conversion.

use std::any::Any;

use cnn_core::backend::{Data, Wide, check};
use cnn_core::{Plain, Result};

use crate::buffer::Buffer;
use crate::compiler::{Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;

pub(crate) const SOURCE: Source = source!("elementwise");

/// a + b.
pub(crate) fn add<T: CudaElement>(cuda: &Cuda<T>, mut a: Data<Cuda<T>>, b: &Data<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    check::length("the second operand", b.len(), a.len())?;
    let y = cuda.in_place(&mut a)?;
    let launch = cuda.kernel(SOURCE, "add")?.buffer(&a).buffer(b).buffer(&y).value(a.len() as u64);
    // SAFETY: the three have as many elements; y is new, or a, which was given away.
    unsafe { launch.over_vectors::<T>(a.len()) }?;
    Ok(y)
}

/// Activations as accumulators: of f32 a handle to the same numbers, which nobody changes while there are two.
pub(crate) fn widen<T: CudaElement>(cuda: &Cuda<T>, x: &Data<Cuda<T>>) -> Result<Wide<Cuda<T>>> {
    if let Some(same) = same(x) {
        return Ok(same);
    }
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "widen")?.buffer(x).buffer(&y).value(x.len() as u64);
    // SAFETY: both have as many elements, and y is new.
    unsafe { launch.over_vectors::<T>(x.len()) }?;
    Ok(y)
}

/// Accumulators rounded to activations: of f32 a handle likewise.
pub(crate) fn narrow<T: CudaElement>(cuda: &Cuda<T>, x: &Wide<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    if let Some(same) = same(x) {
        return Ok(same);
    }
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "narrow")?.buffer(x).buffer(&y).value(x.len() as u64);
    // SAFETY: both have as many elements, and y is new.
    unsafe { launch.over_vectors::<T>(x.len()) }?;
    Ok(y)
}

/// A second handle to `x`, where both types are the same.
pub(crate) fn same<U: Plain, V: Plain>(x: &Buffer<U>) -> Option<Buffer<V>> {
    (x as &dyn Any).downcast_ref().cloned()
}

/// `len` times `value`.
pub(crate) fn fill<T: CudaElement, U: Plain>(cuda: &Cuda<T>, len: usize, value: U) -> Result<Buffer<U>> {
    // What four bytes are filled with, as of three sizes there are copies in them. Of eight bytes there is f64 alone, which no
    // operation here uses.
    if size_of::<U>() > size_of::<u32>() {
        return cuda.uploaded(&vec![value; len]);
    }
    let y: Buffer<U> = cuda.alloc(len)?;
    let copies = [value; 4];
    let mut bytes = 0u32;
    // SAFETY: at most four plain numbers have at least four bytes, which are copied into four.
    unsafe {
        std::ptr::from_ref(&copies).cast::<u8>().copy_to_nonoverlapping((&raw mut bytes).cast(), size_of::<u32>())
    };
    let launch = cuda.kernel(SOURCE, "fill")?.buffer(&y).value(bytes).value(y.bytes() as u64);
    // SAFETY: y is new and has as many bytes.
    unsafe { launch.over_vectors::<u8>(y.bytes()) }?;
    Ok(y)
}
