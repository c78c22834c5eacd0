//! candle, on a CPU without native libraries.

use candle_core::{D, Device, Tensor};

use crate::Result;
use crate::networks::{Framework, Shape, bound};

pub(crate) struct Candle;

pub(crate) struct Convolution {
    weight: Tensor,
    /// \[1, K, 1, 1\].
    bias: Tensor,
    stride: usize,
    padding: usize,
}

fn weight(shape: &[usize], summed: usize) -> Result<Tensor> {
    let a = bound(summed) as f32;
    Ok(Tensor::rand(-a, a, shape, &Device::Cpu)?)
}

impl Framework for Candle {
    type Images = Tensor;
    type Features = Tensor;
    type Convolution = Convolution;
    type Dense = (Tensor, Tensor);

    fn new() -> Self {
        Candle
    }

    fn images(&self, shape: [usize; 4]) -> Result<Tensor> {
        weight(&shape, 1)
    }

    fn convolution(&self, shape: &Shape) -> Result<Convolution> {
        let bias = weight(&[1, shape.channels[1], 1, 1], shape.summed())?;
        let weight = weight(&shape.weight(), shape.summed())?;
        Ok(Convolution { weight, bias, stride: shape.stride, padding: shape.padding })
    }

    fn dense(&self, [read, write]: [usize; 2]) -> Result<Self::Dense> {
        Ok((weight(&[read, write], read)?, weight(&[write], read)?))
    }

    fn convolve(x: Tensor, by: &Convolution) -> Result<Tensor> {
        Ok(x.conv2d(&by.weight, by.padding, by.stride, 1, 1)?.broadcast_add(&by.bias)?)
    }

    fn relu(x: Tensor) -> Result<Tensor> {
        Ok(x.relu()?)
    }

    fn add(x: Tensor, y: Tensor) -> Result<Tensor> {
        Ok((x + y)?)
    }

    fn max_pool(x: Tensor) -> Result<Tensor> {
        Ok(x.max_pool2d(2)?)
    }

    fn global_average(x: Tensor) -> Result<Tensor> {
        Ok(x.flatten_from(2)?.mean(D::Minus1)?)
    }

    fn flatten(x: Tensor) -> Result<Tensor> {
        Ok(x.flatten_from(1)?)
    }

    fn apply(x: Tensor, (weight, bias): &Self::Dense) -> Result<Tensor> {
        Ok(x.matmul(weight)?.broadcast_add(bias)?)
    }

    fn relu_features(x: Tensor) -> Result<Tensor> {
        Ok(x.relu()?)
    }

    fn numbers(x: Tensor) -> Result<Vec<f32>> {
        Ok(x.flatten_all()?.to_vec1()?)
    }
}
