//! Dense layers: the products of a convolution of single pixels.

use cnn_core::Result;
use cnn_core::backend::{Data, Epilogue, Input, LinearSpec, Wide};

use crate::conv2d::{Shape, backward_data, backward_weight, forward};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::elementwise::narrow;

pub(crate) fn linear<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    x: &Data<Cuda<T>>,
    weight: &Wide<Cuda<T>>,
    epilogue: Epilogue<'_, Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let weight = narrow(cuda, weight)?;
    Ok(forward(cuda, &Shape::linear(spec)?, &Input::Plain(x.clone()), &weight, &epilogue, false)?.0)
}

pub(crate) fn linear_backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    weight: &Wide<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    backward_data(cuda, &Shape::linear(spec)?, dy, &narrow(cuda, weight)?, None)
}

pub(crate) fn linear_backward_weight<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &LinearSpec,
    dy: &Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
) -> Result<Wide<Cuda<T>>> {
    backward_weight(cuda, &Shape::linear(spec)?, dy, &Input::Plain(x.clone()))
}
