//! Operations with everything that they need but for their inputs.

use std::borrow::Cow;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use crate::backend::{Activation, Device, LinearSpec, SliceSpec, Wide};
use crate::spec::{BatchNormSpec, Conv2dSpec, DropoutSpec, LayerNormSpec, Pool2dSpec};
use crate::{AdaptivePool2dSpec, Error, Result, Shape, Tensor};

/// An operation with its whole problem and handles to its weights. The set is closed, but for [`Custom`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op<B: Device> {
    /// Data that enters.
    Input,
    /// A learned array as a value: see [`Param::var`](crate::nn::Param::var).
    Parameter {
        /// Its dimensions.
        shape: Shape,
        /// The array.
        value: Wide<B>,
    },
    /// Convolution.
    Conv2d {
        /// The problem.
        spec: Conv2dSpec,
        /// \[KH, KW, C / groups, K\].
        weight: Wide<B>,
        /// \[K\].
        bias: Option<Wide<B>>,
    },
    /// Batch normalisation and what is fused behind it.
    BatchNorm2d {
        /// The problem.
        spec: BatchNormSpec,
        /// What it learned.
        weights: NormWeights<B>,
        /// What follows in the same op.
        after: After,
    },
    /// Layer normalisation of every row.
    LayerNorm {
        /// The problem.
        spec: LayerNormSpec,
        /// Scale \[C\].
        gamma: Wide<B>,
        /// Shift \[C\].
        beta: Wide<B>,
    },
    /// Each channel times a learned factor.
    LayerScale {
        /// C.
        channels: usize,
        /// \[C\].
        factors: Wide<B>,
    },
    /// An activation.
    Activation(Activation),
    /// Maximum over windows.
    MaxPool2d(Pool2dSpec),
    /// Average over windows.
    AvgPool2d(Pool2dSpec),
    /// Average over windows of an output of a given size.
    AdaptiveAvgPool2d(AdaptivePool2dSpec),
    /// \[N, H, W, C\] to \[N, H * W * C\].
    Flatten,
    /// Dense layer.
    Linear {
        /// The problem.
        spec: LinearSpec,
        /// \[in, out\].
        weight: Wide<B>,
        /// \[out\].
        bias: Option<Wide<B>>,
    },
    /// Random zeros.
    Dropout(DropoutSpec),
    /// Elementwise sum.
    Add,
    /// Images times a factor for each channel of each of them, the second value.
    ScaleChannels,
    /// The channels of any number of values side by side.
    Concat,
    /// Some channels.
    SliceChannels(SliceSpec),
    /// Channels in another order: see [`Var::shuffle_channels`](crate::Var::shuffle_channels).
    ShuffleChannels {
        /// How many groups of neighbours are mixed.
        groups: usize,
    },
    /// Probabilities of each row.
    Softmax,
    /// The mean loss.
    CrossEntropy,
    /// The mean loss of several labels an image.
    BinaryCrossEntropy,
    /// An operation of the program's own.
    Custom(Custom<B>),
}

/// The learned arrays and the statistics of a batch normalisation, each \[channels\]. In training the statistics are the
/// running ones, already moved.
#[derive(Clone, Debug)]
pub struct NormWeights<B: Device> {
    /// Scale.
    pub gamma: Wide<B>,
    /// Shift.
    pub beta: Wide<B>,
    /// Running mean.
    pub mean: Wide<B>,
    /// Running variance.
    pub variance: Wide<B>,
}

/// What follows a batch normalisation in the same op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// Whether a second value is added.
    pub add: bool,
    /// What comes last.
    pub activation: Option<Activation>,
}

/// What a program's own operation computes: see [`Var::custom`](crate::Var::custom).
#[derive(Clone)]
pub struct Custom<B: Device> {
    name: Arc<str>,
    forward: Arc<CustomForward<B>>,
}

type CustomForward<B> = dyn Fn(&B, &[Tensor<B>]) -> Result<Tensor<B>> + Send + Sync;

impl<B: Device> Custom<B> {
    /// An operation that is called `name` in errors and graphs.
    pub fn new(
        name: impl Into<Arc<str>>,
        forward: impl Fn(&B, &[Tensor<B>]) -> Result<Tensor<B>> + Send + Sync + 'static,
    ) -> Self {
        Custom { name: name.into(), forward: Arc::new(forward) }
    }

    /// What it computes of `inputs`.
    ///
    /// # Errors
    /// Its own.
    pub fn run(&self, backend: &B, inputs: &[Tensor<B>]) -> Result<Tensor<B>> {
        (self.forward)(backend, inputs)
    }

    /// Where its errors come from: the module at `path` and its own name.
    pub(crate) fn place(&self, path: &str) -> String {
        if path.is_empty() { self.name.to_string() } else { format!("{path} ({})", self.name) }
    }
}

impl<B: Device> Debug for Custom<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Custom").field(&self.name).finish()
    }
}

impl<B: Device> Op<B> {
    /// The operation's name, as PyTorch spells the layer.
    pub fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Op::Input => "Input",
            Op::Parameter { .. } => "Parameter",
            Op::Conv2d { .. } => "Conv2d",
            Op::BatchNorm2d { after: After { add, activation }, .. } => {
                let add = if *add { " + add" } else { "" };
                let activation = activation.map_or(String::new(), |a| format!(" + {}", a.name()));
                return Cow::Owned(format!("BatchNorm2d{add}{activation}"));
            }
            Op::LayerNorm { .. } => "LayerNorm",
            Op::LayerScale { .. } => "LayerScale",
            Op::Activation(activation) => activation.name(),
            Op::MaxPool2d(_) => "MaxPool2d",
            Op::AvgPool2d(_) => "AvgPool2d",
            Op::AdaptiveAvgPool2d(_) => "AdaptiveAvgPool2d",
            Op::Flatten => "Flatten",
            Op::Linear { .. } => "Linear",
            Op::Dropout(DropoutSpec { shared_by: 1, .. }) => "Dropout",
            Op::Dropout(_) => "StochasticDepth",
            Op::Add => "Add",
            Op::ScaleChannels => "ScaleChannels",
            Op::Concat => "Concat",
            Op::SliceChannels(_) => "SliceChannels",
            Op::ShuffleChannels { .. } => "ChannelShuffle",
            Op::Softmax => "Softmax",
            Op::CrossEntropy => "CrossEntropyLoss",
            Op::BinaryCrossEntropy => "BCEWithLogitsLoss",
            Op::Custom(custom) => &custom.name,
        })
    }

    /// Multiplications of the direct algorithm; 0 for what is bound by memory.
    pub fn macs(&self) -> u64 {
        match self {
            Op::Conv2d { spec, .. } => spec.macs(),
            Op::Linear { spec, .. } => spec.rows as u64 * spec.inputs as u64 * spec.outputs as u64,
            _ => 0,
        }
    }

    /// Refuses another number of inputs than the operation reads.
    pub(crate) fn check_arity(&self, inputs: usize) -> Result<()> {
        let expected = match self {
            Op::Input | Op::Parameter { .. } => 0,
            Op::Add | Op::ScaleChannels => 2,
            Op::BatchNorm2d { after, .. } => 1 + usize::from(after.add),
            Op::Concat | Op::Custom(_) => inputs.max(1),
            _ => 1,
        };
        if inputs == expected {
            return Ok(());
        }
        Err(Error::invalid(format!("inputs of {}", self.name()), inputs, format!("must be {expected}")))
    }

    /// Refuses weights of other lengths than the spec's.
    pub(super) fn check_weights(&self, backend: &B) -> Result<()> {
        let check = |what: &str, values: Option<&Wide<B>>, expected: usize| match values.map(|v| backend.len(v)) {
            Some(len) if len != expected => {
                let rule = format!("must have the {expected} elements of the spec");
                Err(Error::invalid(format!("{what} of {}", self.name()), format!("[{len}]"), rule))
            }
            _ => Ok(()),
        };
        match self {
            Op::Parameter { shape, value } => check("value", Some(value), shape.numel()),
            Op::Conv2d { spec, weight, bias } => {
                check("weight", Some(weight), spec.weight_shape().iter().product())?;
                check("bias", bias.as_ref(), spec.out_channels)
            }
            Op::Linear { spec, weight, bias } => {
                check("weight", Some(weight), spec.inputs * spec.outputs)?;
                check("bias", bias.as_ref(), spec.outputs)
            }
            Op::BatchNorm2d { spec, weights: NormWeights { gamma, beta, mean, variance }, .. } => {
                let mut arrays =
                    [("weight", gamma), ("bias", beta), ("mean", mean), ("variance", variance)].into_iter();
                arrays.try_for_each(|(what, values)| check(what, Some(values), spec.channels))
            }
            Op::LayerNorm { spec, gamma, beta } => {
                check("weight", Some(gamma), spec.channels)?;
                check("bias", Some(beta), spec.channels)
            }
            Op::LayerScale { channels, factors } => check("factors", Some(factors), *channels),
            _ => Ok(()),
        }
    }
}
