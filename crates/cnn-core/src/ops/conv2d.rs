//! Convolution.

use crate::backend::{Backend, Epilogue, Gradient, Input, Uses};
use crate::graph::{Bias, Op, Weights};
use crate::nn::Param;
use crate::spec::{Conv2dOptions, Conv2dSpec};
use crate::tape::{Flow, VarId};
use crate::{Error, Result, Shape, Var};

/// The convolution of `x` \[N, H, W, C\] with `weight` \[KH, KW, C / groups, K\], plus `bias` \[K\].
pub(crate) fn conv2d<B: Backend>(
    x: &Var<B>,
    weight: &Param<B>,
    bias: Option<&Param<B>>,
    options: &Conv2dOptions,
) -> Result<Var<B>> {
    let (pass, backend) = (x.pass(), x.pass().backend());
    let spec = spec(x, weight, options)?;
    let convolution = Convolution::new(x, weight, spec)?;
    let epilogue = Epilogue::bias(bias.map(Param::value));
    let y = backend.conv2d(&spec, &convolution.x, &convolution.filter, epilogue)?;

    let bias_key = bias.map(|bias| bias.gradient_key(pass)).transpose()?.flatten();
    let keys: Vec<usize> = convolution.weight_key.into_iter().chain(bias_key).collect();
    let tracked = x.is_tracked() || !keys.is_empty();
    let shape = Shape::new(&spec.output_shape())?;
    let op = Op::Conv2d(spec, if bias.is_some() { Bias::With } else { Bias::Without });
    let out = pass.emit_weighted(op, || weights(weight, bias), &[x], shape, Input::Plain(y), tracked)?;
    pass.record(&out, &keys, move |backend, dy, flow| {
        if let Some(key) = bias_key {
            flow.add_parameter(backend, key, backend.sum_rows(&dy, spec.out_channels)?)?;
        }
        convolution.backward(backend, Gradient::Plain(dy), flow)
    });
    Ok(out)
}

/// What a convolution or a dense layer learned.
pub(crate) fn weights<B: Backend>(weight: &Param<B>, bias: Option<&Param<B>>) -> Weights<B> {
    Weights::Product { weight: weight.value().clone(), bias: bias.map(|bias| bias.value().clone()) }
}

/// The spec of a convolution of `x` with `weight`.
pub(crate) fn spec<B: Backend>(x: &Var<B>, weight: &Param<B>, options: &Conv2dOptions) -> Result<Conv2dSpec> {
    let input = x.shape().image_batch("input")?;
    let expected = weight.shape().dims()[2] * options.groups;
    if input[3] != expected {
        let rule = format!("has {} channels, weight expects {expected}", input[3]);
        return Err(Error::invalid("input", x.shape(), rule));
    }
    Conv2dSpec::new(input, weight.shape().channels(), options)
}

/// A convolution's operands: what the forward pass reads and the backward pass needs again.
pub(crate) struct Convolution<B: Backend> {
    pub(crate) spec: Conv2dSpec,
    pub(crate) x: Input<B>,
    pub(crate) filter: B::Filter,
    pub(crate) weight_key: Option<usize>,
    target: Option<VarId>,
}

impl<B: Backend> Convolution<B> {
    pub(crate) fn new(x: &Var<B>, weight: &Param<B>, spec: Conv2dSpec) -> Result<Self> {
        let target = x.target();
        let uses = if target.is_some() { Uses::Training } else { Uses::Forward };
        let filter = x.pass().backend().prepare_filter(&spec, weight.value(), uses)?;
        let weight_key = weight.gradient_key(x.pass())?;
        Ok(Convolution { spec, x: x.as_input(), filter, weight_key, target })
    }

    /// Gradients of weight and input; what was saved is freed as soon as it was read.
    pub(crate) fn backward(self, backend: &B, dy: Gradient<B>, flow: &mut Flow<B>) -> Result<()> {
        let Convolution { spec, x, filter, weight_key, target } = self;
        let dy = match dy {
            Gradient::Norm(gradient) if weight_key.is_some() && target.is_some() => {
                backend.shared_gradient(gradient)?
            }
            dy => dy,
        };
        if let Some(key) = weight_key {
            flow.add_parameter(backend, key, backend.conv2d_backward_weight(&spec, &dy, &x)?)?;
        }
        drop(x);
        if let Some(target) = target {
            let accumulate = flow.take(target);
            let dx = backend.conv2d_backward_data(&spec, &dy, &filter, accumulate)?;
            flow.put(target, dx);
        }
        Ok(())
    }
}
