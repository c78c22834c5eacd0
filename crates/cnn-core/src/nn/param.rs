//! What a model is made of: parameters, statistics and counts, and how files spell them.

use crate::backend::{Backend, Wide};
use crate::ops::learned::Learned;
use crate::ops::parameter::parameter;
use crate::tape::Identity;
use crate::{Error, Gradients, Pass, Result, Shape, Var};

/// What a parameter does, so that a recipe can treat kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Weight of a convolution, of a dense layer, or of a layer of a program's own.
    Weight,
    /// Bias of a convolution or dense layer.
    Bias,
    /// Scale of a normalisation, or of a branch.
    NormScale,
    /// Shift of a normalisation.
    NormShift,
}

/// How a parameter's memory relates to PyTorch's, which files follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The same.
    Same,
    /// Here \[rows, columns, in, out\], there \[out, in, rows, columns\]: a convolution's weight, a dense weight (one row
    /// and column), or a dense weight behind a flattened image of that many rows and columns.
    Transposed {
        /// \[rows, columns, in, out\].
        dims: [usize; 4],
    },
}

impl Layout {
    /// Values in memory order as files have them.
    pub fn to_file<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match *self {
            Layout::Same => values.to_vec(),
            Layout::Transposed { dims: [h, w, c, k] } => permute(values, [h, w, c, k], [3, 2, 0, 1]),
        }
    }

    /// Values as files have them in memory order.
    pub fn from_file<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match *self {
            Layout::Same => values.to_vec(),
            Layout::Transposed { dims: [h, w, c, k] } => permute(values, [k, c, h, w], [2, 3, 1, 0]),
        }
    }
}

/// The array `values` of shape `dims` with its axes in the order `axes`.
fn permute<T: Copy>(values: &[T], dims: [usize; 4], axes: [usize; 4]) -> Vec<T> {
    let strides = [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1];
    let [d0, d1, d2, d3] = axes.map(|axis| dims[axis]);
    let [s0, s1, s2, s3] = axes.map(|axis| strides[axis]);
    let mut out = Vec::with_capacity(values.len());
    for i0 in 0..d0 {
        for i1 in 0..d1 {
            for i2 in 0..d2 {
                out.extend((0..d3).map(|i3| values[i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3]));
            }
        }
    }
    out
}

/// A learned array.
#[derive(Debug)]
pub struct Param<B: Backend> {
    value: Wide<B>,
    shape: Shape,
    kind: Kind,
    layout: Layout,
    requires_grad: bool,
    name: String,
    key: Option<Key>,
}

/// A place among the parameters of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    index: usize,
    model: Identity,
}

impl<B: Backend> Param<B> {
    /// A parameter that is trained; its name and key come from [`name_fields`](crate::nn::name_fields).
    pub fn new(value: Wide<B>, shape: Shape, kind: Kind, layout: Layout) -> Self {
        Param { value, shape, kind, layout, requires_grad: true, name: String::new(), key: None }
    }

    /// The values.
    pub fn value(&self) -> &Wide<B> {
        &self.value
    }

    /// The values, to be changed in place or replaced by as many.
    pub fn value_mut(&mut self) -> &mut Wide<B> {
        &mut self.value
    }

    /// The dimensions in memory.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How files spell it.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The dimensions in a file: \[out, in / groups, KH, KW\] or \[out, in\].
    pub fn file_shape(&self) -> Vec<usize> {
        match (self.layout, self.shape.dims()) {
            (Layout::Transposed { dims: [h, w, c, k] }, &[_, _, _, _]) => vec![k, c, h, w],
            (Layout::Transposed { dims: [h, w, c, k] }, _) => vec![k, c * h * w],
            (Layout::Same, dims) => dims.to_vec(),
        }
    }

    /// Dense number among the parameters of its model; none before [`name_fields`](crate::nn::name_fields).
    pub fn key(&self) -> Option<usize> {
        self.key.as_ref().map(|key| key.index)
    }

    /// The same, and of which model.
    pub(crate) fn place(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// State-dict key, in torchvision's spelling.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether gradients are computed and the optimiser moves it.
    pub fn requires_grad(&self) -> bool {
        self.requires_grad
    }

    /// Freezes the parameter, or thaws it.
    pub fn set_requires_grad(&mut self, requires_grad: bool) {
        self.requires_grad = requires_grad;
    }

    /// Name and key within `model`.
    pub(crate) fn set_name(&mut self, name: &str, index: usize, model: &Identity) {
        self.name = name.to_owned();
        self.key = Some(Key { index, model: model.clone() });
    }

    /// The key under which a pass sums the gradient; none where no gradient is wanted.
    ///
    /// # Errors
    /// The parameter has no name, or its key is that of another parameter in this pass.
    fn gradient_key(&self, pass: &Pass<B>) -> Result<Option<usize>> {
        if !self.requires_grad || !pass.is_recorded() {
            return Ok(None);
        }
        let key = self.key.as_ref().ok_or_else(|| self.unnamed())?;
        if !pass.admits(&key.model) {
            let rule = "is of a second model in one recorded pass: make them fields of one model whose constructor \
                        ends with name_fields(&mut model), or freeze one of them";
            return Err(Error::invalid("parameter", &self.name, rule));
        }
        Ok(Some(key.index))
    }

    /// The parameter as an operation of `pass` reads it.
    ///
    /// # Errors
    /// Those of [`Param::gradient_key`].
    pub(crate) fn learned(&self, pass: &Pass<B>) -> Result<Learned<'_, B>> {
        Ok(Learned { value: &self.value, shape: self.shape, key: self.gradient_key(pass)? })
    }

    /// The parameter as a value of `pass`, for a layer of a program's own: what [`Var::custom`] takes, and every other
    /// operation on values. Its numbers are rounded to activations. The value's gradient is that of the parameter, and is
    /// trained, frozen, shared and refused as that of a built-in layer. A parameter may be asked for its value as often as it
    /// is used: the gradients of several values are summed in the accumulator's precision.
    ///
    /// ```
    /// use cnn_core::backend::Accum;
    /// use cnn_core::nn::{Kind, Layout, Module, Param, Scope, name_fields};
    /// use cnn_core::{Backend, Device, Naive, Pass, Result, Shape, Tensor, Var, check, named_fields};
    ///
    /// /// x where it is positive, and `slope` times x elsewhere.
    /// fn prelu<B: Backend>(x: &Var<B>, slope: &Var<B>) -> Result<Var<B>> {
    ///     let zero = Accum::<B>::default();
    ///     let forward = move |b: &B, inputs: &[Tensor<B>]| {
    ///         let (x, slope) = (inputs[0].to_vec(b)?, inputs[1].to_vec(b)?[0]);
    ///         let y: Vec<_> = x.into_iter().map(|x| if x > zero { x } else { slope * x }).collect();
    ///         Tensor::from_slice(b, inputs[0].shape(), &y)
    ///     };
    ///     Var::custom("PReLU", &[x, slope], forward, move |b, inputs, _, dy| {
    ///         let (x, slope, dy) = (inputs[0].to_vec(b)?, inputs[1].to_vec(b)?[0], dy.to_vec(b)?);
    ///         let dx = x.iter().zip(&dy).map(|(&x, &dy)| if x > zero { dy } else { slope * dy });
    ///         let dslope = x.iter().zip(&dy).map(|(&x, &dy)| if x > zero { zero } else { x * dy });
    ///         Ok(vec![
    ///             Tensor::from_slice(b, inputs[0].shape(), &dx.collect::<Vec<_>>())?,
    ///             Tensor::from_slice(b, inputs[1].shape(), &[dslope.sum()])?,
    ///         ])
    ///     })
    /// }
    ///
    /// struct PRelu<B: Backend> {
    ///     weight: Param<B>,
    ///     scope: Scope,
    /// }
    ///
    /// named_fields!(PRelu { weight });
    ///
    /// impl<B: Backend> Module<B> for PRelu<B> {
    ///     fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
    ///         prelu(x, &self.weight.var(x.pass())?)
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let backend = Naive::<f64>::new();
    /// let x = Tensor::from_slice(&backend, [2, 2], &[-2.0, -0.5, 0.5, 1.0])?;
    /// let slope = Tensor::from_slice(&backend, [1], &[0.25])?;
    /// check::gradients(&backend, &[x.clone(), slope], |x| prelu(&x[0], &x[1]))?;
    ///
    /// let weight = Param::new(backend.upload(&[0.25])?, Shape::new(&[1])?, Kind::Weight, Layout::Same);
    /// let mut layer = PRelu { weight, scope: Scope::default() };
    /// name_fields(&mut layer);
    /// let pass = Pass::train(&backend, 0);
    /// let y = layer.call(&pass.input(x)?)?;
    /// assert_eq!(y.to_vec()?, [-0.5, -0.125, 0.5, 1.0]);
    /// assert_eq!(**y.backward_from(y.ones()?)?.parameter(&layer.weight).unwrap(), [-2.5]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// In a recorded pass: the parameter has no name, or is of another model than those that were recorded. The values are
    /// not as many as the shape has elements.
    pub fn var(&self, pass: &Pass<B>) -> Result<Var<B>> {
        parameter(pass, self.learned(pass)?)
    }

    fn unnamed(&self) -> Error {
        let rule = "has no name yet: a model's constructor ends with name_fields(&mut model)";
        Error::invalid("parameter", self.shape, rule)
    }
}

/// The model that named these parameters; none if there are none.
///
/// # Errors
/// They were not named together, in this order.
pub(crate) fn model_of<'a, B: Backend>(
    parameters: impl IntoIterator<Item = &'a Param<B>>,
) -> Result<Option<&'a Identity>> {
    let mut first = None;
    for (index, parameter) in parameters.into_iter().enumerate() {
        let key = parameter.key.as_ref().ok_or_else(|| parameter.unnamed())?;
        if key.index != index || *first.get_or_insert(&key.model) != &key.model {
            let rule = "was named as part of another model: a model's constructor ends with name_fields(&mut model)";
            return Err(Error::invalid("parameter", &parameter.name, rule));
        }
    }
    Ok(first)
}

impl<B: Backend> Gradients<B> {
    /// The gradient of a parameter, if it is one of the recorded model and the loss depends on it.
    pub fn parameter(&self, parameter: &Param<B>) -> Option<&Wide<B>> {
        self.by_key(self.index(parameter)?)
    }

    /// The same, to be changed in place or replaced by as many numbers.
    pub fn parameter_mut(&mut self, parameter: &Param<B>) -> Option<&mut Wide<B>> {
        self.by_key_mut(self.index(parameter)?)
    }

    /// The key of a parameter of the model that was recorded; those of another mean other parameters.
    fn index(&self, parameter: &Param<B>) -> Option<usize> {
        let key = parameter.key.as_ref()?;
        (self.model() == Some(&key.model)).then_some(key.index)
    }
}

/// An array that training moves but no gradient does: a running mean or variance.
#[derive(Debug)]
pub struct Statistic<B: Backend> {
    value: Wide<B>,
    shape: Shape,
    least: f64,
    frozen: bool,
}

impl<B: Backend> Statistic<B> {
    /// A statistic with these values.
    pub fn new(value: Wide<B>, shape: Shape) -> Self {
        Statistic { value, shape, least: f64::NEG_INFINITY, frozen: false }
    }

    /// A statistic that is never below 0.
    pub fn variance(value: Wide<B>, shape: Shape) -> Self {
        Statistic { least: 0.0, ..Statistic::new(value, shape) }
    }

    /// Whether training leaves it as it is: see [`BatchNorm2d::freeze_statistics`](crate::nn::BatchNorm2d::freeze_statistics).
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Freezes the statistic, or thaws it.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// What no value is below.
    pub(crate) fn least(&self) -> f64 {
        self.least
    }

    /// The values.
    pub fn value(&self) -> &Wide<B> {
        &self.value
    }

    /// The values, to be changed in place or replaced by as many.
    pub fn value_mut(&mut self) -> &mut Wide<B> {
        &mut self.value
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }
}

/// A count of training batches, a scalar on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(u64);

impl Count {
    /// The count.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Sets the count.
    pub fn set(&mut self, value: u64) {
        self.0 = value;
    }

    pub(crate) fn increment(&mut self) {
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_weight_behind_an_image_follows_the_flatten() {
        // Image 1 x 2 x 3 channels, one output; memory order (column, channel), file order (channel, column).
        let layout = Layout::Transposed { dims: [1, 2, 3, 1] };
        let memory = [0, 1, 2, 10, 11, 12];
        assert_eq!(layout.to_file(&memory), [0, 10, 1, 11, 2, 12]);
        assert_eq!(layout.from_file(&layout.to_file(&memory)), memory);
    }
}
