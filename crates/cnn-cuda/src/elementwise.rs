//! Addition and conversion.

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
    unsafe { launch.over(a.len()) }?;
    Ok(y)
}

/// Activations as accumulators.
pub(crate) fn widen<T: CudaElement>(cuda: &Cuda<T>, x: &Data<Cuda<T>>) -> Result<Wide<Cuda<T>>> {
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "widen")?.buffer(x).buffer(&y).value(x.len() as u64);
    // SAFETY: both have as many elements, and y is new.
    unsafe { launch.over(x.len()) }?;
    Ok(y)
}

/// Accumulators rounded to activations.
pub(crate) fn narrow<T: CudaElement>(cuda: &Cuda<T>, x: &Wide<Cuda<T>>) -> Result<Data<Cuda<T>>> {
    let y = cuda.alloc(x.len())?;
    let launch = cuda.kernel(SOURCE, "narrow")?.buffer(x).buffer(&y).value(x.len() as u64);
    // SAFETY: both have as many elements, and y is new.
    unsafe { launch.over(x.len()) }?;
    Ok(y)
}

/// `len` times `value`.
pub(crate) fn fill<T: CudaElement, U: Plain>(cuda: &Cuda<T>, len: usize, value: U) -> Result<Buffer<U>> {
    let kernel = match size_of::<U>() {
        1 => "fill_1",
        2 => "fill_2",
        4 => "fill_4",
        // Of eight bytes there is f64 alone, which no operation here uses.
        _ => return cuda.uploaded(&vec![value; len]),
    };
    let y = cuda.alloc(len)?;
    let mut bits = 0u32;
    // SAFETY: a plain number of at most four bytes, copied into four.
    unsafe { std::ptr::from_ref(&value).cast::<u8>().copy_to_nonoverlapping((&raw mut bits).cast(), size_of::<U>()) };
    let launch = cuda.kernel(SOURCE, kernel)?.buffer(&y).value(bits).value(len as u64);
    // SAFETY: y is new and has as many numbers, of the kernel's size.
    unsafe { launch.over(len) }?;
    Ok(y)
}
