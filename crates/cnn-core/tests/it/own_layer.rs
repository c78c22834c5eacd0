//! Layers of a program's own: with a learned parameter, and without any.

use cnn_core::backend::Accum;
use cnn_core::graph::Graph;
use cnn_core::nn::{
    Conv2d, Init, Kind, Layout, Linear, Module, Param, Scope, Sequential, name_fields, parameters, parameters_mut,
};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::state_dict::{Naming, state_dict};
use cnn_core::{
    Backend, Conv2dOptions, Device, Frozen, Gradients, Naive, Pass, Pool2dOptions, Real, Result, Shape, Tensor, Var,
    bf16, check, named_fields,
};

type N = Naive<f64>;

/// max(x, 0) + slope * min(x, 0), `slope` being one number for each channel: torch.nn.PReLU.
fn prelu<B: Backend>(x: &Var<B>, slope: &Var<B>) -> Result<Var<B>> {
    let zero = Accum::<B>::from_f64(0.0);
    let forward = move |b: &B, inputs: &[Tensor<B>]| {
        let (mut x, slope) = (inputs[0].to_vec(b)?, inputs[1].to_vec(b)?);
        x.iter_mut().enumerate().filter(|(_, x)| **x < zero).for_each(|(i, x)| *x *= slope[i % slope.len()]);
        Tensor::from_slice(b, inputs[0].shape(), &x)
    };
    Var::custom("PReLU", &[x, slope], forward, move |b, inputs, _, dy| {
        let (x, slope, mut dx) = (inputs[0].to_vec(b)?, inputs[1].to_vec(b)?, dy.to_vec(b)?);
        let mut dslope = vec![zero; slope.len()];
        for (i, x) in x.into_iter().enumerate().filter(|(_, x)| *x < zero) {
            dslope[i % slope.len()] += dx[i] * x;
            dx[i] *= slope[i % slope.len()];
        }
        Ok(vec![Tensor::from_slice(b, inputs[0].shape(), &dx)?, Tensor::from_slice(b, inputs[1].shape(), &dslope)?])
    })
}

/// [`prelu`] with a learned slope.
struct PRelu<B: Backend> {
    weight: Param<B>,
    scope: Scope,
}

named_fields!(PRelu { weight });

impl<B: Backend> PRelu<B> {
    fn new(backend: &B, slopes: &[f64]) -> Self {
        let values: Vec<Accum<B>> = slopes.iter().map(|&slope| Real::from_f64(slope)).collect();
        let (value, shape) = (backend.upload(&values).unwrap(), Shape::new(&[slopes.len()]).unwrap());
        PRelu { weight: Param::new(value, shape, Kind::Weight, Layout::Same), scope: Scope::default() }
    }
}

impl<B: Backend> Module<B> for PRelu<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        prelu(x, &self.weight.var(x.pass())?)
    }
}

/// x * sigmoid(x): nothing is learned, and the module is of no backend in particular.
#[derive(Clone, Debug, Default)]
struct Swish {
    scope: Scope,
}

named_fields!(Swish);

impl<B: Backend> Module<B> for Swish {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let sigmoid = |x: Accum<B>| Accum::<B>::from_f64(1.0 / (1.0 + (-x.as_f64()).exp()));
        let forward = move |b: &B, x: &[Tensor<B>]| {
            let y: Vec<Accum<B>> = x[0].to_vec(b)?.into_iter().map(|x| x * sigmoid(x)).collect();
            Tensor::from_slice(b, x[0].shape(), &y)
        };
        Var::custom("Swish", &[x], forward, move |b, x, _, dy| {
            let one = Accum::<B>::from_f64(1.0);
            let slope = |x: Accum<B>| sigmoid(x) * (one + x * (one - sigmoid(x)));
            let dx: Vec<_> = x[0].to_vec(b)?.into_iter().zip(dy.to_vec(b)?).map(|(x, dy)| dy * slope(x)).collect();
            Ok(vec![Tensor::from_slice(b, x[0].shape(), &dx)?])
        })
    }
}

/// What its weights are used for twice: a slope, in two places; a dense weight, by its layer and in a penalty.
struct Net<B: Backend> {
    fc1: Linear<B>,
    act: PRelu<B>,
    swish: Swish,
    fc2: Linear<B>,
    scope: Scope,
}

named_fields!(Net { fc1, act, swish, fc2 });

impl<B: Backend> Module<B> for Net<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.act.call(&self.fc1.call(x)?)?;
        let x = self.act.call(&self.swish.call(&self.fc2.call(&x)?)?)?;
        penalised(&x, &self.fc2.weight.var(x.pass())?)
    }
}

/// x + 0.1 * sum(weight ^ 2).
fn penalised<B: Backend>(x: &Var<B>, weight: &Var<B>) -> Result<Var<B>> {
    let tenth = Accum::<B>::from_f64(0.1);
    let forward = move |b: &B, inputs: &[Tensor<B>]| {
        let sum: Accum<B> = inputs[1].to_vec(b)?.into_iter().map(|w| w * w * tenth).sum();
        let y: Vec<_> = inputs[0].to_vec(b)?.into_iter().map(|x| x + sum).collect();
        Tensor::from_slice(b, inputs[0].shape(), &y)
    };
    Var::custom("Penalty", &[x, weight], forward, move |b, inputs, _, dy| {
        let sum: Accum<B> = dy.to_vec(b)?.into_iter().sum();
        let dw: Vec<_> = inputs[1].to_vec(b)?.into_iter().map(|w| (w + w) * tenth * sum).collect();
        let dw = Tensor::from_slice(b, inputs[1].shape(), &dw)?;
        Ok(vec![dy, dw])
    })
}

fn net<B: Backend>(backend: &B) -> Net<B> {
    let init = &mut Init::new(backend, 7);
    let (fc1, fc2) = (Linear::new(init, 3, 4).unwrap(), Linear::new(init, 4, 4).unwrap());
    let act = PRelu::new(backend, &[0.25, -0.5, 0.1, 0.75]);
    let mut net = Net { fc1, act, swish: Swish::default(), fc2, scope: Scope::default() };
    name_fields(&mut net);
    net
}

fn rows(backend: &N, rows: usize) -> Tensor<N> {
    let values: Vec<f64> = (0..rows * 3).map(|i| (i * 7 % 13) as f64 / 5.0 - 1.3).collect();
    Tensor::from_slice(backend, [rows, 3], &values).unwrap()
}

/// Keys and gradients, in order.
type ByKey = Vec<(usize, Vec<f64>)>;

/// The sum of the outputs times 1, 2, 3, ..., its gradients, and those that were reported on the way.
fn weighted(backend: &N, net: &mut Net<N>) -> (f64, Gradients<N>, ByKey) {
    let pass = Pass::train(backend, 0);
    let y = net.call(&pass.input(rows(backend, 5)).unwrap()).unwrap();
    let dy: Vec<f64> = (1..=y.shape().numel()).map(|i| i as f64).collect();
    let value = y.to_vec().unwrap().iter().zip(&dy).map(|(y, dy)| y * dy).sum();
    let mut ready = Vec::new();
    let gradients = y.backward_with(Tensor::from_slice(backend, y.shape(), &dy).unwrap(), &mut |key, gradient| {
        ready.push((key, gradient.to_vec()));
        Ok(())
    });
    ready.sort_by_key(|(key, _)| *key);
    (value, gradients.unwrap(), ready)
}

#[test]
fn gradients_of_a_learned_parameter_are_the_differences() {
    let backend = N::new();
    let x = Tensor::from_slice(&backend, [3, 2], &[-2.0, -0.7, 0.4, 0.3, -1.0, 2.5]).unwrap();
    let slope = Tensor::from_slice(&backend, [2], &[0.25, -0.5]).unwrap();
    check::gradients(&backend, &[x, slope], |x| prelu(&x[0], &x[1])).unwrap();

    let mut net = net(&backend);
    let names: Vec<String> = parameters(&net).iter().map(|p| p.name().to_owned()).collect();
    assert_eq!(names, ["fc1.weight", "fc1.bias", "act.weight", "fc2.weight", "fc2.bias"]);
    let (_, gradients, ready) = weighted(&backend, &mut net);
    let found: ByKey = gradients.parameters().map(|(key, g)| (key, g.to_vec())).collect();
    assert_eq!(found.len(), names.len());
    assert_eq!(ready, found, "each gradient is reported once, when it is complete");
    for (key, found) in found {
        for (i, found) in found.into_iter().enumerate() {
            let mut moved = |by: f64| {
                let at = parameters(&net)[key].value().clone();
                std::sync::Arc::make_mut(parameters_mut(&mut net)[key].value_mut())[i] += by;
                let value = weighted(&backend, &mut net).0;
                *parameters_mut(&mut net)[key].value_mut() = at;
                value
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (found - expected).abs() < 1e-6 * expected.abs().max(1.0),
                "{} {i}: {found}, {expected}",
                names[key]
            );
        }
    }
}

#[test]
fn a_learned_parameter_is_trained_frozen_and_refused_as_those_of_other_layers() {
    let backend = N::new();
    let mut model = net(&backend);
    let before = model.act.weight.value().to_vec();
    assert_eq!(state_dict(&backend, &model, Naming::Torchvision).unwrap().arrays["act.weight"].shape, [4]);
    let mut optimizer = Optimizer::new(&backend, &model, OptimizerOptions::new(Method::NESTEROV)).unwrap();
    let mut losses = Vec::new();
    for _ in 0..50 {
        let pass = Pass::train(&backend, 0);
        let y = model.call(&pass.input(rows(&backend, 4)).unwrap()).unwrap();
        let loss = y.cross_entropy(&[0, 1, 2, 3], 0.0).unwrap();
        losses.push(loss.to_f64().unwrap());
        optimizer.step(0.1, &mut model, &loss.backward().unwrap()).unwrap();
    }
    assert!(losses[49] < 0.5 * losses[0], "{losses:?}");
    assert_ne!(model.act.weight.value().to_vec(), before);

    // One that requires no gradient has none, and lets that of x through.
    model.act.weight.set_requires_grad(false);
    let gradients = weighted(&backend, &mut model).1;
    assert!(gradients.parameter(&model.act.weight).is_none() && gradients.parameter(&model.fc1.weight).is_some());
    model.act.weight.set_requires_grad(true);

    // A use that no gradient reaches.
    let pass = Pass::train(&backend, 0);
    let (x, slope) = (pass.input(rows(&backend, 1)).unwrap().keep_gradient(), model.act.weight.var(&pass).unwrap());
    prelu(&slope, &slope).unwrap();
    let y = x.relu().unwrap();
    assert_eq!(y.backward_from(y.ones().unwrap()).unwrap().parameters().count(), 0);

    // Without names, and of a second model.
    let mut unnamed = PRelu::new(&backend, &[0.5]);
    let pass = Pass::train(&backend, 0);
    let x = pass.input(rows(&backend, 1)).unwrap();
    let error = unnamed.call(&x).map(drop).unwrap_err().to_string();
    assert_eq!(error, "parameter [1]: has no name yet: a model's constructor ends with name_fields(&mut model)");
    name_fields(&mut unnamed);
    model.act.weight.var(&pass).unwrap();
    let error = unnamed.call(&x).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("parameter weight: is of a second model in one recorded pass"), "{error}");
    unnamed.call(&Pass::eval(&backend).input(rows(&backend, 1)).unwrap()).unwrap();
}

/// Activations of bf16 have 8 bits; gradients of parameters are sums in f32.
#[test]
fn uses_of_a_learned_parameter_are_summed_in_the_accumulators_precision() {
    let backend = Naive::<bf16>::new();
    let mut act = PRelu::new(&backend, &[0.3]);
    name_fields(&mut act);
    let pass = Pass::train(&backend, 0);
    let slope = act.weight.var(&pass).unwrap();
    assert_eq!(slope.to_vec().unwrap(), [bf16::from_f32(0.3).to_f32()], "rounded to an activation");
    let mut used =
        |x: f32| act.call(&pass.input(Tensor::from_slice(&backend, [1, 1], &[x]).unwrap()).unwrap()).unwrap();
    let y = used(-1.0).add(&used(-1.0 / 512.0)).unwrap();
    let gradients = y.backward_from(y.ones().unwrap()).unwrap();
    assert_eq!(gradients.parameter(&act.weight).unwrap()[..], [-1.0 - 1.0 / 512.0]);
}

#[test]
fn a_learned_parameter_is_written_down_and_frozen() {
    let backend = N::new();
    let mut net = net(&backend);
    for traced in [1, 2] {
        let mut graph = Graph::trace(&backend, &mut net, Shape::new(&[traced, 3]).unwrap()).unwrap();
        graph.check(&backend).unwrap();
        let names: Vec<String> = graph.nodes.iter().map(|node| format!("{} {}", node.path, node.op.name())).collect();
        let expected = [
            " Input",
            "fc1 Linear",
            "act Parameter",
            "act PReLU",
            "fc2 Linear",
            "swish Swish",
            "act Parameter",
            "act PReLU",
            " Parameter",
            " Penalty",
        ];
        assert_eq!(names, expected);
        let frozen = Frozen::from_graph(&backend, &graph).unwrap();
        for batch in [1, 3, 4] {
            let pass = Pass::eval(&backend);
            let expected = net.call(&pass.input(rows(&backend, batch)).unwrap()).unwrap().tensor().unwrap();
            let y = graph.call(&pass.input(rows(&backend, batch)).unwrap()).unwrap().tensor().unwrap();
            let z = frozen.run(rows(&backend, batch)).unwrap();
            assert_eq!((y.shape(), z.shape()), (expected.shape(), expected.shape()));
            let expected = expected.to_vec(&backend).unwrap();
            assert_eq!(y.to_vec(&backend).unwrap(), expected);
            assert_eq!(z.to_vec(&backend).unwrap(), expected);
        }
    }
}

/// What a layer does to its parameter before the samples meet it.
enum Twist {
    Activated,
    Alone,
    Added,
}

struct Twisted<B: Backend> {
    act: PRelu<B>,
    conv: Conv2d<B>,
    twist: Twist,
    scope: Scope,
}

named_fields!(Twisted { act, conv });

impl<B: Backend> Module<B> for Twisted<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let slope = self.act.weight.var(x.pass())?;
        match self.twist {
            Twist::Activated => {
                let kernel = self.conv.weight.var(x.pass())?.gelu()?; // changed in place, were it not kept
                let image = self.conv.call(&kernel)?.relu()?.max_pool2d(&Pool2dOptions::square(2))?;
                prelu(&prelu(x, &slope.add(&slope)?.relu()?)?, &image.flatten()?)
            }
            Twist::Alone => slope.relu(),
            Twist::Added => x.add(&slope),
        }
    }
}

#[test]
fn what_is_computed_of_parameters_alone_is_the_same_for_any_batch() {
    let backend = N::new();
    let twisted = |twist, slopes: &[f64]| {
        // Its weight [2, 2, 1, 1] as an image of a channel, as if it were two samples.
        let conv =
            Conv2d::without_bias(&mut Init::new(&backend, 1), 1, 1, Conv2dOptions::square(2).padding(1)).unwrap();
        let mut model = Twisted { act: PRelu::new(&backend, slopes), conv, twist, scope: Scope::default() };
        name_fields(&mut model);
        model
    };
    let mut model = twisted(Twist::Activated, &[0.5, -0.25, 0.1]);
    let frozen = Frozen::new(&backend, &mut model, &[3]).unwrap();
    for batch in [1, 4, 3, 1] {
        let x = Pass::eval(&backend).input(rows(&backend, batch)).unwrap();
        let y = frozen.run(rows(&backend, batch)).unwrap();
        assert_eq!(y.shape(), x.shape());
        assert_eq!(y.to_vec(&backend).unwrap(), model.call(&x).unwrap().to_vec().unwrap());
    }
    let error = Frozen::new(&backend, &mut twisted(Twist::Alone, &[0.5]), &[3]).map(drop).unwrap_err().to_string();
    assert_eq!(error, "output [1]: must depend on the input, for a model to be frozen");

    // Only an operation of the program's own knows what a parameter beside samples means.
    let model = &mut twisted(Twist::Added, &[0.5]);
    model.act.weight =
        Param::new(backend.upload(&[1.0, 2.0, 3.0]).unwrap(), Shape::new(&[1, 3]).unwrap(), Kind::Weight, Layout::Same);
    name_fields(model);
    let error = Frozen::new(&backend, model, &[3]).map(drop).unwrap_err().to_string();
    assert_eq!(
        error,
        "operation Add: reads samples and what is no sample, which of a frozen model only Var::custom may"
    );
}

#[test]
fn a_layer_without_parameters_is_named() {
    let backend = N::new();
    let fc = Linear::new(&mut Init::new(&backend, 0), 3, 3).unwrap();
    let mut model = Sequential::new().push(fc).push(Swish::default());
    name_fields(&mut model);
    let graph = Graph::trace(&backend, &mut model, Shape::new(&[1, 3]).unwrap()).unwrap();
    assert_eq!(graph.nodes.iter().map(|node| node.path.as_str()).collect::<Vec<_>>(), ["", "0", "1"]);
    assert_eq!(parameters(&model).len(), 2);
    check::gradients(&backend, &[rows(&backend, 2)], |x| Swish::default().call(&x[0])).unwrap();
}
