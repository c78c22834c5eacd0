//! Dense layer.

use crate::backend::{Backend, Epilogue, Input, LinearSpec};
use crate::graph::{Bias, Op};
use crate::nn::Param;
use crate::ops::conv2d::weights;
use crate::{Error, Result, Shape, Var};

/// `x` \[N, in\] times `weight` \[in, out\], plus `bias` \[out\].
pub(crate) fn linear<B: Backend>(x: &Var<B>, weight: &Param<B>, bias: Option<&Param<B>>) -> Result<Var<B>> {
    let (pass, backend, target) = (x.pass(), x.pass().backend(), x.target());
    let ([rows, features], [inputs, outputs]) = (x.shape().matrix("input")?, weight.shape().matrix("weight")?);
    if features != inputs {
        let rule = format!("has {features} features, weight expects {inputs}");
        return Err(Error::invalid("input", x.shape(), rule));
    }
    let (spec, x_data) = (LinearSpec { rows, inputs, outputs }, x.data()?);
    let y = backend.linear(&spec, &x_data, weight.value(), Epilogue::bias(bias.map(Param::value)))?;

    let weight_key = weight.gradient_key(pass)?;
    let bias_key = bias.map(|bias| bias.gradient_key(pass)).transpose()?.flatten();
    let keys: Vec<usize> = weight_key.into_iter().chain(bias_key).collect();
    let tracked = x.is_tracked() || !keys.is_empty();
    let op = Op::Linear(spec, if bias.is_some() { Bias::With } else { Bias::Without });
    let shape = Shape::new(&[rows, outputs])?;
    let out = pass.emit_weighted(op, || weights(weight, bias), &[x], shape, Input::Plain(y), tracked)?;
    let weight = weight.value().clone();
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
