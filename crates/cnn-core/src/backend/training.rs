//! A device that trains.

use std::fmt::Debug;

use super::activation::Activation;
use super::channels::{ScaleSpec, SliceSpec};
use super::device::{Data, Device, Wide};
use super::inference::{Epilogue, Inference, Input, LinearSpec};
use super::norm::{Affine, Gradient, LayerNormBackward, Norm, NormBackward, NormGradient, NormStats, Running};
use super::optim::{AdamParam, AdamStep, Health, SgdParam, SgdStep};
use crate::Result;
use crate::image::Mix;
use crate::rng::Philox;
use crate::spec::{BatchNormSpec, Conv2dSpec, DropoutSpec, LayerNormSpec, Pool2dSpec};
use crate::windows::AdaptivePool2dSpec;

/// A device that runs models forward and back and moves their weights.
pub trait Backend: Inference {
    /// The mean and variance of a batch's channels as they are until a normalisation reads them: [`Moments`](super::Moments), or
    /// those of parts of the rows, which it combines then.
    type Moments: Debug + Send + Sync;

    /// Whether a convolution is given a normalised activation as it is, to normalise what it reads ([`Input::Norm`]); or else
    /// written, where that is quicker.
    fn reads_norms(&self) -> bool {
        true
    }

    // Convolution.

    /// As [`Inference::conv2d`], with the moments over N, H, W of the output that the epilogue leaves.
    fn conv2d_moments(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<(Data<Self>, Self::Moments)>;
    /// The gradient of the input, added to `accumulate` when it is given. The filter was prepared for
    /// [`Uses::Training`](super::Uses::Training).
    fn conv2d_backward_data(
        &self,
        spec: &Conv2dSpec,
        dy: &Gradient<Self>,
        filter: &Self::Filter,
        accumulate: Option<Data<Self>>,
    ) -> Result<Data<Self>>;
    /// The gradient of the weight.
    fn conv2d_backward_weight(&self, spec: &Conv2dSpec, dy: &Gradient<Self>, x: &Input<Self>) -> Result<Wide<Self>>;

    // Batch normalisation.

    /// Mean and biased variance of every channel of `x` \[rows, channels\].
    fn channel_moments(&self, x: &Data<Self>, spec: &BatchNormSpec) -> Result<Self::Moments>;
    /// Coefficients of the normalisation by batch statistics, and the running statistics moved towards them:
    /// `running = (1 - momentum) * running + momentum * batch`, with the unbiased variance
    /// (`rows / (rows - 1)` times the biased one). A channel whose batch statistics are not finite leaves its running
    /// statistics as they are.
    fn batch_norm_train(
        &self,
        spec: &BatchNormSpec,
        moments: &Self::Moments,
        affine: Affine<'_, Self>,
        running: Running<'_, Self>,
    ) -> Result<NormStats<Self>>;
    /// Coefficients of the normalisation by running statistics.
    fn batch_norm_eval(
        &self,
        spec: &BatchNormSpec,
        affine: Affine<'_, Self>,
        mean: &Wide<Self>,
        variance: &Wide<Self>,
    ) -> Result<NormStats<Self>>;
    /// The backward pass of a normalisation up to the point where its input's gradient could be written, see
    /// [`NormGradient`].
    ///
    /// `output` is the written activation when a residual was added before the rectifier: its values say where the gradient
    /// passes, and the masked `dy`, which is also the residual's gradient, comes back in `NormGradient::dy`. Otherwise `dy`
    /// comes back as it was given and the mask is recomputed from `norm`. `batch` says that the statistics were the batch's own.
    fn batch_norm_backward(
        &self,
        spec: &BatchNormSpec,
        dy: Data<Self>,
        norm: &Norm<Self>,
        stats: &NormStats<Self>,
        output: Option<&Data<Self>>,
        batch: bool,
    ) -> Result<NormBackward<Self>>;
    /// Writes the gradient of a normalisation's input.
    fn normalise_backward(&self, gradient: NormGradient<Self>) -> Result<Data<Self>>;
    /// The gradient of a normalisation's input for two who read it, a convolution's gradients of its input and of its
    /// weight: as it is, or written where that is faster.
    fn shared_gradient(&self, gradient: NormGradient<Self>) -> Result<Gradient<Self>>;

    /// The gradients of [`Inference::layer_norm`]. With xhat a row less its mean and over its deviation, and g = dy * gamma:
    ///
    /// ```text
    /// dbeta  = sum over rows of dy
    /// dgamma = sum over rows of dy * xhat
    /// dx     = (g - mean(g) - xhat * mean(g * xhat)) / deviation      means over the row
    /// ```
    fn layer_norm_backward(
        &self,
        spec: &LayerNormSpec,
        dy: Data<Self>,
        x: &Data<Self>,
        gamma: &Wide<Self>,
    ) -> Result<LayerNormBackward<Self>>;

    // Activations, pooling, dense layers.

    /// `dy` times the derivative of `activation`, where its input or output was `saved`
    /// ([`Activation::saved`]):
    ///
    /// ```text
    /// ReLU         0 where y is at most 0, else dy, of NaN too
    /// ReLU6        0 where y is at most 0 or at least 6, else dy, of NaN too
    /// LeakyReLU    dy where y is above 0, else dy * 0.01
    /// GELU         dy * (Phi(x) + x * phi(x))
    /// SiLU         dy * s * (1 + x * (1 - s)), s being sigmoid(x)
    /// Hardswish    0 where x is at most -3, dy where it is at least 3, else dy * (x / 3 + 1 / 2)
    /// Sigmoid      dy * y * (1 - y)
    /// Hardsigmoid  dy / 6 where y is above 0 and below 1, else 0, of NaN too
    /// ```
    ///
    /// x is the input and y the output.
    fn activate_backward(&self, activation: Activation, saved: &Data<Self>, dy: Data<Self>) -> Result<Data<Self>>;
    /// `dy` summed into the places that `max_pool2d` returned.
    fn max_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>, places: &Self::Buffer<u32>)
    -> Result<Data<Self>>;
    /// The adjoint of `avg_pool2d`.
    fn avg_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>) -> Result<Data<Self>>;
    /// The adjoint of `adaptive_avg_pool2d`.
    fn adaptive_avg_pool2d_backward(&self, spec: &AdaptivePool2dSpec, dy: &Data<Self>) -> Result<Data<Self>>;
    /// The gradients of `scale_channels` by the images, `dy * factors`, and by the factors, the sum over pixels of `dy * x`.
    fn scale_channels_backward(
        &self,
        spec: &ScaleSpec,
        dy: Data<Self>,
        x: &Data<Self>,
        factors: &Data<Self>,
    ) -> Result<(Data<Self>, Data<Self>)>;
    /// The adjoint of `slice_channels`: `dy` where it was taken from, and 0 elsewhere.
    fn slice_channels_backward(&self, spec: &SliceSpec, dy: &Data<Self>) -> Result<Data<Self>>;
    /// `dy` \[rows, out\] times the transposed weight.
    fn linear_backward_data(&self, spec: &LinearSpec, dy: &Data<Self>, weight: &Wide<Self>) -> Result<Data<Self>>;
    /// The transposed `x` times `dy`: \[in, out\].
    fn linear_backward_weight(&self, spec: &LinearSpec, dy: &Data<Self>, x: &Data<Self>) -> Result<Wide<Self>>;
    /// The sum over rows of `x` \[rows, channels\]: the gradient of a bias.
    fn sum_rows(&self, x: &Data<Self>, channels: usize) -> Result<Wide<Self>>;
    /// Zeroes element `i` where word `i / shared_by` of `mask` as a number in [0, 1) ([`unit_f32`](crate::rng::unit_f32)) is
    /// below `probability` (in f32), else divides it by `1 - probability`. It is its own backward pass.
    ///
    /// # Errors
    /// Those of [`DropoutSpec::check`].
    fn dropout(&self, x: Data<Self>, spec: &DropoutSpec, mask: &Philox) -> Result<Data<Self>>;

    // Images, probabilities and the loss.

    /// The images of a batch, each mixed with the one before it: see [`Mix`].
    ///
    /// # Errors
    /// Numbers that are not whole images, and a part that is none.
    fn mix_images(&self, mix: &Mix, x: &Data<Self>) -> Result<Data<Self>>;

    /// `y * (dy - sum(y * dy))` over each row.
    fn softmax_backward(&self, y: &Data<Self>, dy: Data<Self>, classes: usize) -> Result<Data<Self>>;
    /// The mean over rows of the cross entropy between softmax(logits) and the targets of [`CrossEntropySpec`], with its
    /// gradient. Every label is below the classes. Where there are `weights`, one for each class, each class's part of a row's
    /// cost counts times its weight: `-sum(weight * target * log(softmax))`, as PyTorch's of class probabilities.
    ///
    /// # Errors
    /// Logits that are not whole rows, not one label a row, and not one weight a class.
    fn cross_entropy(
        &self,
        spec: &CrossEntropySpec,
        logits: &Data<Self>,
        labels: &Self::Buffer<u32>,
        weights: Option<&Wide<Self>>,
    ) -> Result<CrossEntropy<Self>>;
    /// The mean over rows and classes of the cross entropy between sigmoid(logits) and `targets`, one for each logit and each from
    /// 0 to 1, with its gradient: of each logit `-(weight * target * log(sigmoid) + (1 - target) * log(1 - sigmoid))`, where the
    /// weight is its class's of `weights`, or 1. That is PyTorch's `binary_cross_entropy_with_logits` with its `pos_weight`, but a
    /// part that counts 0 costs nothing where its logit is infinite too.
    ///
    /// # Errors
    /// Logits that are not whole rows of `classes`, not one target a logit, and not one weight a class.
    fn binary_cross_entropy(
        &self,
        classes: usize,
        logits: &Data<Self>,
        targets: &Wide<Self>,
        weights: Option<&Wide<Self>>,
    ) -> Result<CrossEntropy<Self>>;

    // Parameters.

    /// `into = a * into + b * from`: a sum of gradients, a moving average of weights.
    ///
    /// # Errors
    /// The lengths differ.
    fn blend(&self, into: &mut Wide<Self>, a: f64, from: &Wide<Self>, b: f64) -> Result<()>;
    /// The Euclidean norm of all gradients together, and whether a step may be made with them: the norm is finite and at
    /// most `largest`, and the loss (one number) is finite.
    fn gradient_health(
        &self,
        loss: Option<&Wide<Self>>,
        gradients: &[&Wide<Self>],
        largest: f64,
    ) -> Result<Health<Self>>;
    /// One step of SGD for all parameters together; nothing changes when `health` says the step is not finite.
    fn sgd(&self, step: &SgdStep, parameters: &mut [SgdParam<'_, Self>], health: &Health<Self>) -> Result<()>;
    /// One step of Adam for all parameters together; nothing changes when `health` says the step is not finite.
    fn adam(&self, step: &AdamStep, parameters: &mut [AdamParam<'_, Self>], health: &Health<Self>) -> Result<()>;
}

/// What the labels of [`Backend::cross_entropy`] mean: a row's target is `(1 - smoothing) * own` at its label,
/// `(1 - smoothing) * (1 - own)` at the label of the row before it (for the first row, the last), both where they are one class, and
/// `smoothing / classes` at every class beside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropySpec {
    /// Numbers of a row.
    pub classes: usize,
    /// Part of each target that is spread over all classes, from 0 to 1.
    pub smoothing: f64,
    /// Part of the rest that is the row's own label, from 0 to 1: below 1 where [images were mixed](Mix).
    pub own: f64,
    /// What the mean is divided by beside the rows: the mean weight of the rows' labels for a mean over weights, else 1.
    pub mean_weight: f64,
}

impl CrossEntropySpec {
    /// Targets that are the rows' own labels, smoothed.
    pub fn new(classes: usize, smoothing: f64) -> Self {
        CrossEntropySpec { classes, smoothing, own: 1.0, mean_weight: 1.0 }
    }

    /// Of a row's label and that of the row before: which one a prediction has to meet to be called correct.
    pub fn larger<T>(&self, label: T, other: T) -> T {
        if self.own >= 0.5 { label } else { other }
    }
}

/// What [`Backend::cross_entropy`] and [`Backend::binary_cross_entropy`] return.
#[derive(Debug)]
pub struct CrossEntropy<B: Device> {
    /// The mean loss: one number.
    pub loss: Wide<B>,
    /// The gradient of the mean loss by the logits.
    pub dlogits: Data<B>,
    /// How many rows have their (first) largest logit at the [larger](CrossEntropySpec::larger) of their labels; of the binary one,
    /// how many have a logit of at least 0 at every target of at least a half, and at no other: one number.
    pub correct: B::Buffer<u32>,
}
