//! A device that runs models forward.

use std::fmt::Debug;

use super::activation::Activation;
use super::channels::{ScaleSpec, SliceSpec};
use super::device::{Data, Device, Wide};
use super::norm::{Affine, Norm};
use crate::image::{ImageSpec, SampleView};
use crate::spec::{Conv2dSpec, LayerNormSpec, Pool2dSpec};
use crate::windows::AdaptivePool2dSpec;
use crate::{Error, Result};

/// A device that computes what a trained model does: all that a [`Frozen`](crate::Frozen) model asks for.
pub trait Inference: Device {
    /// A convolution's weight in the form its kernels read: cast, packed, transposed, transformed.
    type Filter: Clone + Debug + Send + Sync;

    /// Crops, flips, cuts out and normalises `samples` of the stored images `bytes`
    /// (\[images, H, W, C\]) into \[samples, H, W, C\], of the specification's output size: see [`SampleView`]. Fails when
    /// a sample's index is not below the number of stored images.
    fn load_images(&self, spec: &ImageSpec, bytes: &Self::Buffer<u8>, samples: &[SampleView]) -> Result<Data<Self>>;

    /// Brings `weight` \[KH, KW, C / groups, K\] into the form that the kernels for `uses` read.
    fn prepare_filter(&self, spec: &Conv2dSpec, weight: &Wide<Self>, uses: Uses) -> Result<Self::Filter>;
    /// Whether a filter that was prepared for one of these specs, which differ in the batch only, serves the other.
    fn filter_serves(&self, prepared: &Conv2dSpec, spec: &Conv2dSpec) -> bool;
    /// The convolution of `x` and what follows it. The filter was prepared for this spec, or serves it.
    fn conv2d(
        &self,
        spec: &Conv2dSpec,
        x: &Input<Self>,
        filter: &Self::Filter,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<Data<Self>>;
    /// `x` \[rows, in\] times `weight` \[in, out\], and what follows it.
    fn linear(
        &self,
        spec: &LinearSpec,
        x: &Data<Self>,
        weight: &Wide<Self>,
        epilogue: Epilogue<'_, Self>,
    ) -> Result<Data<Self>>;

    /// Writes a normalised activation, `residual` added before the rectifier.
    fn normalise(&self, norm: &Norm<Self>, residual: Option<&Input<Self>>) -> Result<Data<Self>>;
    /// Every row of `x` \[rows, channels\] less its mean and divided by its deviation, `sqrt(variance + eps)` of the biased
    /// variance, then times gamma and plus beta (J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016).
    fn layer_norm(&self, spec: &LayerNormSpec, x: &Data<Self>, affine: Affine<'_, Self>) -> Result<Data<Self>>;
    /// `activation` of each element.
    fn activate(&self, activation: Activation, x: Data<Self>) -> Result<Data<Self>>;
    /// The maximum of every window and where it was, as `row * W + column` of the input; the first of equal numbers
    /// wins, and the last NaN over all, as in PyTorch.
    fn max_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<(Data<Self>, Self::Buffer<u32>)>;
    /// The average of every window, see [`Pool2dSpec::span`].
    fn avg_pool2d(&self, spec: &Pool2dSpec, x: &Data<Self>) -> Result<Data<Self>>;
    /// The average of every window of an output of a given size.
    fn adaptive_avg_pool2d(&self, spec: &AdaptivePool2dSpec, x: &Data<Self>) -> Result<Data<Self>>;
    /// a + b.
    fn add(&self, a: Data<Self>, b: &Data<Self>) -> Result<Data<Self>>;
    /// Every pixel's channels, each times the factor that its image has for that channel: `x` \[batch, pixels, channels\] times
    /// `factors` \[batch, channels\].
    fn scale_channels(&self, spec: &ScaleSpec, x: Data<Self>, factors: &Data<Self>) -> Result<Data<Self>>;
    /// The channels of all parts side by side, row by row; each part stands beside the number of its channels.
    ///
    /// # Errors
    /// Those of [`check_concat`](super::check_concat).
    fn concat(&self, parts: &[(&Data<Self>, usize)]) -> Result<Data<Self>>;
    /// Some channels of every row.
    fn slice_channels(&self, spec: &SliceSpec, x: &Data<Self>) -> Result<Data<Self>>;
    /// Channels \[groups, channels / groups\] of every row in the order \[channels / groups, groups\].
    ///
    /// # Errors
    /// Groups that do not divide the channels.
    fn shuffle_channels(&self, x: &Data<Self>, channels: usize, groups: usize) -> Result<Data<Self>>;
    /// exp(x) / sum exp(x) over each row of `x` \[rows, classes\].
    fn softmax(&self, x: &Data<Self>, classes: usize) -> Result<Data<Self>>;

    /// What `pass` makes of `input`, and a recording of it where the device gains by one: it does the same to inputs of as
    /// many numbers without asking for each operation again. All that `pass` reads besides, such as weights, must stay
    /// alive and as it is for as long as the recording, and `pass` must ask for the same each time.
    fn record(
        &self,
        input: Data<Self>,
        pass: &dyn Fn(Data<Self>) -> Result<Data<Self>>,
    ) -> Result<(Data<Self>, Option<Recorded<Self>>)> {
        Ok((pass(input)?, None))
    }
}

/// A pass that was recorded, see [`Inference::record`].
pub struct Recorded<B: Device>(Box<Play<B>>);

type Play<B> = dyn Fn(&Data<B>) -> Result<Data<B>> + Send + Sync;

impl<B: Device> Recorded<B> {
    /// A recording that `play` plays.
    pub fn new(play: impl Fn(&Data<B>) -> Result<Data<B>> + Send + Sync + 'static) -> Self {
        Recorded(Box::new(play))
    }

    /// What the recorded pass makes of `input`, which has as many numbers as the one that it was recorded with.
    ///
    /// # Errors
    /// An input of another length, and those of the device.
    pub fn play(&self, input: &Data<B>) -> Result<Data<B>> {
        self.0(input)
    }
}

impl<B: Device> Debug for Recorded<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorded")
    }
}

/// What a prepared filter will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// The forward pass only.
    Forward,
    /// The forward pass and the gradient of the input.
    Training,
}

/// What follows the sum of a convolution or a dense layer: `activation(sum + bias + residual)`, each part where it is
/// given. A device computes it before the sum is stored where it can, and in a second pass where not.
#[derive(Debug)]
pub struct Epilogue<'a, B: Device> {
    /// Added to every pixel or row, \[out channels\].
    pub bias: Option<&'a Wide<B>>,
    /// Added to the output element by element.
    pub residual: Option<&'a Data<B>>,
    /// What comes last.
    pub activation: Option<Activation>,
}

impl<'a, B: Device> Epilogue<'a, B> {
    /// A bias or nothing.
    pub fn bias(bias: Option<&'a Wide<B>>) -> Self {
        Epilogue { bias, residual: None, activation: None }
    }
}

/// An activation that an operation reads.
#[derive(Debug)]
pub enum Input<B: Device> {
    /// Written to memory.
    Plain(Data<B>),
    /// Normalised while it is read.
    Norm(Norm<B>),
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

impl<B: Device> Copy for Epilogue<'_, B> {}

impl<B: Device> Clone for Epilogue<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

// Derived Clone would ask for B: Clone fields to be bounded one by one; handles are cheap to clone by construction.
impl<B: Device> Clone for Input<B> {
    fn clone(&self) -> Self {
        match self {
            Input::Plain(data) => Input::Plain(data.clone()),
            Input::Norm(norm) => Input::Norm(norm.clone()),
        }
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
