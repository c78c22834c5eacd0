//! What an observer of a pass sees: every operation with its spec, where it ran, and its value.

use crate::backend::{Backend, LinearSpec};
use crate::spec::{BatchNormSpec, Conv2dSpec, Pool2dSpec};
use crate::tape::VarId;
use crate::{Result, Shape, Var};

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

/// One operation as it ran.
#[derive(Debug)]
pub struct Event<'a, B: Backend> {
    /// State-dict path of the module.
    pub path: &'a str,
    /// The operation.
    pub op: Op,
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
pub struct Node {
    /// State-dict path of the module.
    pub path: String,
    /// The operation.
    pub op: Op,
    /// The values it read.
    pub inputs: Vec<VarId>,
    /// The value it made.
    pub output: VarId,
    /// Shape of that value.
    pub shape: Shape,
}

/// The operations of a pass in order: an observer that keeps everything but the values.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// In the order in which they ran.
    pub nodes: Vec<Node>,
}

impl<B: Backend> Observer<B> for Graph {
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()> {
        self.nodes.push(Node {
            path: event.path.to_owned(),
            op: event.op,
            inputs: event.inputs.to_vec(),
            output: event.output.id(),
            shape: event.output.shape(),
        });
        Ok(())
    }
}
