//! From images to feature vectors.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::{Result, Shape, Var};

impl<B: Backend> Var<B> {
    /// \[N, ...\] as \[N, features\]; the data does not move. Features are in the order row, column, channel, where
    /// PyTorch has channel, row, column: see [`Linear::from_image`](crate::nn::Linear::from_image).
    pub fn flatten(&self) -> Result<Var<B>> {
        let (pass, target) = (self.pass(), self.target());
        let batch = self.shape().dims().first().copied().unwrap_or(1);
        let features = self.shape().dims().iter().skip(1).product();
        let shape = Shape::new(&[batch, features])?;
        let out = pass.emit(|| Op::Flatten, &[self], shape, Input::Plain(self.data()?), self.is_tracked())?;
        pass.record(&out, &[], move |backend, dy, flow| flow.add(backend, target, dy));
        Ok(out)
    }
}
