//! The passes of a dense layer as products; none where the library has no algorithm for one.

use cnn_core::Result;
use cnn_core::backend::{Data, Epilogue, LinearSpec, Wide};

use super::{CublasLt, Product};
use crate::buffer::Buffer;
use crate::conv2d::finish;
use crate::device::Cuda;
use crate::element::CudaElement;

/// `y [rows, out] = x [rows, in] weight [in, out]`, and what follows it.
pub(crate) fn forward<T: CudaElement>(
    library: &CublasLt,
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    x: &Data<Cuda<T>>,
    weight: &Buffer<T>,
    epilogue: &Epilogue<'_, Cuda<T>>,
) -> Result<Option<Data<Cuda<T>>>> {
    let LinearSpec { rows: m, inputs: k, outputs: n } = *spec;
    let product = Product { m, n, k, a_transposed: false, b_transposed: false };
    if epilogue.bias.is_none() && epilogue.residual.is_none() && epilogue.activation.is_none() {
        return library.multiply(product, x, weight);
    }
    // Not in the library's own epilogue: it may round the product before it adds a bias, which on an H200 it does, and its GELU is an
    // approximation by tanh.
    let Some(sums) = library.multiply::<T, f32>(product, x, weight)? else { return Ok(None) };
    finish(cuda, &sums, epilogue, n).map(Some)
}

/// `dx [rows, in] = dy [rows, out] weight^T`, of a weight that lies as \[in, out\].
pub(crate) fn backward_data<T: CudaElement>(
    library: &CublasLt,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    weight: &Buffer<T>,
) -> Result<Option<Data<Cuda<T>>>> {
    let LinearSpec { rows: m, inputs: n, outputs: k } = *spec;
    let product = Product { m, n, k, a_transposed: false, b_transposed: true };
    library.multiply(product, dy, weight)
}

/// `dweight [in, out] = x^T dy`, of x \[rows, in\] and dy \[rows, out\], in f32.
pub(crate) fn backward_weight<T: CudaElement>(
    library: &CublasLt,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
) -> Result<Option<Wide<Cuda<T>>>> {
    let LinearSpec { rows: k, inputs: m, outputs: n } = *spec;
    let product = Product { m, n, k, a_transposed: true, b_transposed: false };
    library.multiply(product, x, dy)
}
