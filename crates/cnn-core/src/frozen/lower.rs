//! From a graph to the layers that run: what is not needed is left out, and what can be fused is.
//!
//! ```text
//! convolution -> normalisation                     weight * scale, bias * scale + shift
//! convolution, dense layer or normalisation
//!     -> + another value                           in its epilogue
//!     -> ReLU                                      in its epilogue
//! flatten, dropout                                 nothing: the value keeps its place
//! ```
//!
//! A layer takes in what follows it only if nobody else reads the value between them. It then runs where the last of
//! what it took in ran, so that a shortcut that was computed in between is there.

use crate::backend::{Accum, Inference, LinearSpec, Wide};
use crate::element::Real;
use crate::graph::{After, Graph, Node, Op, Weights};
use crate::spec::{BatchNormSpec, Conv2dSpec, Pool2dSpec};
use crate::tape::VarId;
use crate::{Error, Result, Shape};

/// An operation with what was fused into it, for one sample.
pub(super) struct Layer<B: Inference> {
    /// State-dict path of the module.
    pub(super) path: String,
    pub(super) work: Work<B, Wide<B>>,
    /// The value that it reads.
    pub(super) input: VarId,
    /// The value that is added to what it computes.
    pub(super) residual: Option<VarId>,
    /// Whether a ReLU comes last.
    pub(super) relu: bool,
    /// The value that it makes.
    pub(super) output: VarId,
}

/// What a layer computes before a residual is added and a ReLU taken. A convolution reads an `F`: its weight, or once it
/// is planned for a batch size its filter.
pub(super) enum Work<B: Inference, F> {
    Conv2d {
        spec: Conv2dSpec,
        filter: F,
        bias: Option<Wide<B>>,
    },
    Linear {
        spec: LinearSpec,
        weight: Wide<B>,
        bias: Option<Wide<B>>,
    },
    Norm {
        scale: Wide<B>,
        shift: Wide<B>,
        channels: usize,
    },
    /// Its input, to which the residual is added.
    Add,
    Relu,
    Gelu,
    MaxPool2d(Pool2dSpec),
    AvgPool2d(Pool2dSpec),
    Softmax {
        classes: usize,
    },
}

/// The layers of a graph, and the values that enter and leave it.
pub(super) struct Lowered<B: Inference> {
    pub(super) layers: Vec<Layer<B>>,
    pub(super) input: VarId,
    pub(super) input_shape: Shape,
    pub(super) output: VarId,
    pub(super) output_shape: Shape,
}

/// The layers that compute the output of `graph`.
pub(super) fn lower<B: Inference>(backend: &B, graph: &Graph<B>) -> Result<Lowered<B>> {
    let nodes = needed(graph);
    let mut lowering = Lowering { backend, layers: Vec::new(), same: Vec::new(), readers: Vec::new() };
    lowering.count_readers(&nodes, graph.output);
    let mut input = None;
    for node in &nodes {
        if node.op == Op::Input && input.replace((node.output, node.shape)).is_some() {
            return Err(Error::invalid("model", "with several inputs", "must have one to be frozen"));
        }
        lowering.node(node).map_err(|error| error.in_layer(&node.path))?;
    }
    let (input, input_shape) =
        input.ok_or_else(|| Error::invalid("model", "without an input", "must have one to be frozen"))?;
    let output_shape = nodes.iter().find(|node| node.output == graph.output).map(|node| node.shape);
    Ok(Lowered {
        input,
        input_shape,
        output: lowering.same[graph.output],
        output_shape: output_shape.expect("the output is needed"),
        layers: lowering.layers,
    })
}

/// The nodes that the output depends on, in order; the input always.
fn needed<B: Inference>(graph: &Graph<B>) -> Vec<&Node<B>> {
    let mut wanted = vec![graph.output];
    let mut nodes = Vec::new();
    for node in graph.nodes.iter().rev() {
        if wanted.contains(&node.output) || node.op == Op::Input {
            wanted.extend(&node.inputs);
            nodes.push(node);
        }
    }
    nodes.reverse();
    nodes
}

struct Lowering<'a, B: Inference> {
    backend: &'a B,
    layers: Vec<Layer<B>>,
    /// The value whose data each value has: its own, or that in front of a flatten or a dropout.
    same: Vec<VarId>,
    /// How many layers read each value; the caller reads the output.
    readers: Vec<usize>,
}

impl<B: Inference> Lowering<'_, B> {
    fn count_readers(&mut self, nodes: &[&Node<B>], output: VarId) {
        let values = nodes.iter().map(|node| node.output + 1).max().unwrap_or(0);
        (self.same, self.readers) = ((0..values).collect(), vec![0; values]);
        for node in nodes {
            match node.op {
                Op::Flatten | Op::Dropout(_) => self.same[node.output] = self.same[node.inputs[0]],
                _ => node.inputs.iter().for_each(|&input| self.readers[self.same[input]] += 1),
            }
        }
        self.readers[self.same[output]] += 1;
    }

    fn node(&mut self, node: &Node<B>) -> Result<()> {
        let value: Vec<VarId> = node.inputs.iter().map(|&input| self.same[input]).collect();
        let layer = match (node.op, node.weights.clone()) {
            (Op::Input | Op::Flatten | Op::Dropout(_), _) => return Ok(()),
            (Op::Conv2d(spec, _), Weights::Product { weight, bias }) => {
                self.layer(node, Work::Conv2d { spec, filter: weight, bias })
            }
            (Op::Linear(spec, _), Weights::Product { weight, bias }) => {
                self.layer(node, Work::Linear { spec, weight, bias })
            }
            (Op::BatchNorm2d(spec, after), Weights::Norm { gamma, beta, mean, variance }) => {
                let coefficients = self.coefficients(&spec, [&gamma, &beta, &mean, &variance])?;
                let layer = match self.take(value[0], Layer::is_bare_conv2d) {
                    Some(layer) => self.folded(layer, &coefficients)?,
                    None => {
                        let [scale, shift] = [0, 1].map(|i| self.upload(&coefficients[i]));
                        self.layer(node, Work::Norm { scale: scale?, shift: shift?, channels: spec.channels })
                    }
                };
                let residual = (after == After::AddRelu).then(|| value[1]);
                Layer { residual, relu: after != After::Nothing, ..layer }
            }
            (Op::Add, _) => {
                let (early, late) = (value[0].min(value[1]), value[0].max(value[1]));
                if let Some(layer) = self.take(late, Layer::has_room) {
                    Layer { residual: Some(early), ..layer }
                } else if let Some(layer) = self.take(early, Layer::has_room) {
                    Layer { residual: Some(late), ..layer }
                } else {
                    Layer { residual: Some(value[1]), ..self.layer(node, Work::Add) }
                }
            }
            (Op::Relu, _) => match self.take(value[0], Layer::has_epilogue) {
                Some(layer) => Layer { relu: true, ..layer },
                None => self.layer(node, Work::Relu),
            },
            (Op::Gelu, _) => self.layer(node, Work::Gelu),
            (Op::MaxPool2d(spec), _) => self.layer(node, Work::MaxPool2d(spec)),
            (Op::AvgPool2d(spec), _) => self.layer(node, Work::AvgPool2d(spec)),
            (Op::Softmax, _) => self.layer(node, Work::Softmax { classes: node.shape.channels() }),
            (Op::CrossEntropy, _) => return Err(Error::invalid("operation", node.op.name(), "is none of inference")),
            (Op::Conv2d(..) | Op::Linear(..) | Op::BatchNorm2d(..), weights) => {
                return Err(Error::invalid(
                    "weights",
                    format!("{weights:?}"),
                    format!("are none of {}", node.op.name()),
                ));
            }
        };
        self.layers.push(Layer { output: node.output, ..layer });
        Ok(())
    }

    /// The node as a layer of its own.
    fn layer(&self, node: &Node<B>, work: Work<B, Wide<B>>) -> Layer<B> {
        let (path, input) = (node.path.clone(), self.same[node.inputs[0]]);
        Layer { path, work, input, residual: None, relu: false, output: node.output }
    }

    /// Takes out the layer that made `value`, if nobody else reads it and the layer is `fit` to take in what does.
    fn take(&mut self, value: VarId, fit: impl Fn(&Layer<B>) -> bool) -> Option<Layer<B>> {
        if self.readers[value] != 1 {
            return None;
        }
        let at = self.layers.iter().position(|layer| layer.output == value)?;
        let layer = &self.layers[at];
        (!layer.relu && fit(layer)).then(|| self.layers.remove(at))
    }

    /// Scale and shift of a normalisation by `[gamma, beta, mean, variance]`.
    fn coefficients(&self, spec: &BatchNormSpec, of: [&Wide<B>; 4]) -> Result<[Vec<f64>; 2]> {
        let [gamma, beta, mean, variance] = of.map(|values| self.download(values));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + spec.eps).sqrt()).collect();
        let shift = (0..spec.channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
        Ok([scale, shift])
    }

    /// The convolution with a normalisation in its weight and bias.
    fn folded(&self, layer: Layer<B>, [scale, shift]: &[Vec<f64>; 2]) -> Result<Layer<B>> {
        let Work::Conv2d { spec, filter, bias } = layer.work else { return Ok(layer) };
        let mut values = self.download(&filter)?;
        values.iter_mut().enumerate().for_each(|(i, w)| *w *= scale[i % scale.len()]);
        let mut shifted = shift.clone();
        if let Some(bias) = bias {
            let bias = self.download(&bias)?;
            shifted.iter_mut().enumerate().for_each(|(c, shift)| *shift += bias[c] * scale[c]);
        }
        let work = Work::Conv2d { spec, filter: self.upload(&values)?, bias: Some(self.upload(&shifted)?) };
        Ok(Layer { work, ..layer })
    }

    fn download(&self, values: &Wide<B>) -> Result<Vec<f64>> {
        Ok(self.backend.download(values)?.into_iter().map(Real::as_f64).collect())
    }

    fn upload(&self, values: &[f64]) -> Result<Wide<B>> {
        self.backend.upload(&values.iter().map(|&value| Accum::<B>::from_f64(value)).collect::<Vec<_>>())
    }
}

impl<B: Inference> Layer<B> {
    /// Whether the operation can be followed by an addition and a ReLU.
    fn has_epilogue(&self) -> bool {
        matches!(self.work, Work::Conv2d { .. } | Work::Linear { .. } | Work::Norm { .. })
    }

    /// Whether it can still be followed by an addition.
    fn has_room(&self) -> bool {
        self.has_epilogue() && self.residual.is_none()
    }

    fn is_bare_conv2d(&self) -> bool {
        matches!(self.work, Work::Conv2d { .. }) && self.residual.is_none()
    }
}

impl<B: Inference> Work<B, Wide<B>> {
    /// The same for `batch` samples; `prepare` makes filters of weights.
    pub(super) fn at_batch(
        &self,
        batch: usize,
        prepare: impl FnOnce(&Conv2dSpec, &Wide<B>) -> Result<B::Filter>,
    ) -> Result<Work<B, B::Filter>> {
        Ok(match self {
            Work::Conv2d { spec, filter, bias } => {
                let spec = spec.at_batch(batch)?;
                Work::Conv2d { spec, filter: prepare(&spec, filter)?, bias: bias.clone() }
            }
            Work::Linear { spec, weight, bias } => {
                let spec = LinearSpec { rows: batch, ..*spec };
                Work::Linear { spec, weight: weight.clone(), bias: bias.clone() }
            }
            Work::Norm { scale, shift, channels } => {
                Work::Norm { scale: scale.clone(), shift: shift.clone(), channels: *channels }
            }
            Work::Add => Work::Add,
            Work::Relu => Work::Relu,
            Work::Gelu => Work::Gelu,
            Work::MaxPool2d(spec) => Work::MaxPool2d(spec.at_batch(batch)?),
            Work::AvgPool2d(spec) => Work::AvgPool2d(spec.at_batch(batch)?),
            Work::Softmax { classes } => Work::Softmax { classes: *classes },
        })
    }
}
