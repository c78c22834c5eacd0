//! Weights are rounded once, and from then on by the optimiser: products always read what the weights are now.

use cnn_core::backend::{
    AdamParam, AdamStep, Backend, Epilogue, Health, Inference, Input, LinearSpec, SgdParam, SgdStep, Uses, Wide,
};
use cnn_core::nn::{Kind, parameters_mut};
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Conv2dOptions, Conv2dSpec, Device, Pass, Tensor};
use cnn_cuda::{Cuda, Filter};
use cnn_models::{Arch, Model};
use half::bf16;

use crate::device::{open, options};

/// A convolution's or dense layer's inputs, outputs and weights.
const SIDE: usize = 8;
const LEN: usize = SIDE * SIDE;

struct Layer {
    cuda: Cuda<bf16>,
    spec: Conv2dSpec,
    x: Input<Cuda<bf16>>,
}

impl Layer {
    fn new() -> Option<Self> {
        let cuda = open::<bf16>(&options()?.graphs(false));
        let spec = Conv2dSpec::new([1, SIDE, 1, SIDE], SIDE, &Conv2dOptions::square(1)).unwrap();
        // Each pixel has one channel, so that the output is the weight.
        let x: Vec<f32> = (0..LEN).map(|i| if i / SIDE == i % SIDE { 1.0 } else { 0.0 }).collect();
        let x = Input::Plain(cuda.narrow(&cuda.upload(&x).unwrap()).unwrap());
        Some(Layer { cuda, spec, x })
    }

    fn filter(&self, weight: &Wide<Cuda<bf16>>) -> Filter<bf16> {
        self.cuda.prepare_filter(&self.spec, weight, Uses::Training).unwrap()
    }

    fn output(&self, filter: &Filter<bf16>) -> Vec<bf16> {
        let y = self.cuda.conv2d(&self.spec, &self.x, filter, Epilogue::bias(None)).unwrap();
        self.cuda.download(&y).unwrap()
    }

    /// What the layers make of the weight is what it is, and whether it was rounded for that.
    fn rounds(&self, weight: &Wide<Cuda<bf16>>) -> bool {
        let cuda = &self.cuda;
        let before = cuda.launches().unwrap();
        let filter = self.filter(weight);
        let rounded = cuda.launches().unwrap() != before;
        let expected: Vec<bf16> = cuda.download(weight).unwrap().into_iter().map(bf16::from_f32).collect();
        assert_eq!(self.output(&filter), expected);
        let Input::Plain(x) = &self.x else { unreachable!("it was made so") };
        let spec = LinearSpec { rows: SIDE, inputs: SIDE, outputs: SIDE };
        let y = cuda.linear(&spec, x, weight, Epilogue::bias(None)).unwrap();
        assert_eq!(cuda.download(&y).unwrap(), expected);
        rounded
    }
}

/// A step of some optimiser.
type Step<'a> = &'a dyn Fn(&mut Wide<Cuda<bf16>>, &Health<Cuda<bf16>>);

fn follows(layer: &Layer, step: Step<'_>) {
    let cuda = &layer.cuda;
    let healthy = |finite: u32| Health { norm: cuda.fill(1, 1.0f32).unwrap(), finite: cuda.fill(1, finite).unwrap() };
    let values: Vec<f32> = (0..LEN).map(|i| (i as f32 - 30.0) / 7.0).collect();
    let mut weight = cuda.upload(&values).unwrap();
    assert!(layer.rounds(&weight));
    assert!(!layer.rounds(&weight), "it is kept");

    step(&mut weight, &healthy(1));
    assert_ne!(cuda.download(&weight).unwrap(), values);
    assert!(!layer.rounds(&weight), "the optimiser writes it");
    step(&mut weight, &healthy(0));
    assert!(!layer.rounds(&weight), "a step that moves nothing leaves it as it is");

    // Others have what it was.
    let filter = layer.filter(&weight);
    let output = layer.output(&filter);
    step(&mut weight, &healthy(1));
    assert!(layer.rounds(&weight));
    assert_eq!(layer.output(&filter), output);
    drop(filter);
    let same = weight.clone();
    step(&mut weight, &healthy(1));
    assert!(layer.rounds(&weight));
    assert!(!layer.rounds(&same));
    drop(same);

    step(&mut weight, &healthy(1));
    assert!(!layer.rounds(&weight), "the optimiser goes on");
    let ones = cuda.fill(LEN, 1.0f32).unwrap();
    cuda.blend(&mut weight, 0.5, &ones, 2.0).unwrap();
    assert!(layer.rounds(&weight), "whoever changes it in place has it forgotten");
}

#[test]
fn weights_that_sgd_moves() {
    let Some(layer) = Layer::new() else { return };
    let step = SgdStep { lr: 0.3, momentum: 0.9, nesterov: true, max_norm: f64::INFINITY };
    follows(&layer, &|value, health| {
        let (gradient, mut velocity) = (layer.cuda.fill(LEN, 1.0f32).unwrap(), layer.cuda.fill(LEN, 0.5f32).unwrap());
        let (gradient, velocity) = (&gradient, &mut velocity);
        let parameter = SgdParam { value, gradient, velocity, lr_scale: 1.0, weight_decay: 0.1 };
        layer.cuda.sgd(&step, &mut [parameter], health).unwrap();
    });
}

#[test]
fn weights_that_adam_moves() {
    let Some(layer) = Layer::new() else { return };
    let step = AdamStep { lr: 0.3, beta1: 0.9, beta2: 0.99, eps: 1e-8, decoupled: true, max_norm: f64::INFINITY };
    follows(&layer, &|value, health| {
        let list = || layer.cuda.fill(LEN, 1.0f32).unwrap();
        let (gradient, mut m, mut v, mut steps) = (list(), list(), list(), layer.cuda.fill(1, 3u32).unwrap());
        let (gradient, m, v, steps) = (&gradient, &mut m, &mut v, &mut steps);
        let parameter = AdamParam { value, gradient, m, v, steps, lr_scale: 1.0, weight_decay: 0.1 };
        layer.cuda.adam(&step, &mut [parameter], health).unwrap();
    });
}

/// In a network no layer rounds its weight after the first step: nothing of a step still holds a filter when it is moved.
#[test]
fn a_network_that_trains() {
    let Some(options) = options() else { return };
    let cuda = open::<bf16>(&options.graphs(false));
    let mut model = "small".parse::<Arch>().unwrap().build(&cuda, 0, [16, 16, 3], 10).unwrap();
    let mut optimizer = Optimizer::new(&cuda, &model, OptimizerOptions::new(Method::NESTEROV)).unwrap();
    let images = Tensor::from_slice(&cuda, [2, 16, 16, 3], &[0.5; 2 * 768]).unwrap();
    let mut step = |model: &mut Model<Cuda<bf16>>| {
        let before = cuda.launches().unwrap().alone;
        let loss = Pass::train(&cuda, 0).input(images.clone()).and_then(|x| model.call(&x));
        let loss = loss.unwrap().cross_entropy(&[3, 4], 0.0).unwrap();
        optimizer.step(0.01, model, &loss.backward().unwrap()).unwrap();
        cuda.launches().unwrap().alone - before
    };
    step(&mut model);
    let [kept, again] = [step(&mut model), step(&mut model)];
    assert_eq!(kept, again);
    let weights = parameters_mut(&mut *model).into_iter().filter(|parameter| parameter.kind() == Kind::Weight);
    let mut count = 0;
    for weight in weights {
        *weight.value_mut() = cuda.upload(&cuda.download(weight.value()).unwrap()).unwrap();
        count += 1;
    }
    assert!(step(&mut model) >= kept + count, "{count} weights are rounded again");
    assert_eq!(step(&mut model), kept);
}
