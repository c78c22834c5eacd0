//! A learned array as a value.

use crate::backend::{Backend, Input};
use crate::graph::Op;
use crate::ops::learned::Learned;
use crate::{Pass, Result, Tensor, Var};

/// The array, rounded to activations, as a value of `pass`.
pub(crate) fn parameter<B: Backend>(pass: &Pass<B>, learned: Learned<'_, B>) -> Result<Var<B>> {
    let Learned { value, shape, key } = learned;
    let tensor = Tensor::from_data(pass.backend(), shape, pass.backend().narrow(value)?)?;
    let op = || Op::Parameter { shape, value: value.clone() };
    let out = pass.emit(op, &[], shape, Input::Plain(tensor.into_data()), key.is_some())?;
    let Some(key) = key else { return Ok(out) };
    pass.record(&out, &[key], move |backend, dy, flow| flow.add_parameter(backend, key, backend.widen(&dy)?));
    Ok(out)
}
