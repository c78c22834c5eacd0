//! Dense layers: products of cuBLASLt where it was found and has an algorithm for them, and else those of a convolution of
//! single pixels.

use cnn_core::Result;
use cnn_core::backend::{Data, Epilogue, Input, LinearSpec, Wide, check};

use crate::conv2d::{Shape, backward_data, backward_weight, forward};
use crate::cublaslt;
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::rounded::rounded;

pub(crate) fn linear<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    x: &Data<Cuda<T>>,
    weight: &Wide<Cuda<T>>,
    epilogue: Epilogue<'_, Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let (shape, weight) = (Shape::linear(spec)?, rounded(cuda, weight)?);
    let [read, weights, _] = shape.lens();
    check::length("the input", x.len(), read)?;
    check::length("the weight", weight.len(), weights)?;
    if let Some(library) = cuda.cublaslt()
        && let Some(y) = cublaslt::linear::forward(library, cuda, spec, x, &weight, &epilogue)?
    {
        return Ok(y);
    }
    Ok(forward(cuda, &shape, &Input::Plain(x.clone()), &weight, &epilogue, false)?.0)
}

pub(crate) fn linear_backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    weight: &Wide<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let (shape, weight) = (Shape::linear(spec)?, rounded(cuda, weight)?);
    let [_, weights, written] = shape.lens();
    check::length("the gradient", dy.len(), written)?;
    check::length("the weight", weight.len(), weights)?;
    if let Some(library) = cuda.cublaslt()
        && let Some(dx) = cublaslt::linear::backward_data(library, spec, dy, &weight)?
    {
        return Ok(dx);
    }
    backward_data(cuda, &shape, dy, &weight, None)
}

pub(crate) fn linear_backward_weight<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
) -> Result<Wide<Cuda<T>>> {
    let shape = Shape::linear(spec)?;
    let [read, _, written] = shape.lens();
    check::length("the gradient", dy.len(), written)?;
    check::length("the input", x.len(), read)?;
    if let Some(library) = cuda.cublaslt()
        && let Some(dweight) = cublaslt::linear::backward_weight(library, spec, dy, x)?
    {
        return Ok(dweight);
    }
    backward_weight(cuda, &shape, dy, &Input::Plain(x.clone()))
}
