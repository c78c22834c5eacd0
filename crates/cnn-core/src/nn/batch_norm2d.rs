//! Batch normalisation layer.

use crate::backend::Accum;
use crate::element::Real;
use crate::graph::After;
use crate::nn::{Count, Init, Kind, Module, Param, Scope, Statistic};
use crate::ops::batch_norm2d::batch_norm2d;
use crate::{Backend, Result, Shape, Var, named_fields};

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
        self.fused(x, After::Relu, None)
    }

    /// The normalisation, plus `shortcut`, followed by a ReLU, in one op.
    pub fn add_relu(&mut self, x: &Var<B>, shortcut: &Var<B>) -> Result<Var<B>> {
        self.fused(x, After::AddRelu, Some(shortcut))
    }

    fn fused(&mut self, x: &Var<B>, after: After, shortcut: Option<&Var<B>>) -> Result<Var<B>> {
        let scope = self.scope.clone();
        x.pass().within(scope.path(), || {
            if let Some(shortcut) = shortcut {
                super::conv_norm::check_shortcut(x.shape(), shortcut)?;
            }
            batch_norm2d(x, self, after, shortcut)
        })
    }
}

impl<B: Backend> Module<B> for BatchNorm2d<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        batch_norm2d(x, self, After::Nothing, None)
    }
}
