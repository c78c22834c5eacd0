//! Layer normalisation. The way back keeps the input and no statistics: a row is in the nearest cache when its mean and deviation
//! are computed again, which costs no pass over memory, and a list of them would be written and read.

use crate::backend::{Affine, Backend, Input};
use crate::graph::Op;
use crate::ops::learned::Learned;
use crate::spec::LayerNormSpec;
use crate::{Error, Result, Shape, Var};

/// What a layer normalisation learned.
pub(crate) struct LayerNormParams<'a, B: Backend> {
    pub(crate) gamma: Learned<'a, B>,
    pub(crate) beta: Learned<'a, B>,
    pub(crate) eps: f64,
}

impl<B: Backend> LayerNormParams<'_, B> {
    /// The spec of a normalisation of values of this shape.
    fn spec(&self, shape: Shape) -> Result<LayerNormSpec> {
        let spec = LayerNormSpec { channels: self.gamma.shape.numel(), eps: self.eps };
        check_channels(shape, spec.channels)?;
        Ok(spec)
    }
}

/// Refuses values of other channels than a layer has factors for.
pub(crate) fn check_channels(shape: Shape, channels: usize) -> Result<()> {
    if shape.rank() > 0 && shape.channels() == channels {
        return Ok(());
    }
    Err(Error::invalid("input", shape, format!("must have {channels} channels, the last dimension")))
}

/// Each row of `x`, over its last dimension, normalised.
pub(crate) fn layer_norm<B: Backend>(x: &Var<B>, params: LayerNormParams<'_, B>) -> Result<Var<B>> {
    let (pass, target) = (x.pass(), x.target());
    let (spec, data) = (params.spec(x.shape())?, x.data()?);
    let LayerNormParams { gamma, beta, .. } = params;
    let y = pass.backend().layer_norm(&spec, &data, Affine { gamma: gamma.value, beta: beta.value })?;
    let keys: Vec<usize> = gamma.key.into_iter().chain(beta.key).collect();
    let op = || Op::LayerNorm { spec, gamma: gamma.value.clone(), beta: beta.value.clone() };
    let out = pass.emit(op, &[x], x.shape(), Input::Plain(y), x.is_tracked() || !keys.is_empty())?;
    let (gamma_key, beta_key, gamma) = (gamma.key, beta.key, gamma.value.clone());
    pass.record(&out, &keys, move |backend, dy, flow| {
        let back = backend.layer_norm_backward(&spec, dy, &data, &gamma)?;
        for (key, gradient) in [(gamma_key, back.dgamma), (beta_key, back.dbeta)] {
            if let Some(key) = key {
                flow.add_parameter(backend, key, gradient)?;
            }
        }
        flow.add(backend, target, back.dx)
    });
    Ok(out)
}
