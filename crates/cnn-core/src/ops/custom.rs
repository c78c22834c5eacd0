//! A program's own operation.

use crate::backend::{Backend, Input};
use crate::graph::{Custom, Op};
use crate::{Error, Result, Tensor, Var};

impl<B: Backend> Var<B> {
    /// An operation of the program's own over tensors, called `name` in errors and graphs.
    ///
    /// `forward(device, inputs)` computes the value. `backward(device, inputs, output, dy)` computes the gradient of each
    /// input, in order and in its shape, from the gradient `dy` of the output. A [`Frozen`](crate::Frozen) model runs the
    /// same `forward`, from any thread. Whether the two belong together, [`check::gradients`](crate::check::gradients)
    /// finds out. A loss of one's own is an operation whose value has one element: see [`Var::backward`]. What an operation
    /// learns is an input too: see [`Param::var`](crate::nn::Param::var).
    ///
    /// ```
    /// use cnn_core::{Naive, Pass, Result, Tensor, Var, check};
    ///
    /// type B = Naive<f64>;
    ///
    /// /// x squared.
    /// fn square(x: &Var<B>) -> Result<Var<B>> {
    ///     let forward = |b: &B, x: &[Tensor<B>]| {
    ///         let squares: Vec<f64> = x[0].to_vec(b)?.iter().map(|x| x * x).collect();
    ///         Tensor::from_slice(b, x[0].shape(), &squares)
    ///     };
    ///     Var::custom("Square", &[x], forward, |b, x, _, dy| {
    ///         let slopes = x[0].to_vec(b)?.into_iter().zip(dy.to_vec(b)?).map(|(x, dy)| 2.0 * x * dy);
    ///         Ok(vec![Tensor::from_slice(b, x[0].shape(), &slopes.collect::<Vec<f64>>())?])
    ///     })
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let backend = B::new();
    /// let x = Tensor::from_slice(&backend, [2, 3], &[-1.0, -0.5, 0.1, 0.2, 0.7, 2.0])?;
    /// check::gradients(&backend, &[x], |x| square(&x[0]))?;
    ///
    /// let pass = Pass::train(&backend, 0);
    /// let x = pass.input(Tensor::from_slice(&backend, [1], &[3.0])?)?.keep_gradient();
    /// let loss = square(&x)?;
    /// assert_eq!(loss.to_vec()?, [9.0]);
    /// assert_eq!(**loss.backward()?.of(&x)?, [6.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No inputs, and those of `forward`. The way back fails with those of `backward`, or when it returns another number
    /// of gradients or other shapes than the inputs have.
    pub fn custom(
        name: &str,
        inputs: &[&Var<B>],
        forward: impl Fn(&B, &[Tensor<B>]) -> Result<Tensor<B>> + Send + Sync + 'static,
        backward: impl FnOnce(&B, &[Tensor<B>], &Tensor<B>, Tensor<B>) -> Result<Vec<Tensor<B>>> + 'static,
    ) -> Result<Var<B>> {
        let custom = Custom::new(name, forward);
        let Some(first) = inputs.first() else {
            return Err(Error::invalid(format!("inputs of {name}"), 0, "must be at least 1"));
        };
        let tracked = inputs.iter().any(|input| input.is_tracked());
        let (pass, place) = (first.pass(), custom.place(&first.pass().path()));
        let (out, tensors) = computed(&custom, inputs, tracked)?;
        let (output, name) = (out.tensor()?, name.to_owned());
        let targets: Vec<_> = inputs.iter().map(|input| input.target()).collect();
        pass.record(&out, &[], move |backend, dy, flow| {
            let gradients = Tensor::from_data(backend, output.shape(), dy)
                .and_then(|dy| backward(backend, &tensors, &output, dy))
                .and_then(|gradients| fitting(&name, gradients, &tensors))
                .map_err(|error| error.in_layer(&place))?;
            for (target, gradient) in targets.into_iter().zip(gradients) {
                flow.add(backend, target, gradient.into_data())?;
            }
            Ok(())
        });
        Ok(out)
    }

    /// The value of an operation of which no way back is known: it fails when a gradient arrives.
    pub(crate) fn custom_forward(custom: &Custom<B>, inputs: &[&Var<B>]) -> Result<Var<B>> {
        let tracked = inputs.iter().any(|input| input.is_tracked());
        let (out, _) = computed(custom, inputs, tracked)?;
        let name = Op::Custom(custom.clone()).name().into_owned();
        out.pass().record(&out, &[], move |_, _, _| {
            Err(Error::invalid("operation", name, "has no way back in a graph, which keeps what it computes only"))
        });
        Ok(out)
    }
}

/// The value of `custom`, and the tensors it was computed of.
fn computed<B: Backend>(custom: &Custom<B>, inputs: &[&Var<B>], tracked: bool) -> Result<(Var<B>, Vec<Tensor<B>>)> {
    let pass = inputs[0].pass();
    let tensors = inputs.iter().map(|input| input.tensor()).collect::<Result<Vec<_>>>()?;
    let place = custom.place(&pass.path());
    let y = custom.run(pass.backend(), &tensors).map_err(|error| error.in_layer(&place))?;
    let shape = y.shape();
    let out = pass.emit(|| Op::Custom(custom.clone()), inputs, shape, Input::Plain(y.into_data()), tracked)?;
    Ok((out, tensors))
}

/// The gradients, if there is one for each input and in its shape.
fn fitting<B: Backend>(name: &str, gradients: Vec<Tensor<B>>, inputs: &[Tensor<B>]) -> Result<Vec<Tensor<B>>> {
    if gradients.len() != inputs.len() {
        let rule = format!("must be {}, one for each input", inputs.len());
        return Err(Error::invalid(format!("gradients of {name}"), gradients.len(), rule));
    }
    for (i, (gradient, input)) in gradients.iter().zip(inputs).enumerate() {
        if gradient.shape() != input.shape() {
            let rule = format!("must be that of the input, {}", input.shape());
            return Err(Error::invalid(format!("shape of gradient {i} of {name}"), gradient.shape(), rule));
        }
    }
    Ok(gradients)
}
