//! Graphs that run, graphs that do not fit together, and operations of a program's own.

use std::slice::from_ref;

use cnn_core::backend::{Activation, LinearSpec};
use cnn_core::graph::{Custom, Graph, Node, Op};
use cnn_core::nn::{
    BatchNorm2d, Conv2d, ConvNorm, Fields, Init, LayerNorm, LayerScale, Leaf, LeafMut, Linear, MaxPool2d, Module, Path,
    Scope,
};
use cnn_core::nn::{name_fields, parameters_mut};
use cnn_core::{
    Conv2dOptions, Conv2dSpec, Device, Error, Frozen, Inference, LayerNormSpec, Naive, Pass, Pool2dOptions, Pool2dSpec,
    Result, Shape, Tensor, Var, check, named_fields,
};

type B = Naive<f64>;

/// A block with a shortcut, pooling of a ceiling, an activation that no normalisation applies, and a dense layer.
struct Net<B: cnn_core::Backend> {
    stem: Conv2d<B>,
    conv: Conv2d<B>,
    norm: BatchNorm2d<B>,
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    layer_scale: LayerScale<B>,
    pool: Pool,
    scope: Scope,
}

named_fields!(Net { stem, conv, norm, dense, layer_norm, layer_scale, pool });

/// A module of no backend in particular, as a field.
struct Pool(MaxPool2d);

impl<B: cnn_core::Backend> Fields<B> for Pool {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        self.0.visit(path, f);
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        self.0.visit_mut(path, f);
    }
}

impl<B: cnn_core::Backend> Module<B> for Net<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let x = self.layer_scale.call(&self.layer_norm.call(&self.stem.call(x)?)?)?.gelu()?;
        let y = ConvNorm(&mut self.conv, &mut self.norm).add_relu(&x, &x)?;
        let y = self.pool.0.call(&y.add(&x)?)?.dropout(0.5)?;
        self.dense.call(&y.flatten()?)?.softmax()
    }
}

fn net(backend: &B) -> Net<B> {
    let init = &mut Init::new(backend, 3);
    let options = Conv2dOptions::square(3).padding(1);
    let pool = Pool2dOptions { ceil_mode: true, ..Pool2dOptions::square(2) };
    let mut net = Net {
        stem: Conv2d::new(init, 2, 4, options).unwrap(),
        conv: Conv2d::without_bias(init, 4, 4, options).unwrap(),
        norm: BatchNorm2d::new(init, 4).unwrap(),
        dense: Linear::from_image(init, [3, 2, 4], 3).unwrap(),
        layer_norm: LayerNorm::new(init, 4, 1e-3).unwrap(),
        layer_scale: LayerScale::new(init, 4, 0.5).unwrap(),
        pool: Pool(MaxPool2d::new(pool)),
        scope: Scope::default(),
    };
    name_fields(&mut net);
    net
}

fn images(backend: &B, batch: usize) -> Tensor<B> {
    let values: Vec<f64> = (0..batch * 5 * 4 * 2).map(|i| (i * 7 % 23) as f64 / 8.0 - 1.4).collect();
    Tensor::from_slice(backend, [batch, 5, 4, 2], &values).unwrap()
}

/// A run in training first, so that the running statistics are not those of a new layer.
fn trained(backend: &B) -> Net<B> {
    let mut net = net(backend);
    let pass = Pass::train(backend, 0);
    net.call(&pass.input(images(backend, 3)).unwrap()).unwrap();
    net
}

#[test]
fn a_traced_graph_is_the_module_that_it_came_from() {
    let backend = B::new();
    let mut net = trained(&backend);
    let mut graph = Graph::trace(&backend, &mut net, Shape::new(&[1, 5, 4, 2]).unwrap()).unwrap();
    graph.check(&backend).unwrap();
    // Another batch than that of the trace; the same bits, and the same gradient of the input.
    let run = |model: &mut dyn Module<B>| {
        let pass = Pass::eval_recorded(&backend);
        let x = pass.input(images(&backend, 2)).unwrap().keep_gradient();
        let y = model.call(&x).unwrap();
        let dy = Tensor::from_slice(&backend, y.shape().dims(), &[1.0, -2.0, 0.5, 0.0, 3.0, 1.0]).unwrap();
        let dx = y.backward_from(dy).unwrap().of(&x).unwrap().to_vec();
        (y.to_vec().unwrap(), dx)
    };
    let expected = run(&mut net);
    assert_eq!(run(&mut graph), expected);

    // In a training pass too: a graph is fixed.
    let pass = Pass::train(&backend, 0);
    let y = graph.call(&pass.input(images(&backend, 2)).unwrap()).unwrap();
    assert_eq!(y.to_vec().unwrap(), expected.0);

    let frozen = Frozen::from_graph(&backend, &graph).unwrap();
    let y = frozen.run(images(&backend, 2)).unwrap().to_vec(&backend).unwrap();
    assert!(y.iter().zip(&expected.0).all(|(a, b)| (a - b).abs() < 1e-14), "{y:?} {:?}", expected.0);
}

/// What a device needs for inference is no more than this.
fn freeze<D: Inference>(device: &D, graph: &Graph<D>) -> Result<Frozen<D>> {
    Frozen::from_graph(device, graph)
}

#[test]
fn a_graph_that_does_not_fit_together_is_refused() {
    let backend = B::new();
    let shape = |dims: &[usize]| Shape::new(dims).unwrap();
    let node = |op: Op<B>, inputs: &[usize], output: usize, dims: &[usize]| Node {
        path: format!("layer{output}"),
        op,
        inputs: inputs.to_vec(),
        output,
        shape: shape(dims),
    };
    let dense = |inputs: usize, elements: usize| Op::Linear {
        spec: LinearSpec { rows: 1, inputs, outputs: 3 },
        weight: backend.fill(elements, 0.5).unwrap(),
        bias: None,
    };
    let relu = || Op::Activation(Activation::Relu);
    let input = || node(Op::Input, &[], 0, &[1, 2]);
    let refused = |nodes: Vec<Node<B>>, output: usize, rule: &str| {
        let mut graph = Graph { nodes, output };
        let error = freeze(&backend, &graph).unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
        // The module may know other words for it, but takes it no more.
        let pass = Pass::eval(&backend);
        let x = pass.input(Tensor::from_slice(&backend, [1, 2], &[1.0, 2.0]).unwrap()).unwrap();
        assert!(graph.call(&x).is_err() || graph.nodes.len() > 3, "{rule}");
    };
    refused(vec![], 0, "value 0: is made by no node");
    refused(vec![input()], usize::MAX, "is made by no node");
    refused(vec![node(relu(), &[], 1, &[1, 2])], 1, "inputs of ReLU 0: must be 1");
    refused(vec![input(), node(relu(), &[7], 1, &[1, 2])], 1, "layer1: value 7: is made by no node");
    refused(vec![input(), node(Op::Add, &[0], 1, &[1, 2])], 1, "inputs of Add 1: must be 2");
    refused(vec![input(), node(dense(2, 5), &[0], 1, &[1, 3])], 1, "weight of Linear [5]: must have the 6 elements");
    refused(vec![input(), node(dense(4, 12), &[0], 1, &[1, 3])], 1, "input of Linear [1, 2]: must be [1, 4]");
    let layer_norm = |channels: usize, elements: usize| {
        let (gamma, beta) = (backend.fill(channels, 0.5).unwrap(), backend.fill(elements, 0.5).unwrap());
        Op::LayerNorm { spec: LayerNormSpec { channels, eps: 0.1 }, gamma, beta }
    };
    let layer_scale = |channels: usize| Op::LayerScale { channels, factors: backend.fill(2, 0.5).unwrap() };
    for (op, rule) in [
        (layer_norm(3, 3), "layer1: input [1, 2]: must have 3 channels, the last dimension"),
        (layer_norm(2, 1), "layer1: bias of LayerNorm [1]: must have the 2 elements of the spec"),
        (layer_scale(3), "layer1: input [1, 2]: must have 3 channels"),
    ] {
        refused(vec![input(), node(op, &[0], 1, &[1, 2])], 1, rule);
    }
    for (op, name) in [(Op::CrossEntropy, "CrossEntropyLoss"), (Op::BinaryCrossEntropy, "BCEWithLogitsLoss")] {
        let rule = format!("operation {name}: is none of inference");
        refused(vec![input(), node(op, &[0], 1, &[1])], 1, &rule);
    }
    let parameter = Op::Parameter { shape: shape(&[1, 2]), value: backend.fill(3, 0.5).unwrap() };
    let added = vec![input(), node(parameter, &[], 1, &[1, 2]), node(Op::Add, &[0, 1], 2, &[1, 2])];
    refused(added, 2, "layer1: value of Parameter [3]: must have the 2 elements of the spec");
    let twice =
        vec![input(), node(relu(), &[0], 1, &[1, 2]), node(relu(), &[0], 1, &[1, 2]), node(relu(), &[1], 2, &[1, 2])];
    refused(twice, 2, "value 1: is made by two nodes");
    let error = |nodes| freeze(&backend, &Graph { nodes, output: 1 }).unwrap_err().to_string();
    let wrong = error(vec![input(), node(relu(), &[0], 1, &[1, 3])]);
    assert_eq!(wrong, "layer1: output of ReLU [1, 3]: must be [1, 2]");
}

/// Numbers of a spec that were changed after its constructor had checked them.
#[test]
fn a_graph_with_a_spec_that_was_changed_is_refused() {
    let backend = B::new();
    let conv = Conv2dSpec::new([1, 4, 4, 2], 2, &Conv2dOptions::square(3).padding(1)).unwrap();
    let pool = Pool2dSpec::new([1, 4, 4, 2], &Pool2dOptions::square(2)).unwrap();
    let changed = |change: fn(&mut Conv2dSpec)| {
        let mut spec = conv;
        change(&mut spec);
        Op::Conv2d { spec, weight: backend.fill(36, 0.5).unwrap(), bias: None }
    };
    let pooled = |change: fn(&mut Pool2dSpec)| {
        let mut spec = pool;
        change(&mut spec);
        spec
    };
    for (op, rule) in [
        (changed(|spec| spec.groups = 0), "layer1: groups 0: must divide both"),
        (changed(|spec| spec.kernel = [usize::MAX, 1]), "layer1: kernel [18446744073709551615, 1]: must be from 1"),
        (changed(|spec| spec.padding.top = usize::MAX), "layer1: padding "),
        (changed(|spec| spec.stride = [1, 0]), "layer1: stride [1, 0]: must be from 1"),
        (
            changed(|spec| spec.output = [9, 9]),
            "layer1: output [9, 9]: must be [4, 4], as the spec's other numbers give",
        ),
        (Op::MaxPool2d(pooled(|spec| spec.stride = [0, 1])), "layer1: stride [0, 1]: must be from 1"),
        (Op::AvgPool2d(pooled(|spec| spec.window = [9, 9])), "layer1: window 9x9: must fit the padded image"),
        (Op::MaxPool2d(pooled(|spec| spec.output = [1, 2])), "layer1: output [1, 2]: must be [2, 2]"),
        (Op::AvgPool2d(pooled(|spec| spec.padding.left = 2)), "layer1: padding [0, 2]: must be at most half"),
    ] {
        let output = match &op {
            Op::Conv2d { .. } => [1, 4, 4, 2],
            _ => [1, 2, 2, 2],
        };
        let node = |op, inputs: &[usize], output, dims: [usize; 4]| Node {
            path: format!("layer{output}"),
            op,
            inputs: inputs.to_vec(),
            output,
            shape: Shape::new(&dims).unwrap(),
        };
        let mut graph =
            Graph { nodes: vec![node(Op::Input, &[], 0, [1, 4, 4, 2]), node(op, &[0], 1, output)], output: 1 };
        let error = graph.check(&backend).unwrap_err().to_string();
        assert!(error.starts_with(rule), "{error}");
        let pass = Pass::eval(&backend);
        let x = pass.input(Tensor::from_slice(&backend, [1, 4, 4, 2], &[1.0; 32]).unwrap()).unwrap();
        assert_eq!(graph.call(&x).map(drop).unwrap_err().to_string(), error);
        assert_eq!(freeze(&backend, &graph).map(drop).unwrap_err().to_string(), error);
    }
}

/// x * tanh(softplus(x)), with the slope times `slip`.
fn mish(x: &Var<B>, slip: f64) -> Result<Var<B>> {
    fn each(backend: &B, x: &Tensor<B>, f: impl Fn((usize, f64)) -> f64) -> Result<Tensor<B>> {
        let values: Vec<f64> = x.to_vec(backend)?.into_iter().enumerate().map(f).collect();
        Tensor::from_slice(backend, x.shape().dims(), &values)
    }
    let forward = |b: &B, x: &[Tensor<B>]| each(b, &x[0], |(_, x)| x * x.exp().ln_1p().tanh());
    Var::custom("Mish", &[x], forward, move |b, x, _, dy| {
        let dy = dy.to_vec(b)?;
        let slope = |x: f64| {
            let tanh = x.exp().ln_1p().tanh();
            slip * (tanh + x * (1.0 - tanh * tanh) / (1.0 + (-x).exp()))
        };
        Ok(vec![each(b, &x[0], |(i, x)| dy[i] * slope(x))?])
    })
}

#[test]
fn an_operation_of_ones_own_is_checked_frozen_and_named() {
    let backend = B::new();
    let x = Tensor::from_slice(&backend, [2, 3], &[-2.0, -0.7, -0.1, 0.3, 1.0, 2.5]).unwrap();
    check::gradients(&backend, from_ref(&x), |x| mish(&x[0], 1.0)).unwrap();
    let error = check::gradients(&backend, from_ref(&x), |x| mish(&x[0], 1.001)).unwrap_err().to_string();
    let (what, rule) = error.split_once(": ").unwrap();
    assert!(what.starts_with("gradient ") && what.ends_with(" of element 0 of input 0"), "{error}");
    assert!(rule.starts_with("must be ") && rule.ends_with(", the central difference"), "{error}");
    // Two inputs, each of which has a gradient; one of them read twice.
    check::gradients(&backend, &[x.clone(), x.clone()], |x| mish(&x[0].add(&x[1])?.add(&x[0])?, 1.0)).unwrap();

    struct Layer<B: cnn_core::Backend> {
        dense: Linear<B>,
        scope: Scope,
    }
    named_fields!(Layer { dense });
    impl Module<B> for Layer<B> {
        fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
            mish(&self.dense.call(x)?, 1.0)?.relu()
        }
    }
    let dense = Linear::new(&mut Init::new(&backend, 0), 3, 4).unwrap();
    let mut layer = Layer { dense, scope: Scope::default() };
    name_fields(&mut layer);
    let mut graph = Graph::trace(&backend, &mut layer, Shape::new(&[1, 3]).unwrap()).unwrap();
    assert_eq!(graph.nodes.iter().map(|node| node.op.name()).collect::<Vec<_>>(), ["Input", "Linear", "Mish", "ReLU"]);
    let pass = Pass::eval(&backend);
    let expected = layer.call(&pass.input(x.clone()).unwrap()).unwrap().to_vec().unwrap();
    let y = Frozen::new(&backend, &mut layer, &[3]).unwrap().run(x.clone()).unwrap().to_vec(&backend).unwrap();
    assert_eq!(y, expected);
    assert_eq!(graph.call(&pass.input(x.clone()).unwrap()).unwrap().to_vec().unwrap(), expected);

    // A graph keeps what an operation computes, not how its gradient is found.
    let pass = Pass::eval_recorded(&backend);
    let x = pass.input(x).unwrap().keep_gradient();
    let y = graph.call(&x).unwrap();
    let error = y.backward_from(y.ones().unwrap()).map(drop).unwrap_err().to_string();
    assert_eq!(error, "operation Mish: has no way back in a graph, which keeps what it computes only");
}

/// In f32 the differences themselves are too rough to say anything.
#[test]
fn gradients_are_checked_in_f64_only() {
    let backend = Naive::<f32>::new();
    let x = Tensor::from_slice(&backend, [2, 2], &[-0.7, 0.3, 1.0, 2.5]).unwrap();
    let error = check::gradients(&backend, &[x], |x| x[0].gelu()).unwrap_err().to_string();
    assert_eq!(
        error,
        "element f32: must be f64, as of Naive::<f64>: differences of the others are too rough to compare with"
    );
}

#[test]
fn an_operation_of_ones_own_that_does_not_fit_is_named() {
    let backend = B::new();
    let x = Tensor::from_slice(&backend, [2], &[1.0, 2.0]).unwrap();
    let same = |_: &B, x: &[Tensor<B>]| Ok(x[0].clone());
    let error = |gradients: fn(Tensor<B>) -> Vec<Tensor<B>>| {
        let pass = Pass::train(&backend, 0);
        let x = pass.input(x.clone()).unwrap().keep_gradient();
        let y = pass.within("block", || Var::custom("Same", &[&x], same, move |_, _, _, dy| Ok(gradients(dy))));
        y.unwrap().backward_from(x.ones().unwrap()).map(drop).unwrap_err().to_string()
    };
    assert_eq!(error(|_| vec![]), "block (Same): gradients of Same 0: must be 1, one for each input");
    let other = |_| vec![Tensor::from_slice(&B::new(), [1], &[0.0]).unwrap()];
    assert_eq!(error(other), "block (Same): shape of gradient 0 of Same [1]: must be that of the input, [2]");
    let none = Var::custom("Nothing", &[], same, |_, _, _, _| Ok(vec![])).map(drop).unwrap_err().to_string();
    assert_eq!(none, "inputs of Nothing 0: must be at least 1");

    let fails = Custom::new("Fails", |_: &B, _: &[Tensor<B>]| Err(Error::invalid("weather", "rain", "must be fine")));
    let node = |op, inputs: &[usize], output| Node {
        path: "a.b".to_owned(),
        op,
        inputs: inputs.to_vec(),
        output,
        shape: Shape::new(&[1, 2]).unwrap(),
    };
    let graph = Graph { nodes: vec![node(Op::Input, &[], 0), node(Op::Custom(fails), &[0], 1)], output: 1 };
    let x = Tensor::from_slice(&backend, [1, 2], &[1.0, 2.0]).unwrap();
    let error = Frozen::from_graph(&backend, &graph).unwrap().run(x).map(drop).unwrap_err().to_string();
    assert_eq!(error, "a.b (Fails): weather rain: must be fine");
}

#[test]
fn a_loss_of_ones_own_moves_the_weights() {
    let backend = B::new();
    let target = Tensor::from_slice(&backend, [2, 1], &[1.0, -1.0]).unwrap();
    let mean_square = |y: &Var<B>, target: &Var<B>| {
        let apart = |b: &B, x: &[Tensor<B>]| {
            Ok::<_, Error>(x[0].to_vec(b)?.into_iter().zip(x[1].to_vec(b)?).map(|(y, t)| y - t).collect::<Vec<f64>>())
        };
        let forward = move |b: &B, x: &[Tensor<B>]| {
            let apart = apart(b, x)?;
            Tensor::from_slice(b, [1], &[apart.iter().map(|d| d * d).sum::<f64>() / apart.len() as f64])
        };
        Var::custom("MSELoss", &[y, target], forward, move |b, x, _, dy| {
            let (apart, dy) = (apart(b, x)?, dy.to_vec(b)?[0]);
            let slope = |sign: f64| apart.iter().map(|d| sign * dy * 2.0 * d / apart.len() as f64).collect::<Vec<_>>();
            let shape = x[0].shape();
            Ok(vec![
                Tensor::from_slice(b, shape.dims(), &slope(1.0))?,
                Tensor::from_slice(b, shape.dims(), &slope(-1.0))?,
            ])
        })
    };
    let y = Tensor::from_slice(&backend, [2, 1], &[0.3, 0.4]).unwrap();
    check::gradients(&backend, &[y, target.clone()], |x| mean_square(&x[0], &x[1])).unwrap();

    let mut layer = Linear::new(&mut Init::new(&backend, 0), 2, 1).unwrap();
    name_fields(&mut layer);
    let mut losses = Vec::new();
    for _ in 0..50 {
        let pass = Pass::train(&backend, 0);
        let x = pass.input(Tensor::from_slice(&backend, [2, 2], &[1.0, 0.5, -0.5, 1.0]).unwrap()).unwrap();
        let y = layer.call(&x).unwrap();
        let loss = mean_square(&y, &pass.input(target.clone()).unwrap()).unwrap();
        losses.push(loss.to_vec().unwrap()[0]);
        let gradients = loss.backward().unwrap();
        for parameter in parameters_mut(&mut layer) {
            let gradient = gradients.parameter(parameter).unwrap();
            let moved: Vec<f64> = parameter.value().iter().zip(gradient.iter()).map(|(w, g)| w - 0.3 * g).collect();
            *parameter.value_mut() = backend.upload(&moved).unwrap();
        }
    }
    assert!(losses[49] < 1e-3 * losses[0], "{losses:?}");

    let pass = Pass::train(&backend, 0);
    let x = pass.input(target).unwrap().keep_gradient();
    let error = x.relu().unwrap().backward().map(drop).unwrap_err().to_string();
    assert_eq!(error, "loss shape [2, 1]: must have one element; backward_from takes others");
}
