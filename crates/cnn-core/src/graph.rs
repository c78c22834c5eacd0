//! What an observer of a pass sees: every operation with its spec, its weights, where it ran, and its value.
//!
//! A [`Graph`] is a pass written down: the operations with handles to their weights, and nothing of the data.

use std::cell::RefCell;
use std::rc::Rc;

use crate::backend::{Accum, Backend, Device, LinearSpec, Wide};
use crate::nn::Module;
use crate::spec::{BatchNormSpec, Conv2dSpec, Pool2dSpec};
use crate::tape::VarId;
use crate::{Pass, Result, Shape, Tensor, Var};

/// An operation with its whole problem. The set is closed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// Data that enters the pass.
    Input,
    /// Convolution, with a bias or without.
    Conv2d(Conv2dSpec, Bias),
    /// Batch normalisation and what is fused behind it.
    BatchNorm2d(BatchNormSpec, After),
    /// max(x, 0).
    Relu,
    /// x * Phi(x).
    Gelu,
    /// Maximum over windows.
    MaxPool2d(Pool2dSpec),
    /// Average over windows.
    AvgPool2d(Pool2dSpec),
    /// \[N, H, W, C\] to \[N, H * W * C\].
    Flatten,
    /// Dense layer, with a bias or without.
    Linear(LinearSpec, Bias),
    /// Random zeros with this probability.
    Dropout(f64),
    /// Elementwise sum.
    Add,
    /// Probabilities of each row.
    Softmax,
    /// The mean loss.
    CrossEntropy,
}

/// Whether a bias is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// One per output channel.
    With,
    /// None.
    Without,
}

/// What follows a batch normalisation in the same op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// ReLU.
    Relu,
    /// A second value is added, then ReLU.
    AddRelu,
}

impl Op {
    /// The operation's name, as PyTorch spells the layer.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "Input",
            Op::Conv2d(..) => "Conv2d",
            Op::BatchNorm2d(_, After::Nothing) => "BatchNorm2d",
            Op::BatchNorm2d(_, After::Relu) => "BatchNorm2d + ReLU",
            Op::BatchNorm2d(_, After::AddRelu) => "BatchNorm2d + add + ReLU",
            Op::Relu => "ReLU",
            Op::Gelu => "GELU",
            Op::MaxPool2d(_) => "MaxPool2d",
            Op::AvgPool2d(_) => "AvgPool2d",
            Op::Flatten => "Flatten",
            Op::Linear(..) => "Linear",
            Op::Dropout(_) => "Dropout",
            Op::Add => "Add",
            Op::Softmax => "Softmax",
            Op::CrossEntropy => "CrossEntropyLoss",
        }
    }

    /// Multiplications of the direct algorithm; 0 for what is bound by memory.
    pub fn macs(&self) -> u64 {
        match self {
            Op::Conv2d(spec, _) => spec.macs(),
            Op::Linear(spec, _) => spec.rows as u64 * spec.inputs as u64 * spec.outputs as u64,
            _ => 0,
        }
    }
}

/// The learned arrays and statistics that an operation reads: handles to device memory.
#[derive(Debug, Default)]
pub enum Weights<B: Device> {
    /// It reads none.
    #[default]
    None,
    /// Of a convolution or a dense layer.
    Product {
        /// \[KH, KW, C / groups, K\], or \[in, out\].
        weight: Wide<B>,
        /// \[K\] or \[out\].
        bias: Option<Wide<B>>,
    },
    /// Of a batch normalisation, each \[channels\]. In training the statistics are the running ones, already moved.
    Norm {
        /// Scale.
        gamma: Wide<B>,
        /// Shift.
        beta: Wide<B>,
        /// Running mean.
        mean: Wide<B>,
        /// Running variance.
        variance: Wide<B>,
    },
}

/// One operation as it ran.
#[derive(Debug)]
pub struct Event<'a, B: Backend> {
    /// State-dict path of the module.
    pub path: &'a str,
    /// The operation.
    pub op: Op,
    /// What it learned.
    pub weights: &'a Weights<B>,
    /// The values it read.
    pub inputs: &'a [VarId],
    /// The value it made; reading it may write a normalised activation that would otherwise not be written.
    pub output: &'a Var<B>,
}

/// Sees every operation of a pass.
pub trait Observer<B: Backend> {
    /// Called after each operation; an error stops the pass.
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()>;
}

/// One operation of a recorded [`Graph`].
#[derive(Clone, Debug)]
pub struct Node<B: Device> {
    /// State-dict path of the module.
    pub path: String,
    /// The operation.
    pub op: Op,
    /// What it learned.
    pub weights: Weights<B>,
    /// The values it read.
    pub inputs: Vec<VarId>,
    /// The value it made.
    pub output: VarId,
    /// Shape of that value.
    pub shape: Shape,
}

/// The operations of a pass in order: an observer that keeps everything but the values.
#[derive(Clone, Debug)]
pub struct Graph<B: Device> {
    /// In the order in which they ran.
    pub nodes: Vec<Node<B>>,
    /// The value that the pass was for; until that is known, the last one.
    pub output: VarId,
}

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

impl<B: Device> Default for Graph<B> {
    fn default() -> Self {
        Graph { nodes: Vec::new(), output: 0 }
    }
}

impl<B: Device> Clone for Weights<B> {
    fn clone(&self) -> Self {
        match self {
            Weights::None => Weights::None,
            Weights::Product { weight, bias } => Weights::Product { weight: weight.clone(), bias: bias.clone() },
            Weights::Norm { gamma, beta, mean, variance } => Weights::Norm {
                gamma: gamma.clone(),
                beta: beta.clone(),
                mean: mean.clone(),
                variance: variance.clone(),
            },
        }
    }
}

impl<B: Backend> Observer<B> for Graph<B> {
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()> {
        self.nodes.push(Node {
            path: event.path.to_owned(),
            op: event.op,
            weights: event.weights.clone(),
            inputs: event.inputs.to_vec(),
            output: event.output.id(),
            shape: event.output.shape(),
        });
        self.output = event.output.id();
        Ok(())
    }
}
