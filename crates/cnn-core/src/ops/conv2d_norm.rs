//! Convolution and batch normalisation (and addition, and an activation) as one op.
//!
//! The convolution returns the moments that the normalisation needs, the normalised activation is applied by whoever
//! reads it, and on the way back the convolution reads the normalisation's gradient: the one is never written, the other
//! only for two readers, by backends for which that is faster.

use crate::backend::{Activation, Backend, Gradient, Input, Rectifier};
use crate::graph::After;
use crate::ops::batch_norm2d::{NormParams, Normalised, activated, check_shortcut};
use crate::ops::conv2d::{ConvParams, Convolution};
use crate::{Result, Shape, Var};

/// `norm(conv(x))`, and what comes after it: a sum with `shortcut` where there is one, an activation. Each of the two
/// stands behind its state-dict path.
pub(crate) fn conv2d_norm<B: Backend>(
    x: &Var<B>,
    (conv_path, conv): (&str, ConvParams<'_, B>),
    (norm_path, mut norm): (&str, NormParams<'_, B>),
    activation: Option<Activation>,
    shortcut: Option<&Var<B>>,
) -> Result<Var<B>> {
    let (pass, backend) = (x.pass(), x.pass().backend());
    let (convolution, raw, moments) = pass.within(conv_path, || {
        let spec = conv.spec(x.shape())?;
        let shape = Shape::new(&spec.output_shape())?;
        if let Some(shortcut) = shortcut {
            check_shortcut(shape, shortcut)?;
        }
        let convolution = Convolution::new(x, conv.weight, spec)?;
        let (y, moments) = if norm.wants_moments() {
            let (y, moments) = backend.conv2d_moments(&spec, &convolution.x, &convolution.filter, conv.epilogue())?;
            (y, Some(moments))
        } else {
            (backend.conv2d(&spec, &convolution.x, &convolution.filter, conv.epilogue())?, None)
        };
        let raw = pass.emit(|| conv.op(spec), &[x], shape, Input::Plain(y), false)?;
        Ok((convolution, raw, moments))
    })?;
    pass.within(norm_path, || {
        let spec = norm.spec(raw.shape(), shortcut)?;
        let (fused, late) = Rectifier::split(activation);
        let (value, normalised) = Normalised::forward(backend, &mut norm, spec, raw.data()?, moments, fused, shortcut)?;
        let bias_key = conv.bias.and_then(|bias| bias.key);
        let keys: Vec<usize> = normalised.keys().into_iter().chain(convolution.weight_key).chain(bias_key).collect();
        let tracked = x.is_tracked() || shortcut.is_some_and(Var::is_tracked) || !keys.is_empty();
        let inputs: Vec<&Var<B>> = [&raw].into_iter().chain(shortcut).collect();
        let op = || norm.op(spec, After { add: shortcut.is_some(), activation: fused.activation() });
        let out = pass.emit(op, &inputs, raw.shape(), value, tracked)?;
        pass.record(&out, &keys, move |backend, dy, flow| {
            let gradient = normalised.backward(backend, dy, flow)?;
            let gradient = match bias_key {
                // Rare: a bias before a normalisation that subtracts the mean has no effect. Its gradient is rounding.
                Some(key) => {
                    let channels = gradient.channels;
                    let written = backend.normalise_backward(gradient)?;
                    flow.add_parameter(backend, key, backend.sum_rows(&written, channels)?)?;
                    Gradient::Plain(written)
                }
                None => Gradient::Norm(gradient),
            };
            convolution.backward(backend, gradient, flow)
        });
        activated(out, late)
    })
}
