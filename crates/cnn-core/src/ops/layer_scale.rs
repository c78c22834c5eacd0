//! A learned factor for each channel: the product of [`Var::scale_channels`], of which all rows are one image.

use crate::backend::{Backend, Input, ScaleSpec};
use crate::graph::Op;
use crate::ops::layer_norm::check_channels;
use crate::ops::learned::Learned;
use crate::{Result, Var};

/// `x` [.., C] times `factors`. They are rounded to activations, and so is their gradient, a sum over rows that is rounded once.
pub(crate) fn layer_scale<B: Backend>(x: &Var<B>, factors: Learned<'_, B>) -> Result<Var<B>> {
    let (pass, target, shape) = (x.pass(), x.target(), x.shape());
    let channels = factors.shape.numel();
    check_channels(shape, channels)?;
    let spec = ScaleSpec { batch: 1, pixels: shape.rows(), channels };
    let (data, by, key) = (x.data()?, pass.backend().narrow(factors.value)?, factors.key);
    let saved = key.map(|key| (key, data.clone()));
    let y = Input::Plain(pass.backend().scale_channels(&spec, data, &by)?);
    let op = || Op::LayerScale { channels, factors: factors.value.clone() };
    let out = pass.emit(op, &[x], shape, y, x.is_tracked() || key.is_some())?;
    pass.record(&out, key.as_slice(), move |backend, dy, flow| {
        let dx = match saved {
            Some((key, x)) => {
                let (dx, dfactors) = backend.scale_channels_backward(&spec, dy, &x, &by)?;
                flow.add_parameter(backend, key, backend.widen(&dfactors)?)?;
                dx
            }
            None => backend.scale_channels(&spec, dy, &by)?,
        };
        flow.add(backend, target, dx)
    });
    Ok(out)
}
