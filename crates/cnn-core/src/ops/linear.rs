//! Dense layer.

use crate::backend::{Backend, Epilogue, Input, LinearSpec};
use crate::graph::Op;
use crate::ops::conv2d::{ConvParams, conv2d};
use crate::ops::learned::Learned;
use crate::spec::Conv2dOptions;
use crate::{Error, Result, Shape, Var};

/// `x` \[N, in\] times `weight` \[in, out\], plus `bias` \[out\]. Of images it is every pixel: a 1x1 convolution, which has kernels
/// for so many rows.
pub(crate) fn linear<B: Backend>(x: &Var<B>, weight: Learned<'_, B>, bias: Option<Learned<'_, B>>) -> Result<Var<B>> {
    if let [_, _, _, _] = x.shape().dims() {
        let [inputs, outputs] = weight.shape.matrix("weight")?;
        let weight = Learned { shape: Shape::new(&[1, 1, inputs, outputs])?, ..weight };
        return conv2d(x, ConvParams { weight, bias, options: &Conv2dOptions::default() });
    }
    let (pass, backend, target) = (x.pass(), x.pass().backend(), x.target());
    let ([rows, features], [inputs, outputs]) = (x.shape().matrix("input")?, weight.shape.matrix("weight")?);
    if features != inputs {
        let rule = format!("has {features} features, weight expects {inputs}");
        return Err(Error::invalid("input", x.shape(), rule));
    }
    let (spec, x_data) = (LinearSpec { rows, inputs, outputs }, x.data()?);
    let y = backend.linear(&spec, &x_data, weight.value, Epilogue::bias(bias.map(|bias| bias.value)))?;

    let (weight_key, bias_key) = (weight.key, bias.and_then(|bias| bias.key));
    let keys: Vec<usize> = weight_key.into_iter().chain(bias_key).collect();
    let tracked = x.is_tracked() || !keys.is_empty();
    let op = || Op::Linear { spec, weight: weight.value.clone(), bias: bias.map(|bias| bias.value.clone()) };
    let out = pass.emit(op, &[x], Shape::new(&[rows, outputs])?, Input::Plain(y), tracked)?;
    let weight = weight.value.clone();
    pass.record(&out, &keys, move |backend, dy, flow| {
        if let Some(key) = bias_key {
            flow.add_parameter(backend, key, backend.sum_rows(&dy, outputs)?)?;
        }
        if let Some(key) = weight_key {
            flow.add_parameter(backend, key, backend.linear_backward_weight(&spec, &dy, &x_data)?)?;
        }
        match target {
            Some(_) => flow.add(backend, target, backend.linear_backward_data(&spec, &dy, &weight)?),
            None => Ok(()),
        }
    });
    Ok(out)
}
