//! Convolution and batch normalisation (and addition, and ReLU) as one op.
//!
//! The convolution returns the moments that the normalisation needs, the normalised activation is applied by whoever
//! reads it, and on the way back the convolution reads the normalisation's gradient: the one is never written, the other
//! only for two readers, by backends for which that is faster.

use crate::backend::{Backend, Epilogue, Gradient, Input};
use crate::graph::{After, Bias, Op};
use crate::nn::{BatchNorm2d, Conv2d, Param};
use crate::ops::{batch_norm2d, conv2d};
use crate::{Result, Shape, Var};

/// `norm(conv(x))`, `shortcut` added before the ReLU when `after` is [`After::AddRelu`].
pub(crate) fn conv2d_norm<B: Backend>(
    x: &Var<B>,
    conv: &Conv2d<B>,
    norm: &mut BatchNorm2d<B>,
    after: After,
    shortcut: Option<&Var<B>>,
) -> Result<Var<B>> {
    let (pass, backend) = (x.pass(), x.pass().backend());
    let bias = conv.bias.as_ref();
    let (convolution, raw, moments) = pass.within(conv.scope.path(), || {
        let spec = conv2d::spec(x, &conv.weight, &conv.options)?;
        let convolution = conv2d::Convolution::new(x, &conv.weight, spec)?;
        let epilogue = Epilogue::bias(bias.map(Param::value));
        let (y, moments) = match batch_norm2d::by_batch(pass, norm) {
            true => {
                let (y, moments) = backend.conv2d_moments(&spec, &convolution.x, &convolution.filter, epilogue)?;
                (y, Some(moments))
            }
            false => (backend.conv2d(&spec, &convolution.x, &convolution.filter, epilogue)?, None),
        };
        let op = Op::Conv2d(spec, if bias.is_some() { Bias::With } else { Bias::Without });
        let (shape, weights) = (Shape::new(&spec.output_shape())?, || conv2d::weights(&conv.weight, bias));
        let raw = pass.emit_weighted(op, weights, &[x], shape, Input::Plain(y), false)?;
        Ok((convolution, raw, moments))
    })?;
    let scope = norm.scope.clone();
    pass.within(scope.path(), || {
        let spec = batch_norm2d::spec(pass, raw.shape(), norm)?;
        let (value, normalised) =
            batch_norm2d::Normalised::forward(pass, norm, spec, raw.data()?, moments, after, shortcut)?;
        let bias_key = bias.map(|bias| bias.gradient_key(pass)).transpose()?.flatten();
        let keys: Vec<usize> = normalised.keys().into_iter().chain(convolution.weight_key).chain(bias_key).collect();
        let tracked = x.is_tracked() || shortcut.is_some_and(Var::is_tracked) || !keys.is_empty();
        let inputs: Vec<&Var<B>> = [&raw].into_iter().chain(shortcut).collect();
        let (op, weights) = (Op::BatchNorm2d(spec, after), || batch_norm2d::weights(norm));
        let out = pass.emit_weighted(op, weights, &inputs, raw.shape(), value, tracked)?;
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
        Ok(out)
    })
}
