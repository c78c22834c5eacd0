//! From a graph to the layers that run: what is not needed is left out, and what can be fused is.
//!
//! ```text
//! convolution -> normalisation, layer scale        weight * scale, bias * scale + shift
//! convolution, dense layer or normalisation
//!     -> + another value                           in its epilogue
//!     -> activation                                in its epilogue
//! flatten, dropout                                 nothing: the value keeps its place
//! ```
//!
//! A learned array that is read as a value, and what is computed of such values alone, are the same for any number of samples.
//!
//! A layer takes in what follows it only if nobody else reads the value between them. It then runs where the last of
//! what it took in ran, so that a shortcut that was computed in between is there.

use std::collections::HashMap;

use crate::backend::{Accum, Activation, Data, Inference, LinearSpec, ScaleSpec, SliceSpec, Wide};
use crate::element::Real;
use crate::graph::{Custom, Graph, Node, NormWeights, Op};
use crate::spec::{BatchNormSpec, Conv2dSpec, LayerNormSpec, Pool2dSpec};
use crate::tape::VarId;
use crate::{AdaptivePool2dSpec, Error, Result, Shape};

/// The shape of a value.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) shape: Shape,
    /// It is the same for any number of samples.
    fixed: bool,
}

/// An operation with what was fused into it, for one sample.
pub(super) struct Layer<B: Inference> {
    /// State-dict path of the module.
    pub(super) path: String,
    pub(super) work: Work<B, Wide<B>>,
    /// The values that it reads.
    pub(super) inputs: Vec<VarId>,
    /// The value that is added to what it computes.
    pub(super) residual: Option<VarId>,
    /// What comes last.
    pub(super) activation: Option<Activation>,
    /// The value that it makes.
    pub(super) output: VarId,
    /// It computes the same for any number of samples.
    fixed: bool,
}

/// What a layer computes before a residual is added and an activation applied. A convolution reads an `F`: its weight, or once it
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
    LayerNorm {
        spec: LayerNormSpec,
        gamma: Wide<B>,
        beta: Wide<B>,
    },
    Add,
    Activation(Activation),
    MaxPool2d(Pool2dSpec),
    AvgPool2d(Pool2dSpec),
    AdaptiveAvgPool2d(AdaptivePool2dSpec),
    ScaleChannels(ScaleSpec),
    /// With the channels of each input.
    Concat(Vec<usize>),
    SliceChannels(SliceSpec),
    ShuffleChannels {
        channels: usize,
        groups: usize,
    },
    Softmax {
        classes: usize,
    },
    /// With its inputs and its output.
    Custom(Custom<B>, Vec<Extent>, Extent),
}

/// The layers of a graph, and the values that enter and leave it.
pub(super) struct Lowered<B: Inference> {
    pub(super) layers: Vec<Layer<B>>,
    /// Learned arrays that layers read as values.
    pub(super) parameters: Vec<(VarId, Data<B>)>,
    pub(super) input: VarId,
    pub(super) input_shape: Shape,
    pub(super) output: VarId,
    pub(super) output_shape: Shape,
}

/// The layers that compute the output of `graph`.
pub(super) fn lower<B: Inference>(backend: &B, graph: &Graph<B>) -> Result<Lowered<B>> {
    graph.check(backend)?;
    let nodes = needed(graph);
    let mut lowering = Lowering { backend, layers: Vec::new(), parameters: Vec::new(), values: HashMap::new() };
    lowering.count_readers(&nodes, graph.output);
    let mut input = None;
    for node in &nodes {
        if matches!(node.op, Op::Input) && input.replace((node.output, node.shape)).is_some() {
            return Err(Error::invalid("model", "with several inputs", "must have one to be frozen"));
        }
        lowering.node(node).map_err(|error| error.in_layer(&node.path))?;
    }
    let (input, input_shape) =
        input.ok_or_else(|| Error::invalid("model", "without an input", "must have one to be frozen"))?;
    if input_shape.rank() == 0 {
        return Err(Error::invalid("input", input_shape, "must be a batch of samples"));
    }
    let Known { same: output, extent: Extent { shape: output_shape, fixed }, .. } = lowering.value(graph.output);
    if fixed {
        return Err(Error::invalid("output", output_shape, "must depend on the input, for a model to be frozen"));
    }
    let Lowering { layers, parameters, .. } = lowering;
    Ok(Lowered { layers, parameters, input, input_shape, output, output_shape })
}

/// The nodes that the output depends on, in order; the input always.
fn needed<B: Inference>(graph: &Graph<B>) -> Vec<&Node<B>> {
    let mut wanted = vec![graph.output];
    let mut nodes = Vec::new();
    for node in graph.nodes.iter().rev() {
        if wanted.contains(&node.output) || matches!(node.op, Op::Input) {
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
    parameters: Vec<(VarId, Data<B>)>,
    values: HashMap<VarId, Known>,
}

/// What is known of a value.
#[derive(Clone, Copy)]
struct Known {
    /// The value whose data it has: its own, or that in front of a flatten or a dropout.
    same: VarId,
    extent: Extent,
    /// How many layers read it; the caller reads the output.
    readers: usize,
}

impl<B: Inference> Lowering<'_, B> {
    fn count_readers(&mut self, nodes: &[&Node<B>], output: VarId) {
        for node in nodes {
            let same = match node.op {
                Op::Flatten | Op::Dropout(_) => self.value(node.inputs[0]).same,
                _ => {
                    node.inputs.iter().for_each(|&input| self.count_reader(input));
                    node.output
                }
            };
            let of_samples = |input: &VarId| !self.value(*input).extent.fixed;
            let fixed = !matches!(node.op, Op::Input) && !node.inputs.iter().any(of_samples);
            let extent = Extent { shape: node.shape, fixed };
            self.values.insert(node.output, Known { same, extent, readers: 0 });
        }
        self.count_reader(output);
    }

    fn count_reader(&mut self, value: VarId) {
        let same = self.value(value).same;
        self.values.entry(same).and_modify(|known| known.readers += 1);
    }

    fn value(&self, id: VarId) -> Known {
        self.values[&id]
    }

    fn node(&mut self, node: &Node<B>) -> Result<()> {
        let value: Vec<VarId> = node.inputs.iter().map(|&input| self.value(input).same).collect();
        let extent = self.value(node.output).extent;
        let mixed = node.inputs.iter().any(|&input| self.value(input).extent.fixed != extent.fixed);
        if mixed && !matches!(node.op, Op::Custom(_)) {
            let rule = "reads samples and what is no sample, which of a frozen model only Var::custom may";
            return Err(Error::invalid("operation", node.op.name(), rule));
        }
        let layer = match &node.op {
            Op::Input | Op::Flatten | Op::Dropout(_) => return Ok(()),
            Op::Parameter { value, .. } => {
                self.parameters.push((node.output, self.backend.narrow(value)?));
                return Ok(());
            }
            Op::Conv2d { spec, weight, bias } => {
                self.layer(node, Work::Conv2d { spec: *spec, filter: weight.clone(), bias: bias.clone() })
            }
            Op::Linear { spec, weight, bias } => {
                self.layer(node, Work::Linear { spec: *spec, weight: weight.clone(), bias: bias.clone() })
            }
            Op::BatchNorm2d { spec, weights, after } => {
                let layer = self.by_channels(node, value[0], &self.coefficients(spec, weights)?)?;
                Layer { residual: after.add.then(|| value[1]), activation: after.activation, ..layer }
            }
            Op::LayerNorm { spec, gamma, beta } => {
                self.layer(node, Work::LayerNorm { spec: *spec, gamma: gamma.clone(), beta: beta.clone() })
            }
            Op::LayerScale { channels, factors } => {
                self.by_channels(node, value[0], &[self.download(factors)?, vec![0.0; *channels]])?
            }
            Op::Add => {
                let (early, late) = (value[0].min(value[1]), value[0].max(value[1]));
                if let Some(layer) = self.take(late, Layer::has_room) {
                    Layer { residual: Some(early), ..layer }
                } else if let Some(layer) = self.take(early, Layer::has_room) {
                    Layer { residual: Some(late), ..layer }
                } else {
                    self.layer(node, Work::Add)
                }
            }
            Op::Activation(activation) => match self.take(value[0], Layer::has_epilogue) {
                Some(layer) => Layer { activation: Some(*activation), ..layer },
                None => self.layer(node, Work::Activation(*activation)),
            },
            Op::MaxPool2d(spec) => self.layer(node, Work::MaxPool2d(*spec)),
            Op::AvgPool2d(spec) => self.layer(node, Work::AvgPool2d(*spec)),
            Op::AdaptiveAvgPool2d(spec) => self.layer(node, Work::AdaptiveAvgPool2d(*spec)),
            Op::ScaleChannels => {
                let [images, factors] = [0, 1].map(|i: usize| self.value(node.inputs[i]).extent.shape);
                self.layer(node, Work::ScaleChannels(ScaleSpec::new(images, factors)?))
            }
            Op::Concat => {
                let channels = node.inputs.iter().map(|&input| self.value(input).extent.shape.channels()).collect();
                self.layer(node, Work::Concat(channels))
            }
            Op::SliceChannels(spec) => self.layer(node, Work::SliceChannels(*spec)),
            Op::ShuffleChannels { groups } => {
                self.layer(node, Work::ShuffleChannels { channels: node.shape.channels(), groups: *groups })
            }
            Op::Softmax => self.layer(node, Work::Softmax { classes: node.shape.channels() }),
            Op::Custom(custom) => {
                let inputs = node.inputs.iter().map(|&input| self.value(input).extent).collect();
                self.layer(node, Work::Custom(custom.clone(), inputs, extent))
            }
            Op::CrossEntropy | Op::BinaryCrossEntropy => {
                return Err(Error::invalid("operation", node.op.name(), "is none of inference"));
            }
        };
        self.layers.push(Layer { output: node.output, ..layer });
        Ok(())
    }

    /// The value, times a number for each channel and plus another, in the weight and bias of the convolution that made it or as
    /// a layer of its own.
    fn by_channels(&mut self, node: &Node<B>, value: VarId, coefficients: &[Vec<f64>; 2]) -> Result<Layer<B>> {
        if let Some(layer) = self.take(value, Layer::is_bare_conv2d) {
            return self.folded(layer, coefficients);
        }
        let [scale, shift] = [0, 1].map(|i| self.upload(&coefficients[i]));
        let work = Work::Norm { scale: scale?, shift: shift?, channels: coefficients[0].len() };
        Ok(Layer { inputs: vec![value], ..self.layer(node, work) })
    }

    /// The node as a layer of its own.
    fn layer(&self, node: &Node<B>, work: Work<B, Wide<B>>) -> Layer<B> {
        let inputs = node.inputs.iter().map(|&input| self.value(input).same).collect();
        let fixed = self.value(node.output).extent.fixed;
        Layer { path: node.path.clone(), work, inputs, residual: None, activation: None, output: node.output, fixed }
    }

    /// Takes out the layer that made `value`, if nobody else reads it and the layer is `fit` to take in what does.
    fn take(&mut self, value: VarId, fit: impl Fn(&Layer<B>) -> bool) -> Option<Layer<B>> {
        if self.value(value).readers != 1 {
            return None;
        }
        let at = self.layers.iter().position(|layer| layer.output == value)?;
        let layer = &self.layers[at];
        (layer.activation.is_none() && fit(layer)).then(|| self.layers.remove(at))
    }

    /// Scale and shift of a normalisation by running statistics.
    fn coefficients(&self, spec: &BatchNormSpec, weights: &NormWeights<B>) -> Result<[Vec<f64>; 2]> {
        let NormWeights { gamma, beta, mean, variance } = weights;
        let [gamma, beta, mean, variance] = [gamma, beta, mean, variance].map(|values| self.download(values));
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

/// The shape of `batch` samples of which one has the shape `one`.
pub(super) fn at_batch(one: Shape, batch: usize) -> Result<Shape> {
    Shape::new(&[&[batch], one.dims().get(1..).unwrap_or_default()].concat())
}

impl Extent {
    fn at_batch(self, batch: usize) -> Result<Self> {
        if self.fixed { Ok(self) } else { Ok(Extent { shape: at_batch(self.shape, batch)?, fixed: false }) }
    }
}

impl<B: Inference> Layer<B> {
    /// Whether the operation can be followed by an addition and an activation.
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

    /// Its work for `batch` samples; `prepare` makes filters of weights.
    pub(super) fn at_batch(
        &self,
        batch: usize,
        prepare: impl FnOnce(&Conv2dSpec, &Wide<B>) -> Result<B::Filter>,
    ) -> Result<Work<B, B::Filter>> {
        let samples = |traced: usize| if self.fixed { traced } else { batch };
        Ok(match &self.work {
            Work::Conv2d { spec, filter, bias } => {
                let spec = spec.at_batch(samples(spec.batch))?;
                Work::Conv2d { spec, filter: prepare(&spec, filter)?, bias: bias.clone() }
            }
            Work::Linear { spec, weight, bias } => {
                let spec = LinearSpec { rows: samples(spec.rows), ..*spec };
                Work::Linear { spec, weight: weight.clone(), bias: bias.clone() }
            }
            Work::Norm { scale, shift, channels } => {
                Work::Norm { scale: scale.clone(), shift: shift.clone(), channels: *channels }
            }
            Work::LayerNorm { spec, gamma, beta } => {
                Work::LayerNorm { spec: *spec, gamma: gamma.clone(), beta: beta.clone() }
            }
            Work::Add => Work::Add,
            Work::Activation(activation) => Work::Activation(*activation),
            Work::MaxPool2d(spec) => Work::MaxPool2d(spec.at_batch(samples(spec.batch))?),
            Work::AvgPool2d(spec) => Work::AvgPool2d(spec.at_batch(samples(spec.batch))?),
            Work::AdaptiveAvgPool2d(spec) => Work::AdaptiveAvgPool2d(spec.at_batch(samples(spec.batch))?),
            Work::ScaleChannels(spec) => Work::ScaleChannels(ScaleSpec { batch: samples(spec.batch), ..*spec }),
            Work::Concat(channels) => Work::Concat(channels.clone()),
            Work::SliceChannels(spec) => Work::SliceChannels(*spec),
            Work::ShuffleChannels { channels, groups } => {
                Work::ShuffleChannels { channels: *channels, groups: *groups }
            }
            Work::Softmax { classes } => Work::Softmax { classes: *classes },
            Work::Custom(custom, inputs, output) => {
                let inputs = inputs.iter().map(|input| input.at_batch(batch)).collect::<Result<_>>()?;
                Work::Custom(custom.clone(), inputs, output.at_batch(batch)?)
            }
        })
    }
}
