//! A convolution and the normalisation behind it, run as one op; each keeps its own state-dict names.

use crate::graph::After;
use crate::nn::{BatchNorm2d, Conv2d};
use crate::ops::conv2d_norm::conv2d_norm;
use crate::{Backend, Error, Result, Shape, Var};

/// A pair of layers that run as one: `ConvNorm(&mut self.conv1, &mut self.bn1).relu(x)`.
#[derive(Debug)]
pub struct ConvNorm<'a, B: Backend>(pub &'a mut Conv2d<B>, pub &'a mut BatchNorm2d<B>);

impl<B: Backend> ConvNorm<'_, B> {
    /// `norm(conv(x))`.
    pub fn linear(self, x: &Var<B>) -> Result<Var<B>> {
        conv2d_norm(x, self.0, self.1, After::Nothing, None)
    }

    /// `relu(norm(conv(x)))`.
    pub fn relu(self, x: &Var<B>) -> Result<Var<B>> {
        conv2d_norm(x, self.0, self.1, After::Relu, None)
    }

    /// `relu(norm(conv(x)) + shortcut)`.
    pub fn add_relu(self, x: &Var<B>, shortcut: &Var<B>) -> Result<Var<B>> {
        x.pass().within(self.0.scope.path(), || {
            let spec = crate::ops::conv2d::spec(x, &self.0.weight, &self.0.options)?;
            check_shortcut(Shape::new(&spec.output_shape())?, shortcut)
        })?;
        conv2d_norm(x, self.0, self.1, After::AddRelu, Some(shortcut))
    }
}

/// Refuses a shortcut that cannot be added to a value of this shape.
pub(crate) fn check_shortcut<B: Backend>(shape: Shape, shortcut: &Var<B>) -> Result<()> {
    if shortcut.shape() == shape {
        return Ok(());
    }
    Err(Error::invalid(
        "shortcut shape",
        shortcut.shape(),
        format!("must be that of the value it is added to, {shape}"),
    ))
}
