//! [`Backend`] for [`Cpu`]: each method is the function of its name in the file of its operation.

use cnn_core::backend::*;
use cnn_core::image::{ImageSpec, SampleView};
use cnn_core::rng::Philox;
use cnn_core::{BatchNormSpec, Conv2dSpec, Plain, Pool2dSpec, Result};

use crate::element::CpuElement;
use crate::threads::{CHUNK, chunks};
use crate::{Buffer, Cpu, Filter};
use crate::{activation, conv2d, elementwise, images, linear, loss, norm, optim, pool2d};

impl<T: CpuElement> Backend for Cpu<T> {
    type Elem = T;
    type Buffer<U: Plain> = Buffer<U>;
    type Filter = Filter<T>;

    const NAME: &'static str = "cpu";

    fn describe(&self) -> String {
        let threads = self.threads();
        format!("cpu: {}, {threads} thread{}", self.isa(), if threads == 1 { "" } else { "s" })
    }

    // Memory.

    fn upload<U: Plain>(&self, host: &[U]) -> Result<Buffer<U>> {
        let mut buffer = self.alloc(host.len());
        self.for_each_part(chunks(buffer.make_mut(), CHUNK), |i, part: &mut [U]| {
            part.copy_from_slice(&host[i * CHUNK..][..part.len()]);
        });
        Ok(buffer)
    }

    fn download<U: Plain>(&self, buffer: &Buffer<U>) -> Result<Vec<U>> {
        Ok(buffer.as_slice().to_vec())
    }

    fn len<U: Plain>(&self, buffer: &Buffer<U>) -> usize {
        buffer.len()
    }

    fn fill<U: Plain>(&self, len: usize, value: U) -> Result<Buffer<U>> {
        Ok(self.filled(len, value))
    }

    fn widen(&self, x: &Data<Self>) -> Result<Wide<Self>> {
        Ok(x.clone())
    }

    fn narrow(&self, x: &Wide<Self>) -> Result<Data<Self>> {
        Ok(x.clone())
    }

    // Images.

    fn load_images(&self, spec: &ImageSpec, bytes: &Self::Buffer<u8>, samples: &[SampleView]) -> Result<Data<Self>> {
        images::load_images(self, spec, bytes, samples)
    }

    // Convolution.

    fn prepare_filter(&self, spec: &Conv2dSpec, weight: &Wide<Self>, uses: Uses) -> Result<Self::Filter> {
        conv2d::prepare_filter(self, spec, weight, uses)
    }

    fn conv2d(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        bias: Option<&Wide<Self>>,
        moments: bool,
    ) -> Result<(Data<Self>, Option<Moments<Self>>)> {
        conv2d::conv2d(self, spec, x, filter, bias, moments)
    }

    fn conv2d_backward_data(
        &self,
        spec: &Conv2dSpec,
        dy: &Gradient<Self>,
        filter: &Self::Filter,
        accumulate: Option<Data<Self>>,
    ) -> Result<Data<Self>> {
        conv2d::conv2d_backward_data(self, spec, dy, filter, accumulate)
    }

    fn conv2d_backward_weight(&self, spec: &Conv2dSpec, dy: &Gradient<Self>, x: &Input<Self>) -> Result<Wide<Self>> {
        conv2d::conv2d_backward_weight(self, spec, dy, x)
    }

    // Batch normalisation.

    fn channel_moments(&self, x: &Data<Self>, spec: &BatchNormSpec) -> Result<Moments<Self>> {
        norm::channel_moments(self, x, spec)
    }

    fn batch_norm_train(
        &self,
        spec: &BatchNormSpec,
        moments: &Moments<Self>,
        affine: Affine<'_, Self>,
        running: Running<'_, Self>,
    ) -> Result<NormStats<Self>> {
        norm::batch_norm_train(self, spec, moments, affine, running)
    }

    fn batch_norm_eval(
        &self,
        spec: &BatchNormSpec,
        affine: Affine<'_, Self>,
        mean: &Wide<Self>,
        variance: &Wide<Self>,
    ) -> Result<NormStats<Self>> {
        norm::batch_norm_eval(self, spec, affine, mean, variance)
    }

    fn normalise(&self, norm: &Norm<Self>, residual: Option<&Input<Self>>) -> Result<Data<Self>> {
        norm::normalise(self, norm, residual)
    }

    fn batch_norm_backward(
        &self,
        spec: &BatchNormSpec,
        dy: Data<Self>,
        norm: &Norm<Self>,
        stats: &NormStats<Self>,
        output: Option<&Data<Self>>,
        batch: bool,
    ) -> Result<NormBackward<Self>> {
        norm::batch_norm_backward(self, spec, dy, norm, stats, output, batch)
    }

    fn normalise_backward(&self, gradient: &NormGradient<Self>) -> Result<Data<Self>> {
        norm::normalise_backward(self, gradient)
    }

    // Activations, pooling, dense layers.

    fn relu(&self, x: &Data<Self>) -> Result<Data<Self>> {
        activation::relu(self, x)
    }

    fn relu_backward(&self, y: &Data<Self>, dy: Data<Self>) -> Result<Data<Self>> {
        activation::relu_backward(self, y, dy)
    }

    fn gelu(&self, x: &Data<Self>) -> Result<Data<Self>> {
        activation::gelu(self, x)
    }

    fn gelu_backward(&self, x: &Data<Self>, dy: Data<Self>) -> Result<Data<Self>> {
        activation::gelu_backward(self, x, dy)
    }

    fn max_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<(Data<Self>, Self::Buffer<u32>)> {
        pool2d::max_pool2d(self, spec, x)
    }

    fn max_pool2d_backward(
        &self,
        spec: &Pool2dSpec,
        dy: &Data<Self>,
        places: &Self::Buffer<u32>,
    ) -> Result<Data<Self>> {
        pool2d::max_pool2d_backward(self, spec, dy, places)
    }

    fn avg_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<Data<Self>> {
        pool2d::avg_pool2d(self, spec, x)
    }

    fn avg_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>) -> Result<Data<Self>> {
        pool2d::avg_pool2d_backward(self, spec, dy)
    }

    fn linear(
        &self,
        spec: &LinearSpec,
        x: &Data<Self>,
        weight: &Wide<Self>,
        bias: Option<&Wide<Self>>,
    ) -> Result<Data<Self>> {
        linear::linear(self, spec, x, weight, bias)
    }

    fn linear_backward_data(&self, spec: &LinearSpec, dy: &Data<Self>, weight: &Wide<Self>) -> Result<Data<Self>> {
        linear::linear_backward_data(self, spec, dy, weight)
    }

    fn linear_backward_weight(&self, spec: &LinearSpec, dy: &Data<Self>, x: &Data<Self>) -> Result<Wide<Self>> {
        linear::linear_backward_weight(self, spec, dy, x)
    }

    fn sum_rows(&self, x: &Data<Self>, channels: usize) -> Result<Wide<Self>> {
        linear::sum_rows(self, x, channels)
    }

    fn dropout(&self, x: Data<Self>, probability: f64, mask: &Philox) -> Result<Data<Self>> {
        activation::dropout(self, x, probability, mask)
    }

    fn add(&self, a: Data<Self>, b: &Data<Self>) -> Result<Data<Self>> {
        elementwise::add(self, a, b)
    }

    fn scale(&self, a: Data<Self>, factor: f64) -> Result<Data<Self>> {
        elementwise::scale(self, a, factor)
    }

    // Loss.

    fn softmax(&self, x: &Data<Self>, classes: usize) -> Result<Data<Self>> {
        loss::softmax(self, x, classes)
    }

    fn softmax_backward(&self, y: &Data<Self>, dy: Data<Self>, classes: usize) -> Result<Data<Self>> {
        loss::softmax_backward(self, y, dy, classes)
    }

    fn cross_entropy(
        &self,
        logits: &Data<Self>,
        labels: &Self::Buffer<u32>,
        classes: usize,
        smoothing: f64,
    ) -> Result<CrossEntropy<Self>> {
        loss::cross_entropy(self, logits, labels, classes, smoothing)
    }

    // Optimisers.

    fn gradient_health(&self, loss: &Wide<Self>, gradients: &[&Wide<Self>]) -> Result<Health<Self>> {
        optim::gradient_health(self, loss, gradients)
    }

    fn sgd(&self, step: &SgdStep, parameters: &mut [SgdParam<'_, Self>], health: &Health<Self>) -> Result<()> {
        optim::sgd(self, step, parameters, health)
    }

    fn adam(&self, step: &AdamStep, parameters: &mut [AdamParam<'_, Self>], health: &Health<Self>) -> Result<()> {
        optim::adam(self, step, parameters, health)
    }
}
