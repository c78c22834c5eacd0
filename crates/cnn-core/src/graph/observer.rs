//! What an observer of a pass sees: every operation with its weights, where it ran, and its value.

use super::{Graph, Node, Op};
use crate::Result;
use crate::backend::Backend;
use crate::tape::VarId;
use crate::value::Value;

/// One operation as it ran.
#[derive(Debug)]
pub struct Event<'a, B: Backend> {
    /// State-dict path of the module.
    pub path: &'a str,
    /// The operation.
    pub op: &'a Op<B>,
    /// The values it read.
    pub inputs: &'a [VarId],
    /// The value it made; reading it may write a normalised activation that would otherwise not be written.
    pub output: &'a Value<B>,
}

/// Sees every operation of a pass.
pub trait Observer<B: Backend> {
    /// Called after each operation; an error stops the pass.
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()>;
}

/// A graph keeps everything of a pass but the values.
impl<B: Backend> Observer<B> for Graph<B> {
    fn observe(&mut self, event: &Event<'_, B>) -> Result<()> {
        self.nodes.push(Node {
            path: event.path.to_owned(),
            op: event.op.clone(),
            inputs: event.inputs.to_vec(),
            output: event.output.id(),
            shape: event.output.shape(),
        });
        self.output = event.output.id();
        Ok(())
    }
}
