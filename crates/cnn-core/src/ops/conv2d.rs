//! Convolution.

use crate::backend::{Backend, Epilogue, Gradient, Input, Uses};
use crate::graph::Op;
use crate::ops::learned::Learned;
use crate::spec::{Conv2dOptions, Conv2dSpec};
use crate::tape::{Flow, VarId};
use crate::{Error, Result, Shape, Var};

/// What a convolution learned, and its geometry.
#[derive(Clone, Copy)]
pub(crate) struct ConvParams<'a, B: Backend> {
    /// \[KH, KW, C / groups, K\].
    pub(crate) weight: Learned<'a, B>,
    /// \[K\].
    pub(crate) bias: Option<Learned<'a, B>>,
    pub(crate) options: &'a Conv2dOptions,
}

/// The convolution of `x` \[N, H, W, C\].
pub(crate) fn conv2d<B: Backend>(x: &Var<B>, params: ConvParams<'_, B>) -> Result<Var<B>> {
    let (pass, backend) = (x.pass(), x.pass().backend());
    let spec = params.spec(x.shape())?;
    let convolution = Convolution::new(x, params.weight, spec)?;
    let y = backend.conv2d(&spec, &convolution.x, &convolution.filter, params.epilogue())?;

    let bias_key = params.bias.and_then(|bias| bias.key);
    let keys: Vec<usize> = convolution.weight_key.into_iter().chain(bias_key).collect();
    let tracked = x.is_tracked() || !keys.is_empty();
    let shape = Shape::new(&spec.output_shape())?;
    let out = pass.emit(|| params.op(spec), &[x], shape, Input::Plain(y), tracked)?;
    pass.record(&out, &keys, move |backend, dy, flow| {
        if let Some(key) = bias_key {
            flow.add_parameter(backend, key, backend.sum_rows(&dy, spec.out_channels)?)?;
        }
        convolution.backward(backend, Gradient::Plain(dy), flow)
    });
    Ok(out)
}

impl<'a, B: Backend> ConvParams<'a, B> {
    /// The spec of the convolution of values of the shape `x`.
    pub(crate) fn spec(&self, x: Shape) -> Result<Conv2dSpec> {
        let (input, weight) = (x.image_batch("input")?, self.weight.shape);
        let expected = weight.dims()[2] * self.options.groups;
        if input[3] != expected {
            return Err(Error::invalid("input", x, format!("has {} channels, weight expects {expected}", input[3])));
        }
        Conv2dSpec::new(input, weight.channels(), self.options)
    }

    /// What the convolution adds itself.
    pub(crate) fn epilogue(&self) -> Epilogue<'a, B> {
        Epilogue::bias(self.bias.map(|bias| bias.value))
    }

    /// What an observer sees.
    pub(crate) fn op(&self, spec: Conv2dSpec) -> Op<B> {
        Op::Conv2d { spec, weight: self.weight.value.clone(), bias: self.bias.map(|bias| bias.value.clone()) }
    }
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
    pub(crate) fn new(x: &Var<B>, weight: Learned<'_, B>, spec: Conv2dSpec) -> Result<Self> {
        let target = x.target();
        let uses = if target.is_some() { Uses::Training } else { Uses::Forward };
        let backend = x.pass().backend();
        let filter = backend.prepare_filter(&spec, weight.value, uses)?;
        let x = if backend.reads_norms() { x.as_input() } else { Input::Plain(x.data()?) };
        Ok(Convolution { spec, x, filter, weight_key: weight.key, target })
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
