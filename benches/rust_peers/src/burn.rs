//! burn, on its fastest backend for CPUs without native libraries.

use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, linear, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Tensor};

use crate::Result;
use crate::networks::{Framework, Shape, bound};

pub(crate) struct Burn(Device);

pub(crate) struct Convolution {
    weight: Tensor<4>,
    bias: Tensor<1>,
    options: ConvOptions<2>,
}

impl Burn {
    fn weight<const D: usize>(&self, shape: [usize; D], summed: usize) -> Tensor<D> {
        let a = bound(summed);
        Tensor::random(shape, Distribution::Uniform(-a, a), &self.0)
    }
}

impl Framework for Burn {
    type Images = Tensor<4>;
    type Features = Tensor<2>;
    type Convolution = Convolution;
    type Dense = (Tensor<2>, Tensor<1>);

    fn new() -> Self {
        Burn(Device::flex())
    }

    fn images(&self, shape: [usize; 4]) -> Result<Tensor<4>> {
        Ok(self.weight(shape, 1))
    }

    fn convolution(&self, shape: &Shape) -> Result<Convolution> {
        Ok(Convolution {
            weight: self.weight(shape.weight(), shape.summed()),
            bias: self.weight([shape.channels[1]], shape.summed()),
            options: ConvOptions::new([shape.stride; 2], [shape.padding; 2], [1, 1], 1),
        })
    }

    fn dense(&self, [read, write]: [usize; 2]) -> Result<Self::Dense> {
        Ok((self.weight([read, write], read), self.weight([write], read)))
    }

    fn convolve(x: Tensor<4>, by: &Convolution) -> Result<Tensor<4>> {
        Ok(conv2d(x, by.weight.clone(), Some(by.bias.clone()), by.options.clone()))
    }

    fn relu(x: Tensor<4>) -> Result<Tensor<4>> {
        Ok(relu(x))
    }

    fn add(x: Tensor<4>, y: Tensor<4>) -> Result<Tensor<4>> {
        Ok(x + y)
    }

    fn max_pool(x: Tensor<4>) -> Result<Tensor<4>> {
        Ok(max_pool2d(x, MaxPoolOptions::new([2, 2])))
    }

    fn global_average(x: Tensor<4>) -> Result<Tensor<2>> {
        Ok(x.mean_dims(&[2, 3]).flatten(1, 3))
    }

    fn flatten(x: Tensor<4>) -> Result<Tensor<2>> {
        Ok(x.flatten(1, 3))
    }

    fn apply(x: Tensor<2>, (weight, bias): &Self::Dense) -> Result<Tensor<2>> {
        Ok(linear(x, weight.clone(), Some(bias.clone())))
    }

    fn relu_features(x: Tensor<2>) -> Result<Tensor<2>> {
        Ok(relu(x))
    }

    fn numbers(x: Tensor<2>) -> Result<Vec<f32>> {
        Ok(x.into_data().try_to_vec()?)
    }
}
