//! From a module to its graph, and a graph as a module.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::backend::{Accum, Backend};
use crate::graph::{Graph, NormWeights, Op, unmade};
use crate::nn::{Fields, Leaf, LeafMut, Module, Path};
use crate::ops::batch_norm2d::{NormParams, Statistics, batch_norm2d};
use crate::ops::conv2d::{ConvParams, conv2d};
use crate::ops::layer_norm::{LayerNormParams, layer_norm};
use crate::ops::layer_scale::layer_scale;
use crate::ops::learned::Learned;
use crate::ops::linear::linear;
use crate::ops::parameter::parameter;
use crate::tape::VarId;
use crate::{Error, Pass, Result, Shape, Tensor, Var};

impl<B: Backend> Graph<B> {
    /// What `model` does in evaluation with an input of this shape. One pass over zeros is run for it.
    ///
    /// # Errors
    /// The model's.
    pub fn trace(backend: &B, model: &mut (impl Module<B> + ?Sized), input: Shape) -> Result<Self> {
        let graph = Rc::new(RefCell::new(Graph::default()));
        let pass = Pass::eval(backend).observed(graph.clone());
        let zeros = backend.narrow(&backend.fill(input.numel(), Accum::<B>::default())?)?;
        let output = model.call(&pass.input(Tensor::from_data(backend, input, zeros)?)?)?.id();
        Ok(Graph { output, ..graph.take() })
    }
}

/// A graph has no parameters to be trained: its weights are what they are.
impl<B: Backend> Fields<B> for Graph<B> {
    fn visit<'a>(&'a self, _: &mut Path, _: &mut dyn FnMut(&Path, Leaf<'a, B>)) {}
    fn visit_mut<'a>(&'a mut self, _: &mut Path, _: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {}
}

/// What evaluation computes, in any pass: normalisations go by running statistics and nothing is dropped. Gradients flow
/// through to the input. The batch may be another one than that of the specs.
impl<B: Backend> Module<B> for Graph<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let (pass, mut entered) = (x.pass(), false);
        let mut values: HashMap<VarId, Var<B>> = HashMap::new();
        for node in &self.nodes {
            let value = |id: &VarId| values.get(id).ok_or_else(|| unmade(*id));
            let inputs = node.inputs.iter().map(value).collect::<Result<Vec<_>>>()?;
            let y = if let Op::Input = node.op {
                if std::mem::replace(&mut entered, true) {
                    return Err(Error::invalid("graph", "with several inputs", "must have one to be run as a module"));
                }
                x.clone()
            } else {
                pass.within(&node.path, || run(pass, &node.op, &inputs))?
            };
            values.insert(node.output, y);
        }
        values.remove(&self.output).ok_or_else(|| unmade(self.output))
    }
}

/// The operation on these values.
fn run<B: Backend>(pass: &Pass<B>, op: &Op<B>, inputs: &[&Var<B>]) -> Result<Var<B>> {
    op.check_arity(inputs.len())?;
    let backend = pass.backend();
    let fixed = |value, dims: &[usize]| Learned::fixed(backend, value, Shape::new(dims)?);
    if let Op::Parameter { shape, value } = op {
        return parameter(pass, fixed(value, shape.dims())?);
    }
    let [x, rest @ ..] = inputs else { return Err(Error::invalid("operation", op.name(), "has no input")) };
    match op {
        Op::Conv2d { spec, weight, bias } => {
            let options = &spec.options()?;
            let weight = fixed(weight, &spec.weight_shape())?;
            let bias = bias.as_ref().map(|bias| fixed(bias, &[spec.out_channels])).transpose()?;
            conv2d(x, ConvParams { weight, bias, options })
        }
        Op::BatchNorm2d { spec, weights: NormWeights { gamma, beta, mean, variance }, after } => {
            let [gamma, beta, mean, variance] =
                [gamma, beta, mean, variance].map(|value| fixed(value, &[spec.channels]));
            let by = Statistics::Running { mean: mean?.value, variance: variance?.value };
            let params = NormParams { gamma: gamma?, beta: beta?, by, eps: spec.eps };
            batch_norm2d(x, params, after.activation, rest.first().copied())
        }
        Op::Linear { spec, weight, bias } => {
            let weight = fixed(weight, &[spec.inputs, spec.outputs])?;
            let bias = bias.as_ref().map(|bias| fixed(bias, &[spec.outputs])).transpose()?;
            linear(x, weight, bias)
        }
        Op::LayerNorm { spec, gamma, beta } => {
            let [gamma, beta] = [gamma, beta].map(|value| fixed(value, &[spec.channels]));
            layer_norm(x, LayerNormParams { gamma: gamma?, beta: beta?, eps: spec.eps })
        }
        Op::LayerScale { channels, factors } => layer_scale(x, fixed(factors, &[*channels])?),
        Op::Activation(activation) => x.activate(*activation),
        Op::MaxPool2d(spec) => x.max_pool2d(&spec.options()?),
        Op::AvgPool2d(spec) => x.avg_pool2d(&spec.options()?),
        Op::AdaptiveAvgPool2d(spec) => x.adaptive_avg_pool2d(spec.output),
        Op::Flatten => x.flatten(),
        Op::Dropout(_) => Ok((*x).clone()),
        Op::Add => rest.iter().try_fold((*x).clone(), |sum, summand| sum.add(summand)),
        Op::ScaleChannels => x.scale_channels(rest[0]),
        Op::Concat => Var::concat(inputs),
        Op::SliceChannels(spec) => x.slice_channels(spec.first..spec.first.saturating_add(spec.count)),
        Op::ShuffleChannels { groups } => x.shuffle_channels(*groups),
        Op::Softmax => x.softmax(),
        Op::Custom(custom) => Var::custom_forward(custom, inputs),
        Op::Input | Op::Parameter { .. } | Op::CrossEntropy | Op::BinaryCrossEntropy => {
            Err(Error::invalid("operation", op.name(), "is none of a module"))
        }
    }
}
