//! 1x1 convolutions of stride 1 as products of cuBLASLt: what this crate's kernels are held against, in results and in speed. The
//! backend itself does not use them.
//!
//! Each pixel is a row, so that such a convolution is a dense layer over \[N H W, C\].

use cnn_core::backend::{Data, Epilogue, LinearSpec, Wide, check};
use cnn_core::{Conv2dSpec, Error, Result};

use crate::buffer::Buffer;
use crate::conv2d::Filter;
use crate::cublaslt::{CublasLt, linear};
use crate::device::Cuda;
use crate::element::CudaElement;

/// As the backend's `conv2d`, of an input in memory.
///
/// # Errors
/// No cuBLASLt, another convolution, operands of other sizes, or what the library or the driver says.
pub fn conv2d<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    x: &Data<Cuda<T>>,
    filter: &Filter<T>,
) -> Result<Data<Cuda<T>>> {
    let (library, dense, weight) = (library(cuda)?, dense(spec)?, filter.elements(spec)?);
    check::length("the input", x.len(), dense.rows * dense.inputs)?;
    found(&dense, linear::forward(library, cuda, &dense, x, weight, &Epilogue::bias(None))?)
}

/// As the backend's `conv2d_backward_data`, of a gradient in memory.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_backward_data<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    dy: &Data<Cuda<T>>,
    filter: &Filter<T>,
) -> Result<Data<Cuda<T>>> {
    let (library, dense, weight) = (library(cuda)?, dense(spec)?, filter.elements(spec)?);
    check::length("the gradient", dy.len(), dense.rows * dense.outputs)?;
    found(&dense, linear::backward_data(library, &dense, dy, weight)?)
}

/// As the backend's `conv2d_backward_weight`, of an input and a gradient in memory.
///
/// # Errors
/// As [`conv2d`].
pub fn conv2d_backward_weight<T: CudaElement>(
    cuda: &Cuda<T>,
    spec: &Conv2dSpec,
    dy: &Data<Cuda<T>>,
    x: &Data<Cuda<T>>,
) -> Result<Wide<Cuda<T>>> {
    let (library, dense) = (library(cuda)?, dense(spec)?);
    check::length("the gradient", dy.len(), dense.rows * dense.outputs)?;
    check::length("the input", x.len(), dense.rows * dense.inputs)?;
    found(&dense, linear::backward_weight(library, &dense, dy, x)?)
}

fn library<T: CudaElement>(cuda: &Cuda<T>) -> Result<&CublasLt> {
    let message = || "no cuBLASLt: pip install nvidia-cublas brings it".to_owned();
    cuda.cublaslt().ok_or_else(|| Error::Device { backend: "cuda", message: message() })
}

/// The dense layer that the convolution is.
fn dense(spec: &Conv2dSpec) -> Result<LinearSpec> {
    spec.check()?;
    let Conv2dSpec { kernel, stride, groups, .. } = *spec;
    if (kernel, stride, groups) != ([1, 1], [1, 1], 1) || spec.input != spec.output {
        let got = format!("{kernel:?}, stride {stride:?}, {groups} groups");
        return Err(Error::invalid(
            "kernel of a product's convolution",
            got,
            "must be 1x1, unpadded, stride 1, one group",
        ));
    }
    let [batch, rows, columns, inputs] = spec.input_shape();
    Ok(LinearSpec { rows: batch * rows * columns, inputs, outputs: spec.out_channels })
}

fn found<U: CudaElement>(dense: &LinearSpec, result: Option<Buffer<U>>) -> Result<Buffer<U>> {
    let LinearSpec { rows, inputs, outputs } = dense;
    let rule = "must be sizes that cuBLASLt has an algorithm for";
    result.ok_or_else(|| {
        Error::invalid("rows, inputs, outputs of a product", format!("{rows}, {inputs}, {outputs}"), rule)
    })
}
