//! Dense layer.

use crate::nn::{Init, Layout, Module, Param, Scope};
use crate::ops::linear::linear;
use crate::{Backend, Error, Result, Shape, Var, named_fields};

/// \[N, in\] to \[N, out\], and each pixel of \[N, H, W, in\] likewise. State dict: `weight` \[out, in\], `bias` \[out\].
#[derive(Debug)]
pub struct Linear<B: Backend> {
    /// \[in, out\].
    pub weight: Param<B>,
    /// \[out\].
    pub bias: Option<Param<B>>,
    pub(crate) scope: Scope,
}

named_fields!(Linear { weight, bias });

impl<B: Backend> Linear<B> {
    /// A dense layer with a bias.
    ///
    /// # Errors
    /// A zero size.
    pub fn new(init: &mut Init<'_, B>, inputs: usize, outputs: usize) -> Result<Self> {
        Self::from_image(init, [1, 1, inputs], outputs)
    }

    /// A dense layer without a bias.
    ///
    /// # Errors
    /// A zero size.
    pub fn without_bias(init: &mut Init<'_, B>, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Linear { bias: None, ..Self::new(init, inputs, outputs)? })
    }

    /// A dense layer behind a flattened image \[h, w, c\]. Files have PyTorch's order of features (channel, row, column),
    /// memory has row, column, channel; this layer's weight is permuted on the way in and out.
    ///
    /// # Errors
    /// A zero size.
    pub fn from_image(init: &mut Init<'_, B>, [h, w, c]: [usize; 3], outputs: usize) -> Result<Self> {
        let inputs = crate::shape::checked_numel(&[h, w, c])?;
        if inputs == 0 || outputs == 0 {
            let value = format!("{inputs} -> {outputs}");
            return Err(Error::invalid("dense layer", value, "needs at least one input and one output"));
        }
        let layout = Layout::Transposed { dims: [h, w, c, outputs] };
        let weight = init.weight(Shape::new(&[inputs, outputs])?, init.dense, [inputs, outputs], layout)?;
        let bias = init.bias(outputs, inputs)?;
        Ok(Linear { weight, bias: Some(bias), scope: Scope::default() })
    }
}

impl<B: Backend> Module<B> for Linear<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let weight = self.weight.learned(x.pass())?;
        let bias = self.bias.as_ref().map(|bias| bias.learned(x.pass())).transpose()?;
        linear(x, weight, bias)
    }
}
