//! Batch normalisation layer.

use crate::backend::{Accum, Activation, Running};
use crate::element::Real;
use crate::nn::{Count, Init, Kind, Module, Param, Scope, Statistic};
use crate::ops::batch_norm2d::{NormParams, Statistics, batch_norm2d};
use crate::pass::Mode;
use crate::{Backend, Pass, Result, Shape, Var, named_fields};

/// Normalises each channel of \[N, H, W, C\]: by the batch's mean and variance in training, by running ones in
/// evaluation. State dict: `weight`, `bias`, `running_mean`, `running_var`, `num_batches_tracked`.
#[derive(Debug)]
pub struct BatchNorm2d<B: Backend> {
    /// Scale \[C\].
    pub weight: Param<B>,
    /// Shift \[C\].
    pub bias: Param<B>,
    /// Running mean \[C\].
    pub running_mean: Statistic<B>,
    /// Running unbiased variance \[C\].
    pub running_var: Statistic<B>,
    /// Training batches seen.
    pub num_batches_tracked: Count,
    /// Added to the variance.
    pub eps: f64,
    /// Weight of a batch in the running statistics.
    pub momentum: f64,
    pub(crate) scope: Scope,
}

named_fields!(BatchNorm2d { weight, bias, running_mean, running_var, num_batches_tracked });

impl<B: Backend> BatchNorm2d<B> {
    /// Scale 1, shift 0, eps 1e-5, momentum 0.1.
    pub fn new(init: &mut Init<'_, B>, channels: usize) -> Result<Self> {
        let shape = Shape::new(&[channels])?;
        let fill = |value| init.backend().fill(channels, Accum::<B>::from_f64(value));
        let (running_mean, running_var) = (Statistic::new(fill(0.0)?, shape), Statistic::variance(fill(1.0)?, shape));
        Ok(BatchNorm2d {
            weight: init.constant(shape, 1.0, Kind::NormScale)?,
            bias: init.constant(shape, 0.0, Kind::NormShift)?,
            running_mean,
            running_var,
            num_batches_tracked: Count::default(),
            eps: 1e-5,
            momentum: 0.1,
            scope: Scope::default(),
        })
    }

    /// Whether the running statistics stay as they are, and are what training normalises by too: PyTorch's `eval()` of
    /// this layer alone. [`nn::freeze_statistics`](crate::nn::freeze_statistics) does it to a whole model.
    pub fn freeze_statistics(&mut self, frozen: bool) {
        self.running_mean.set_frozen(frozen);
        self.running_var.set_frozen(frozen);
    }

    /// The normalisation followed by a ReLU, in one op.
    pub fn relu(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.fused(x, Some(Activation::Relu), None)
    }

    /// The normalisation, plus `shortcut`, followed by a ReLU, in one op.
    pub fn add_relu(&mut self, x: &Var<B>, shortcut: &Var<B>) -> Result<Var<B>> {
        self.fused(x, Some(Activation::Relu), Some(shortcut))
    }

    /// The normalisation followed by `activation`. ReLU and ReLU6 are the same op in training; frozen models fuse any.
    ///
    /// # Errors
    /// An input that is no batch of images of the layer's channels.
    pub fn activate(&mut self, x: &Var<B>, activation: Activation) -> Result<Var<B>> {
        self.fused(x, Some(activation), None)
    }

    /// The normalisation, plus `shortcut`, followed by `activation`, as [`activate`](Self::activate).
    ///
    /// # Errors
    /// Those of `activate`, and a shortcut of another shape than the input.
    pub fn add_activate(&mut self, x: &Var<B>, shortcut: &Var<B>, activation: Activation) -> Result<Var<B>> {
        self.fused(x, Some(activation), Some(shortcut))
    }

    fn fused(&mut self, x: &Var<B>, activation: Option<Activation>, shortcut: Option<&Var<B>>) -> Result<Var<B>> {
        let scope = self.scope.clone();
        x.pass().within(scope.path(), || self.counted(x.pass(), |params| batch_norm2d(x, params, activation, shortcut)))
    }

    /// Runs an operation on the parameters; one that moves the statistics is counted.
    pub(crate) fn counted<T>(&mut self, pass: &Pass<B>, op: impl FnOnce(NormParams<'_, B>) -> Result<T>) -> Result<T> {
        let by_batch = pass.mode() == Mode::Train && !self.running_mean.is_frozen() && !self.running_var.is_frozen();
        let by = if by_batch {
            Statistics::Batch(Running {
                mean: self.running_mean.value_mut(),
                variance: self.running_var.value_mut(),
                momentum: self.momentum,
            })
        } else {
            Statistics::Running { mean: self.running_mean.value(), variance: self.running_var.value() }
        };
        let (gamma, beta) = (self.weight.learned(pass)?, self.bias.learned(pass)?);
        let result = op(NormParams { gamma, beta, by, eps: self.eps })?;
        if by_batch {
            self.num_batches_tracked.increment();
        }
        Ok(result)
    }
}

impl<B: Backend> Module<B> for BatchNorm2d<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        self.counted(x.pass(), |params| batch_norm2d(x, params, None, None))
    }
}
