//! A model written down: its operations in order, with handles to their weights, and nothing of the data.

mod observer;
mod op;

pub use observer::{Event, Observer};
pub use op::{After, Custom, NormWeights, Op};

use std::collections::HashMap;

use crate::backend::{Device, ScaleSpec, check_groups};
use crate::ops::concat::concatenated;
use crate::ops::layer_norm::check_channels;
use crate::spec::LayerNormSpec;
use crate::tape::VarId;
use crate::windows::Windows;
use crate::{Error, Result, Shape};

/// One operation of a [`Graph`].
#[derive(Clone, Debug)]
pub struct Node<B: Device> {
    /// State-dict path of the module.
    pub path: String,
    /// The operation.
    pub op: Op<B>,
    /// The values it reads.
    pub inputs: Vec<VarId>,
    /// The value it makes.
    pub output: VarId,
    /// Shape of that value.
    pub shape: Shape,
}

/// The operations of a model in order.
///
/// A graph comes from [`Graph::trace`], from a pass that it observed, or from a program that reads another format. It is
/// a module itself, and [`Frozen::from_graph`](crate::Frozen::from_graph) makes it fast.
#[derive(Clone, Debug)]
pub struct Graph<B: Device> {
    /// In the order in which they run.
    pub nodes: Vec<Node<B>>,
    /// The value that the graph is for.
    pub output: VarId,
}

impl<B: Device> Default for Graph<B> {
    fn default() -> Self {
        Graph { nodes: Vec::new(), output: 0 }
    }
}

impl<B: Device> Graph<B> {
    /// Refuses a graph whose operations do not fit together: a value that no earlier node makes or that two make, a
    /// wrong number of inputs, specs that were changed, shapes and weights that are not those of the specs.
    ///
    /// # Errors
    /// The first thing that does not fit, and the layer that it is in.
    pub fn check(&self, backend: &B) -> Result<()> {
        let mut shapes: HashMap<VarId, Shape> = HashMap::new();
        for node in &self.nodes {
            node.check(backend, &shapes).map_err(|error| error.in_layer(&node.path))?;
            if shapes.insert(node.output, node.shape).is_some() {
                return Err(Error::invalid("value", node.output, "is made by two nodes of the graph"));
            }
        }
        if shapes.contains_key(&self.output) { Ok(()) } else { Err(unmade(self.output)) }
    }
}

/// No node makes this value.
pub(crate) fn unmade(value: VarId) -> Error {
    Error::invalid("value", value, "is made by no node of the graph before it is read")
}

impl<B: Device> Node<B> {
    fn check(&self, backend: &B, shapes: &HashMap<VarId, Shape>) -> Result<()> {
        let shape = |id: &VarId| shapes.get(id).copied().ok_or_else(|| unmade(*id));
        let inputs = self.inputs.iter().map(shape).collect::<Result<Vec<Shape>>>()?;
        self.op.check_arity(inputs.len())?;
        let (expected, made): (Vec<usize>, Vec<usize>) = match &self.op {
            Op::Conv2d { spec, .. } => {
                spec.check()?;
                (spec.input_shape().to_vec(), spec.output_shape().to_vec())
            }
            Op::MaxPool2d(spec) | Op::AvgPool2d(spec) => {
                spec.check()?;
                (spec.input_shape().to_vec(), spec.output_shape().to_vec())
            }
            Op::AdaptiveAvgPool2d(spec) => {
                spec.check()?;
                (spec.input_shape().to_vec(), spec.output_shape().to_vec())
            }
            Op::Linear { spec, .. } => (vec![spec.rows, spec.inputs], vec![spec.rows, spec.outputs]),
            Op::BatchNorm2d { spec, .. } => {
                let dims = inputs[0].dims().to_vec();
                if inputs[0].rows() != spec.rows || inputs[0].channels() != spec.channels {
                    let rule = format!("must have {} rows of {} channels", spec.rows, spec.channels);
                    return Err(Error::invalid("input", inputs[0], rule));
                }
                (dims.clone(), dims)
            }
            Op::LayerNorm { spec: LayerNormSpec { channels, .. }, .. } | Op::LayerScale { channels, .. } => {
                check_channels(inputs[0], *channels)?;
                (inputs[0].dims().to_vec(), inputs[0].dims().to_vec())
            }
            Op::Flatten => {
                let dims = inputs[0].dims();
                let batch = dims.first().copied().unwrap_or(1);
                (dims.to_vec(), vec![batch, dims.iter().skip(1).product()])
            }
            Op::Activation(_) | Op::Dropout(_) | Op::Add | Op::Softmax => {
                (inputs[0].dims().to_vec(), inputs[0].dims().to_vec())
            }
            Op::ScaleChannels => {
                ScaleSpec::new(inputs[0], inputs[1])?;
                (inputs[0].dims().to_vec(), inputs[0].dims().to_vec())
            }
            Op::Concat => (inputs[0].dims().to_vec(), concatenated(&inputs)?.0.dims().to_vec()),
            Op::SliceChannels(spec) => {
                spec.check()?;
                let [n, h, w, _] = inputs[0].image_batch("input")?;
                (vec![n, h, w, spec.channels], vec![n, h, w, spec.count])
            }
            Op::ShuffleChannels { groups } => {
                let [.., channels] = inputs[0].image_batch("input")?;
                check_groups(channels, *groups)?;
                (inputs[0].dims().to_vec(), inputs[0].dims().to_vec())
            }
            Op::Parameter { shape, .. } => (Vec::new(), shape.dims().to_vec()),
            // What they make is not told by what they read.
            Op::Input | Op::CrossEntropy | Op::BinaryCrossEntropy | Op::Custom(_) => {
                let first = inputs.first().map_or_else(Vec::new, |shape| shape.dims().to_vec());
                (first, self.shape.dims().to_vec())
            }
        };
        let refuse = |what: &str, shape: Shape, rule: &[usize]| {
            Err(Error::invalid(format!("{what} of {}", self.op.name()), shape, format!("must be {rule:?}")))
        };
        match inputs.first() {
            Some(first) if first.dims() != expected => return refuse("input", *first, &expected),
            _ => {}
        }
        if self.shape.dims() != made {
            return refuse("output", self.shape, &made);
        }
        if let (Op::Add | Op::BatchNorm2d { .. }, Some(second)) = (&self.op, inputs.get(1))
            && *second != inputs[0]
        {
            return refuse("second input", *second, inputs[0].dims());
        }
        self.op.check_weights(backend)
    }
}
