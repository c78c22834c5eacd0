//! What a device must know how to do to train a convolutional network.
//!
//! The trait speaks the language of cuDNN, not of array primitives, and fusion is in the signatures: a convolution reads
//! an [`Input`], which may be a normalised activation that was never written, and a [`Gradient`], which may be the
//! gradient through a normalisation that was never written; and it returns the channel moments that the next
//! normalisation needs. A backend may always materialise first ([`Naive`](crate::Naive) does).
//!
//! Layout everywhere: activations \[N, H, W, C\] contiguous, convolution weights \[KH, KW, C / groups, K\], dense weights
//! \[in, out\]. Shapes are checked by the specs before a method is called; a method fails only for reasons of its device.
//! An argument passed by value may be overwritten; one passed by reference is only read.

use std::fmt::Debug;

use crate::conv_algorithm::ConvAlgorithm;
use crate::element::{Element, Plain};
use crate::image::{ImageSpec, SampleView};
use crate::rng::Philox;
use crate::spec::{BatchNormSpec, Conv2dSpec, Pool2dSpec};
use crate::{Error, Result};

/// What sums, parameters and statistics of a backend are computed in.
pub type Accum<B> = <<B as Backend>::Elem as Element>::Accum;
/// A buffer of activations.
pub type Data<B> = <B as Backend>::Buffer<<B as Backend>::Elem>;
/// A buffer of parameters, statistics, losses or weight gradients.
pub type Wide<B> = <B as Backend>::Buffer<Accum<B>>;

/// A device with its element type: `Cpu<f32>`, `Naive<f64>`.
pub trait Backend: Clone + Debug + Send + Sync + 'static {
    /// How activations are stored.
    type Elem: Element;
    /// A cheap handle to contiguous device memory.
    type Buffer<T: Plain>: Clone + Debug + Send + Sync;
    /// A convolution's weight in the form its kernels read: cast, packed, transposed, transformed.
    type Filter: Clone + Debug + Send + Sync;

    /// Short name for messages: `cpu`, `cuda`, `naive`.
    const NAME: &'static str;

    /// One line about the device: instruction set, threads, memory.
    fn describe(&self) -> String;
    /// Which algorithm convolutions were asked to run by; [`ConvAlgorithm::Auto`] from a backend that has only one.
    fn conv_algorithm(&self) -> ConvAlgorithm {
        ConvAlgorithm::Auto
    }

    // Memory.

    /// Copies `host` to the device.
    fn upload<T: Plain>(&self, host: &[T]) -> Result<Self::Buffer<T>>;
    /// Copies a buffer to the host, after all work that writes it.
    fn download<T: Plain>(&self, buffer: &Self::Buffer<T>) -> Result<Vec<T>>;
    /// Elements of a buffer.
    fn len<T: Plain>(&self, buffer: &Self::Buffer<T>) -> usize;
    /// A buffer of `len` times `value`.
    fn fill<T: Plain>(&self, len: usize, value: T) -> Result<Self::Buffer<T>>;
    /// Activations as accumulators, exactly.
    fn widen(&self, x: &Data<Self>) -> Result<Wide<Self>>;
    /// Accumulators rounded to activations.
    fn narrow(&self, x: &Wide<Self>) -> Result<Data<Self>>;

    // Images.

    /// Crops, flips, cuts out and normalises `samples` of the stored images `bytes`
    /// (\[images, H, W, C\]) into \[samples, H, W, C\]: see [`SampleView`]. Fails when a sample's index is not below
    /// the number of stored images.
    fn load_images(&self, spec: &ImageSpec, bytes: &Self::Buffer<u8>, samples: &[SampleView]) -> Result<Data<Self>>;

    // Convolution.

    /// Brings `weight` \[KH, KW, C / groups, K\] into the form that the kernels for `uses` read.
    fn prepare_filter(&self, spec: &Conv2dSpec, weight: &Wide<Self>, uses: Uses) -> Result<Self::Filter>;
    /// Whether a filter that was prepared for one of these specs, which differ in the batch only, serves the other.
    fn filter_serves(&self, prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool;
    /// The convolution of `x` and what follows it, and on request the moments over N, H, W of that output. The filter
    /// was prepared for this spec, or serves it.
    fn conv2d(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
        moments: bool,
    ) -> Result<(Data<Self>, Option<Moments<Self>>)>;
    /// The gradient of the input, added to `accumulate` when it is given. The filter was prepared for
    /// [`Uses::Training`].
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
    fn channel_moments(&self, x: &Data<Self>, spec: &BatchNormSpec) -> Result<Moments<Self>>;
    /// Coefficients of the normalisation by batch statistics, and the running statistics moved towards them:
    /// `running = (1 - momentum) * running + momentum * batch`, with the unbiased variance
    /// (`rows / (rows - 1)` times the biased one). A channel whose batch statistics are not finite leaves its running
    /// statistics as they are.
    fn batch_norm_train(
        &self,
        spec: &BatchNormSpec,
        moments: &Moments<Self>,
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
    /// Writes a normalised activation, `residual` added before the ReLU.
    fn normalise(&self, norm: &Norm<Self>, residual: Option<&Input<Self>>) -> Result<Data<Self>>;
    /// The backward pass of a normalisation up to the point where its input's gradient could be written, see
    /// [`NormGradient`].
    ///
    /// `output` is the written activation when a residual was added before a ReLU: its sign is the ReLU's mask, and the
    /// masked `dy`, which is also the residual's gradient, comes back in `NormGradient::dy`. Otherwise `dy` comes back as
    /// it was given and the mask is recomputed from `norm`. `batch` says that the statistics were the batch's own.
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

    // Activations, pooling, dense layers.

    /// max(x, 0); NaN stays NaN.
    fn relu(&self, x: &Data<Self>) -> Result<Data<Self>>;
    /// `dy` where the output `y` is above 0, else 0.
    fn relu_backward(&self, y: &Data<Self>, dy: Data<Self>) -> Result<Data<Self>>;
    /// x * Phi(x), with the Gaussian distribution function exactly (erf, not tanh).
    fn gelu(&self, x: &Data<Self>) -> Result<Data<Self>>;
    /// `dy * (Phi(x) + x * phi(x))`.
    fn gelu_backward(&self, x: &Data<Self>, dy: Data<Self>) -> Result<Data<Self>>;
    /// The maximum of every window and where it was, as `row * W + column` of the input; the first of equal values
    /// wins, and NaN wins over numbers.
    fn max_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<(Data<Self>, Self::Buffer<u32>)>;
    /// `dy` summed into the places that `max_pool2d` returned.
    fn max_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>, places: &Self::Buffer<u32>)
    -> Result<Data<Self>>;
    /// The average of every window, see [`Pool2dSpec::span`].
    fn avg_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<Data<Self>>;
    /// The adjoint of `avg_pool2d`.
    fn avg_pool2d_backward(&self, spec: &Pool2dSpec, dy: &Data<Self>) -> Result<Data<Self>>;
    /// `x` \[rows, in\] times `weight` \[in, out\], and what follows it.
    fn linear(
        &self,
        spec: &LinearSpec,
        x: &Data<Self>,
        weight: &Wide<Self>,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<Data<Self>>;
    /// `dy` \[rows, out\] times the transposed weight.
    fn linear_backward_data(&self, spec: &LinearSpec, dy: &Data<Self>, weight: &Wide<Self>) -> Result<Data<Self>>;
    /// The transposed `x` times `dy`: \[in, out\].
    fn linear_backward_weight(&self, spec: &LinearSpec, dy: &Data<Self>, x: &Data<Self>) -> Result<Wide<Self>>;
    /// The sum over rows of `x` \[rows, channels\]: the gradient of a bias.
    fn sum_rows(&self, x: &Data<Self>, channels: usize) -> Result<Wide<Self>>;
    /// Zeroes element `i` where word `i` of `mask` as a number in [0, 1) ([`unit_f32`](crate::rng::unit_f32)) is below
    /// `probability` (in f32), else divides it by `1 - probability`. It is its own backward pass.
    fn dropout(&self, x: Data<Self>, probability: f64, mask: &Philox) -> Result<Data<Self>>;
    /// a + b.
    fn add(&self, a: Data<Self>, b: &Data<Self>) -> Result<Data<Self>>;
    /// a * factor.
    fn scale(&self, a: Data<Self>, factor: f64) -> Result<Data<Self>>;

    // Loss.

    /// exp(x) / sum exp(x) over each row of `x` \[rows, classes\].
    fn softmax(&self, x: &Data<Self>, classes: usize) -> Result<Data<Self>>;
    /// `y * (dy - sum(y * dy))` over each row.
    fn softmax_backward(&self, y: &Data<Self>, dy: Data<Self>, classes: usize) -> Result<Data<Self>>;
    /// The mean over rows of the cross entropy between softmax(logits) and the smoothed labels
    /// (`1 - smoothing + smoothing / classes` for the label, `smoothing / classes` elsewhere), with its gradient.
    /// Every label is below `classes`.
    fn cross_entropy(
        &self,
        logits: &Data<Self>,
        labels: &Self::Buffer<u32>,
        classes: usize,
        smoothing: f64,
    ) -> Result<CrossEntropy<Self>>;

    // Optimisers.

    /// The Euclidean norm of all gradients together, and whether it and the loss are finite.
    fn gradient_health(&self, loss: &Wide<Self>, gradients: &[&Wide<Self>]) -> Result<Health<Self>>;
    /// One step of SGD for all parameters together; nothing changes when `health` says the step is not finite.
    fn sgd(&self, step: &SgdStep, parameters: &mut [SgdParam<'_, Self>], health: &Health<Self>) -> Result<()>;
    /// One step of Adam for all parameters together; nothing changes when `health` says the step is not finite.
    fn adam(&self, step: &AdamStep, parameters: &mut [AdamParam<'_, Self>], health: &Health<Self>) -> Result<()>;
}

/// What a prepared filter will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// The forward pass only.
    Forward,
    /// The forward pass and the gradient of the input.
    Training,
}

/// What follows the sum of a convolution or a dense layer before it is stored: `max(sum + bias + residual, 0)`, each part
/// where it is given.
#[derive(Debug)]
pub struct Epilogue<'a, B: Backend> {
    /// Added to every pixel or row, \[out channels\].
    pub bias: Option<&'a Wide<B>>,
    /// Added to the output element by element.
    pub residual: Option<&'a Data<B>>,
    /// Whether a ReLU comes last; NaN stays NaN.
    pub relu: bool,
}

impl<'a, B: Backend> Epilogue<'a, B> {
    /// A bias or nothing.
    pub fn bias(bias: Option<&'a Wide<B>>) -> Self {
        Epilogue { bias, residual: None, relu: false }
    }
}

/// An activation that an operation reads.
#[derive(Debug)]
pub enum Input<B: Backend> {
    /// Written to memory.
    Plain(Data<B>),
    /// Normalised while it is read.
    Norm(Norm<B>),
}

/// `x * scale + shift` per channel, then max(., 0) if `relu`: batch normalisation with its coefficients folded.
#[derive(Debug)]
pub struct Norm<B: Backend> {
    /// The activation before the normalisation, \[rows, channels\].
    pub x: Data<B>,
    /// `gamma / sqrt(var + eps)`.
    pub scale: Wide<B>,
    /// `beta - mean * scale`.
    pub shift: Wide<B>,
    /// How many channels there are.
    pub channels: usize,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// A gradient that an operation reads.
#[derive(Debug)]
pub enum Gradient<B: Backend> {
    /// Written to memory.
    Plain(Data<B>),
    /// Through a normalisation, computed while it is read.
    Norm(NormGradient<B>),
}

/// The gradient of a normalisation's input: `dy_scale * dy + x_scale * x + shift` per channel, `dy` counting as 0 where
/// `mask` is given and `x * mask.scale + mask.shift <= 0`.
#[derive(Clone, Debug)]
pub struct NormGradient<B: Backend> {
    /// The gradient of the normalised activation.
    pub dy: Data<B>,
    /// The activation before the normalisation.
    pub x: Data<B>,
    /// Factor of `dy` per channel.
    pub dy_scale: Wide<B>,
    /// Factor of `x` per channel.
    pub x_scale: Wide<B>,
    /// Added per channel.
    pub shift: Wide<B>,
    /// Scale and shift of the normalisation whose sign is the ReLU's mask.
    pub mask: Option<(Wide<B>, Wide<B>)>,
    /// How many channels there are.
    pub channels: usize,
}

/// What [`Backend::batch_norm_backward`] returns.
#[derive(Debug)]
pub struct NormBackward<B: Backend> {
    /// The gradient of the normalisation's input, not yet written.
    pub dx: NormGradient<B>,
    /// The gradient of gamma \[channels\].
    pub dgamma: Wide<B>,
    /// The gradient of beta \[channels\].
    pub dbeta: Wide<B>,
}

/// Mean and biased variance per channel.
#[derive(Debug)]
pub struct Moments<B: Backend> {
    /// Mean \[channels\].
    pub mean: Wide<B>,
    /// Mean squared deviation \[channels\].
    pub variance: Wide<B>,
}

/// The statistics that a normalisation used and the coefficients they fold to, each \[channels\].
#[derive(Debug)]
pub struct NormStats<B: Backend> {
    /// Mean.
    pub mean: Wide<B>,
    /// `1 / sqrt(var + eps)`.
    pub inv_std: Wide<B>,
    /// `gamma * inv_std`.
    pub scale: Wide<B>,
    /// `beta - mean * scale`.
    pub shift: Wide<B>,
}

/// The learned scale and shift of a normalisation.
#[derive(Debug)]
pub struct Affine<'a, B: Backend> {
    /// Scale \[channels\].
    pub gamma: &'a Wide<B>,
    /// Shift \[channels\].
    pub beta: &'a Wide<B>,
}

/// The running statistics of a normalisation.
#[derive(Debug)]
pub struct Running<'a, B: Backend> {
    /// Mean \[channels\].
    pub mean: &'a mut Wide<B>,
    /// Unbiased variance \[channels\].
    pub variance: &'a mut Wide<B>,
    /// Weight of the batch in the update.
    pub momentum: f64,
}

/// A dense layer: \[rows, inputs\] to \[rows, outputs\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinearSpec {
    /// Samples.
    pub rows: usize,
    /// Features of the input.
    pub inputs: usize,
    /// Features of the output.
    pub outputs: usize,
}

/// What [`Backend::cross_entropy`] returns.
#[derive(Debug)]
pub struct CrossEntropy<B: Backend> {
    /// The mean loss: one number.
    pub loss: Wide<B>,
    /// The gradient of the mean loss by the logits.
    pub dlogits: Data<B>,
    /// How many rows have their (first) largest logit at the label: one number.
    pub correct: B::Buffer<u32>,
}

/// Whether a step may touch the weights.
#[derive(Debug)]
pub struct Health<B: Backend> {
    /// The Euclidean norm of all gradients: one number.
    pub norm: Wide<B>,
    /// 1 if loss and norm are finite, else 0: one number.
    pub finite: B::Buffer<u32>,
}

/// The numbers of one SGD step, as PyTorch defines them: `g = gradient + weight_decay * w`;
/// `v = momentum * v + g`; `w -= lr * (nesterov ? g + momentum * v : v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Look ahead along the velocity.
    pub nesterov: bool,
    /// Gradients are scaled down so that their norm is at most this; infinite for never.
    pub max_norm: f64,
}

/// One parameter in an SGD step.
#[derive(Debug)]
pub struct SgdParam<'a, B: Backend> {
    /// The weights.
    pub value: &'a mut Wide<B>,
    /// Their gradient.
    pub gradient: &'a Wide<B>,
    /// Their velocity, zero before the first step.
    pub velocity: &'a mut Wide<B>,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// L2 penalty.
    pub weight_decay: f64,
}

/// The numbers of one step of Adam (Kingma & Ba 2015) or, when `decoupled`, AdamW (Loshchilov & Hutter 2019), as PyTorch
/// defines them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// The number of this step, from 1.
    pub t: u64,
    /// Weight decay shrinks the weights themselves instead of entering the gradient.
    pub decoupled: bool,
    /// Gradients are scaled down so that their norm is at most this; infinite for never.
    pub max_norm: f64,
}

/// One parameter in an Adam step.
#[derive(Debug)]
pub struct AdamParam<'a, B: Backend> {
    /// The weights.
    pub value: &'a mut Wide<B>,
    /// Their gradient.
    pub gradient: &'a Wide<B>,
    /// First moment, zero before the first step.
    pub m: &'a mut Wide<B>,
    /// Second moment, zero before the first step.
    pub v: &'a mut Wide<B>,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

impl<B: Backend> Copy for Epilogue<'_, B> {}

impl<B: Backend> Clone for Epilogue<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

// Derived Clone would ask for B: Clone fields to be bounded one by one; handles are cheap to clone by construction.
impl<B: Backend> Clone for Input<B> {
    fn clone(&self) -> Self {
        match self {
            Input::Plain(data) => Input::Plain(data.clone()),
            Input::Norm(norm) => Input::Norm(norm.clone()),
        }
    }
}

impl<B: Backend> Clone for Norm<B> {
    fn clone(&self) -> Self {
        Norm { x: self.x.clone(), scale: self.scale.clone(), shift: self.shift.clone(), ..*self }
    }
}

/// Refuses stored bytes and samples that do not fit together; what every backend's `load_images` calls first.
pub fn check_samples(spec: &ImageSpec, bytes: usize, samples: &[SampleView]) -> Result<()> {
    spec.check()?;
    let image = spec.bytes();
    if image == 0 || !bytes.is_multiple_of(image) {
        let rule = format!("must be a multiple of {image}, the bytes of one image");
        return Err(Error::invalid("stored images", format!("{bytes} bytes"), rule));
    }
    match samples.iter().find(|s| s.index as usize >= bytes / image) {
        Some(s) => Err(Error::invalid("sample", s.index, format!("must be below the {} stored images", bytes / image))),
        None => Ok(()),
    }
}
