//! The passes of a dense layer as products; none where the library has no algorithm for one.

use cnn_core::backend::{Activation, Data, Epilogue, LinearSpec, Wide};
use cnn_core::{DType, Result};

use super::{CublasLt, Product, Terms};
use crate::activation;
use crate::buffer::Buffer;
use crate::conv2d::finish;
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::elementwise::narrow;

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
    let nothing = epilogue.bias.is_none() && epilogue.residual.is_none() && epilogue.activation.is_none();
    if T::DTYPE != DType::F32 && !nothing {
        // The library may round the product before it adds a bias, which on an H200 it does, and takes a bias of the result's
        // type only.
        let product = Product { m, n, k, a_transposed: false, b_transposed: false, relu: false };
        let Some(sums) = library.multiply::<T, f32>(product, x, weight, &Terms::NONE)? else { return Ok(None) };
        return finish(cuda, &sums, epilogue, n).map(Some);
    }
    let bias = epilogue.bias.map(|bias| narrow(cuda, bias)).transpose()?;
    let relu = epilogue.activation == Some(Activation::Relu);
    let product = Product { m, n, k, a_transposed: false, b_transposed: false, relu };
    let terms = Terms { bias: bias.as_ref(), residual: epilogue.residual };
    let y = library.multiply(product, x, weight, &terms)?;
    match (y, epilogue.activation) {
        // The library's is an approximation of it by tanh.
        (Some(y), Some(Activation::Gelu)) => activation::activate(cuda, Activation::Gelu, y).map(Some),
        (y, _) => Ok(y),
    }
}

/// `dx [rows, in] = dy [rows, out] weight^T`, of a weight that lies as \[in, out\].
pub(crate) fn backward_data<T: CudaElement>(
    library: &CublasLt,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    weight: &Buffer<T>,
) -> Result<Option<Data<Cuda<T>>>> {
    let LinearSpec { rows: m, inputs: n, outputs: k } = *spec;
    let product = Product { m, n, k, a_transposed: false, b_transposed: true, relu: false };
    library.multiply(product, dy, weight, &Terms::NONE)
}

/// `dweight [in, out] = x^T dy`, of x \[rows, in\] and dy \[rows, out\], in f32.
pub(crate) fn backward_weight<T: CudaElement>(
    library: &CublasLt,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
) -> Result<Option<Wide<Cuda<T>>>> {
    let LinearSpec { rows: k, inputs: m, outputs: n } = *spec;
    let product = Product { m, n, k, a_transposed: true, b_transposed: false, relu: false };
    library.multiply(product, x, dy, &Terms::NONE)
}
