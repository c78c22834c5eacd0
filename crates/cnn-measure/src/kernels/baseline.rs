//! 1x1 convolutions as products of cuBLASLt.

use cnn_core::Result;
use cnn_core::backend::{Inference, Uses};
use cnn_cuda::{Cuda, CudaElement, baseline as cublaslt};

use super::conv2d::{name, spec};
use super::{Kernel, Visit, Work, noise, wide_noise};

/// The three passes of every convolution of `shapes`, under the names that [`conv2d`](super::conv2d) has for them.
///
/// # Errors
/// No cuBLASLt, a shape that is no product, and those of `visit`.
pub fn baseline<T: CudaElement>(cuda: &Cuda<T>, batch: usize, shapes: &[[usize; 5]], visit: Visit<'_>) -> Result<()> {
    for &shape in shapes {
        let spec = spec(batch, shape)?;
        let [inputs, outputs]: [usize; 2] =
            [spec.input_shape(), spec.output_shape()].map(|shape| shape.iter().product());
        let (x, dy) = (noise(cuda, inputs)?, noise(cuda, outputs)?);
        let filter =
            cuda.prepare_filter(&spec, &wide_noise(cuda, spec.weight_shape().iter().product())?, Uses::Training)?;
        let mut pass = |pass: &str, run: &mut dyn FnMut() -> Result<()>| {
            visit(Kernel { name: format!("{} {pass}", name(shape)), work: Work::Flops(2 * spec.macs()), run })
        };
        pass("forward", &mut || cublaslt::conv2d(cuda, &spec, &x, &filter).map(drop))?;
        pass("backward data", &mut || cublaslt::conv2d_backward_data(cuda, &spec, &dy, &filter).map(drop))?;
        pass("backward weight", &mut || cublaslt::conv2d_backward_weight(cuda, &spec, &dy, &x).map(drop))?;
    }
    Ok(())
}
