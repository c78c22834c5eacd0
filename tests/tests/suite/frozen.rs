//! Frozen models against the evaluation pass of the model that they were frozen from.

use cnn_core::backend::Activation;
use cnn_core::nn::{
    BatchNorm2d, Conv2d, ConvNorm, Fields, Init, LayerNorm, LayerScale, LeafMut, Linear, Module, Path, Scope,
    name_fields, parameters_mut,
};
use cnn_core::rng::{Philox, Purpose, Stream};
use cnn_core::{
    Backend, Conv2dOptions, DType, Element, Frozen, Naive, Padding, Pass, Pool2dOptions, Real, Result, Tensor, Var,
    bf16, named_fields,
};
use cnn_cpu::Cpu;
use cnn_models::{Arch, Block, Model, ResNet, ResNetConfig, Small, Stem, Stepwise, Vgg, VggConfig};

/// Weights, normalisations and statistics as training might leave them, all different.
fn redraw<B: Backend>(backend: &B, model: &mut dyn Fields<B>, stream: &mut Stream) {
    model.visit_mut(&mut Path::default(), &mut |path, leaf| {
        let name = path.as_str().rsplit('.').next().unwrap_or_default();
        let values = match leaf {
            LeafMut::Param(parameter) => parameter.value_mut(),
            LeafMut::Statistic(statistic) => statistic.value_mut(),
            LeafMut::Count(_) | LeafMut::Scope(_) => return,
        };
        let [low, high] = if name == "running_var" { [0.5, 2.0] } else { [-0.5, 1.0] };
        let n = backend.len(values);
        let fan_in = if n > 1024 { (n as f64).sqrt().recip() } else { 1.0 };
        let drawn: Vec<_> = (0..n).map(|_| Real::from_f64(stream.range(low, high) * fan_in)).collect();
        *values = backend.upload(&drawn).unwrap();
    });
}

fn images<B: Backend>(backend: &B, shape: [usize; 4], stream: &mut Stream) -> Tensor<B> {
    let values: Vec<_> = (0..shape.iter().product()).map(|_| Real::from_f64(stream.range(-1.0, 1.0))).collect();
    Tensor::from_slice(backend, shape, &values).unwrap()
}

/// Expects the frozen model to compute what the model does, for several batch sizes, and returns it.
fn agrees<B: Backend>(backend: &B, model: &mut dyn Module<B>, sample: [usize; 3]) -> Frozen<B> {
    let stream = &mut Philox::new(7, Purpose::Test, 0, 0).stream();
    redraw(backend, &mut *model, stream);
    let frozen = Frozen::new(backend, &mut *model, &sample).unwrap();
    // In half precision the model rounds what the frozen one keeps in registers: here and there the other way.
    let bound = match B::Elem::DTYPE {
        DType::F64 => 1e-12,
        DType::BF16 => 2e-2,
        _ => 1e-5,
    };
    let [h, w, c] = sample;
    for batch in [1, 3, 6, 1, 0] {
        let x = images(backend, [batch, h, w, c], stream);
        let pass = Pass::eval(backend);
        let expected = model.call(&pass.input(x.clone()).unwrap()).unwrap().tensor().unwrap();
        let got = frozen.run(x).unwrap();
        assert_eq!(got.shape(), expected.shape());
        let [got, expected] = [got, expected].map(|tensor| tensor.to_vec(backend).unwrap());
        let square = |x: f64| x * x;
        let error: f64 = got.iter().zip(&expected).map(|(g, e)| square(g.as_f64() - e.as_f64())).sum();
        let norm: f64 = expected.iter().map(|e| square(e.as_f64())).sum();
        assert!(norm > 0.0 || batch == 0, "{frozen:?}: the model computes nothing but zeros");
        let relative = error.sqrt() / norm.sqrt().max(f64::MIN_POSITIVE);
        assert!(relative <= bound, "{frozen:?}, batch {batch}: relative error {relative:.2e}, bound {bound:e}");
    }
    frozen
}

/// Runs a check on the oracle and on CPUs of all elements.
macro_rules! on_every_backend {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            super::frozen::checks::$name(&Naive::<f64>::new());
            super::frozen::checks::$name(&Cpu::<f64>::with_threads(2).unwrap());
            super::frozen::checks::$name(&Cpu::<f32>::with_threads(2).unwrap());
            super::frozen::checks::$name(&Cpu::<bf16>::with_threads(2).unwrap());
        }
    )* };
}

on_every_backend! { residual_networks step_by_step small odd activations }

mod checks {
    use super::*;

    pub(super) fn residual_networks<B: Backend>(backend: &B) {
        for (stem, sample, operations) in [(Stem::Cifar, [16, 16, 3], 16), (Stem::ImageNet, [40, 36, 3], 17)] {
            let config = ResNetConfig { stem, block: Block::Basic, blocks: [2, 1, 1, 1], channels: [8, 16, 17, 32] };
            let mut model = ResNet::new(backend, 0, &config, 3, 10).unwrap();
            let frozen = agrees(backend, &mut model, sample);
            // Each convolution with all that follows it, the poolings and the dense layer.
            let expected = format!("Frozen of {operations} operations for samples of {sample:?}");
            assert_eq!(format!("{frozen:?}"), expected);
        }
    }

    pub(super) fn step_by_step<B: Backend>(backend: &B) {
        let frozen = agrees(backend, &mut Stepwise::new(backend, 0, [16, 12, 3], 10).unwrap(), [16, 12, 3]);
        assert_eq!(format!("{frozen:?}"), "Frozen of 4 operations for samples of [16, 12, 3]");
    }

    pub(super) fn small<B: Backend>(backend: &B) {
        agrees(backend, &mut Small::new(backend, 0, [8, 9, 1], 3).unwrap(), [8, 9, 1]);
    }

    /// Each is in the epilogue of the convolution, the normalisation or the dense layer before it.
    pub(super) fn activations<B: Backend>(backend: &B) {
        for activation in Activation::ALL {
            let init = &mut Init::new(backend, 0);
            let square = Conv2dOptions::square(3).padding(1);
            let mut model = Activated {
                conv: Conv2d::without_bias(init, 4, 8, square).unwrap(),
                depthwise: Conv2d::without_bias(init, 8, 8, square.groups(8)).unwrap(),
                norms: (0..3).map(|_| BatchNorm2d::new(init, 8).unwrap()).collect(),
                dense: Linear::from_image(init, [3, 2, 8], 5).unwrap(),
                activation,
                scope: Scope::default(),
            };
            name_fields(&mut model);
            let frozen = agrees(backend, &mut model, [6, 5, 4]);
            let expected = "Frozen of 5 operations for samples of [6, 5, 4]";
            assert_eq!(format!("{frozen:?}"), expected, "{activation:?}");
        }
    }

    pub(super) fn odd<B: Backend>(backend: &B) {
        for which in 0..ODD {
            let mut model = Odd::new(backend, which).unwrap();
            name_fields(&mut model);
            let frozen = agrees(backend, &mut model, [9, 7, 4]);
            if which == 13 {
                // The first scale and the addition are in the convolution in front of them.
                assert_eq!(format!("{frozen:?}"), "Frozen of 7 operations for samples of [9, 7, 4]");
            }
        }
    }
}

/// Everything that an activation is fused into.
struct Activated<B: Backend> {
    conv: Conv2d<B>,
    depthwise: Conv2d<B>,
    norms: Vec<BatchNorm2d<B>>,
    dense: Linear<B>,
    activation: Activation,
    scope: Scope,
}

named_fields!(Activated { conv, depthwise, norms, dense });

impl<B: Backend> Module<B> for Activated<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let Activated { conv, depthwise, norms, dense, activation, .. } = self;
        let [first, second, third] = &mut norms[..] else { unreachable!("three normalisations") };
        let y = ConvNorm(conv, first).activate(x, *activation)?;
        let y = ConvNorm(depthwise, second).add_activate(&y, &y, *activation)?;
        let y = third.activate(&y.max_pool2d(&Pool2dOptions::square(2))?, *activation)?;
        dense.call(&y.flatten()?)?.activate(*activation)
    }
}

/// What the architectures do not do, and what must not be fused.
struct Odd<B: Backend> {
    grouped: Conv2d<B>,
    dilated: Conv2d<B>,
    depthwise: Conv2d<B>,
    norms: Vec<BatchNorm2d<B>>,
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    layer_scale: LayerScale<B>,
    which: usize,
    scope: Scope,
}

named_fields!(Odd { grouped, dilated, depthwise, norms, dense, layer_norm, layer_scale });

/// How many there are.
const ODD: usize = 16;

impl<B: Backend> Odd<B> {
    fn new(backend: &B, which: usize) -> Result<Self> {
        let init = &mut Init::new(backend, 0);
        let padding = Padding { top: 2, left: 1, bottom: 0, right: 1 };
        let dilated = Conv2dOptions { kernel: [2, 3], padding, ..Conv2dOptions::square(1) }.dilation(2);
        Ok(Odd {
            grouped: Conv2d::new(init, 4, 8, Conv2dOptions::square(3).padding(1).groups(2))?,
            dilated: Conv2d::without_bias(init, 8, 8, dilated)?,
            depthwise: Conv2d::new(init, 8, 8, Conv2dOptions::square(3).padding(1).groups(8))?,
            norms: [4, 8, 8].map(|channels| BatchNorm2d::new(init, channels)).into_iter().collect::<Result<_>>()?,
            dense: Linear::new(init, 8, 5)?,
            layer_norm: LayerNorm::new(init, 8, 1e-3)?,
            layer_scale: LayerScale::new(init, 8, 0.1)?,
            which,
            scope: Scope::default(),
        })
    }
}

impl<B: Backend> Module<B> for Odd<B> {
    fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
        let Odd { grouped, dilated, depthwise, norms, layer_norm, layer_scale, which, .. } = self;
        let [first, second, third] = &mut norms[..] else { unreachable!("three normalisations") };
        let dense = |dense: &mut Linear<B>, x: &Var<B>| dense.call(&x.global_avg_pool2d()?.flatten()?);
        let y = match which {
            // A normalisation of the input, of a convolution with a bias, of a pooled value.
            0 => second.call(&grouped.call(&first.relu(x)?)?)?,
            1 => second.relu(&grouped.call(x)?.avg_pool2d(&Pool2dOptions::square(2).padding(1))?)?,
            // Strange geometry; the value between is read twice.
            2 => {
                let y = grouped.call(x)?;
                second.relu(&dilated.call(&y)?)?.max_pool2d(&Pool2dOptions::square(2))?;
                return dense(&mut self.dense, &y)?.softmax();
            }
            3 => {
                let y = second.call(&grouped.call(x)?)?.relu()?;
                let z = third.call(&dilated.call(&y)?)?.gelu()?;
                return self.dense.call(&z.global_avg_pool2d()?.dropout(0.5)?.flatten()?)?.relu()?.softmax();
            }
            // Additions: to itself, to what was computed before and after, of values that others read too.
            4 => {
                let y = grouped.call(x)?;
                y.add(&y)?.relu()?
            }
            5 => {
                let y = grouped.call(x)?;
                y.add(&depthwise.call(&y)?)?.relu()?
            }
            6 => {
                let (y, z) = (grouped.call(x)?, grouped.call(&x.relu()?)?);
                z.relu()?.add(&y)?.relu()?.relu()?
            }
            7 => {
                let y = grouped.call(x)?.gelu()?;
                let sum = y.add(&y.relu()?)?;
                sum.add(&y)?
            }
            // A shortcut that is computed after what it is added to, and one that is a normalisation.
            8 => {
                let y = grouped.call(x)?;
                let shortcut = second.call(&depthwise.call(&y.gelu()?)?)?;
                third.add_relu(&y, &shortcut)?
            }
            9 => {
                let y = ConvNorm(grouped, second).relu(x)?;
                ConvNorm(depthwise, third).add_relu(&y, &y)?
            }
            10 => {
                let y = ConvNorm(grouped, second).linear(x)?;
                third.add_relu(&y.relu()?, &y)?
            }
            // Squeeze and excitation, of a value that is read twice, and of one that ends here.
            11 => {
                let y = grouped.call(x)?;
                let factors = depthwise.call(&y.global_avg_pool2d()?)?.sigmoid()?;
                y.scale_channels(&factors)?.scale_channels(&factors.flatten()?)?.silu()?
            }
            // Half of the channels go past the convolution, and all are mixed; a value is put beside itself.
            12 => {
                let y = second.relu(&grouped.call(x)?)?;
                let (left, right) = (y.slice_channels(0..4)?, y.slice_channels(4..8)?);
                let y = Var::concat(&[&left, &grouped.call(&right)?.slice_channels(2..6)?])?
                    .shuffle_channels(2)?
                    .adaptive_avg_pool2d([5, 4])?;
                let twice = Var::concat(&[&y, &left.adaptive_avg_pool2d([5, 4])?, &y])?;
                third.call(&twice.slice_channels(7..15)?)?
            }
            // A block of ConvNeXt; a scale of what is no convolution's alone.
            13 => {
                let y = grouped.call(x)?;
                let branch = depthwise.call(&layer_norm.call(&y)?.gelu()?)?;
                let y = layer_scale.call(&branch)?.stochastic_depth(0.5)?.add(&y)?;
                layer_scale.call(&y)?
            }
            // A normalisation of rows of an image and of a matrix, and a dense layer of every pixel.
            14 => {
                let y = layer_norm.call(&grouped.call(x)?.relu()?)?;
                let rows = layer_norm.call(&y.global_avg_pool2d()?.flatten()?)?;
                let pixels = self.dense.call(&y)?.global_avg_pool2d()?.flatten()?;
                return self.dense.call(&rows)?.add(&pixels);
            }
            // The output is the input.
            _ => return Ok(x.clone()),
        };
        dense(&mut self.dense, &y)
    }
}

#[test]
fn resnet18_runs_in_22_operations() {
    let backend = Cpu::<f32>::with_threads(2).unwrap();
    let mut model = ResNet::new(&backend, 0, &ResNetConfig::resnet18(Stem::Cifar), 3, 10).unwrap();
    let frozen = Frozen::new(&backend, &mut model, &[32, 32, 3]).unwrap();
    assert_eq!(format!("{frozen:?}"), "Frozen of 22 operations for samples of [32, 32, 3]");
}

/// At images that are as small as they take, or nearly. What they compute in f64 is held against the originals.
#[test]
fn the_zoo_in_f32() {
    let backend = Cpu::<f32>::with_threads(2).unwrap();
    for (name, sample, operations) in [
        ("mobilenet-v3-small", [20, 33, 3], 73),
        ("mobilenet-v3-large", [33, 20, 1], 81),
        ("shufflenet-v2-x1-0", [20, 33, 3], 117),
        ("squeezenet1-1", [17, 18, 3], 38),
        ("regnet-y-400mf", [20, 33, 3], 119),
        ("densenet121", [29, 30, 3], 246),
        ("vgg11-bn", [32, 33, 1], 17),
    ] {
        let mut model: Model<_> = match name.parse().unwrap() {
            Arch::Vgg(config) => {
                let config = VggConfig { dense: 16, ..config };
                Box::new(Vgg::new(&backend, 0, &config, sample, 3, 0.5).unwrap())
            }
            arch => arch.build(&backend, 0, sample, 3).unwrap(),
        };
        let frozen = agrees(&backend, &mut *model, sample);
        // Each convolution with all that follows it, and what stands between them.
        let expected = format!("Frozen of {operations} operations for samples of {sample:?}");
        assert_eq!(format!("{frozen:?}"), expected, "{name}");
    }
}

#[test]
fn threads_share_a_frozen_model() {
    let backend = Cpu::<f32>::with_threads(2).unwrap();
    let mut model = Small::new(&backend, 0, [16, 16, 3], 10).unwrap();
    let stream = &mut Philox::new(8, Purpose::Test, 0, 0).stream();
    redraw(&backend, &mut model, stream);
    let inputs: Vec<_> = (0..4).map(|n| images(&backend, [1 + n % 2, 16, 16, 3], stream)).collect();
    let alone = Frozen::new(&backend, &mut model, &[16, 16, 3]).unwrap();
    let bits = |frozen: &Frozen<Cpu<f32>>, x: &Tensor<Cpu<f32>>| {
        frozen.run(x.clone()).unwrap().to_vec(&backend).unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected: Vec<_> = inputs.iter().map(|x| bits(&alone, x)).collect();
    let shared = Frozen::new(&backend, &mut model, &[16, 16, 3]).unwrap();
    std::thread::scope(|scope| {
        for (x, expected) in inputs.iter().zip(&expected) {
            scope.spawn(|| (0..20).for_each(|_| assert!(bits(&shared, x) == *expected, "runs disturb each other")));
        }
    });
}

#[test]
fn training_on_does_not_reach_a_frozen_model() {
    let backend = Cpu::<f32>::with_threads(1).unwrap();
    let mut model = Stepwise::new(&backend, 0, [8, 8, 3], 2).unwrap();
    let frozen = Frozen::new(&backend, &mut model, &[8, 8, 3]).unwrap();
    let x = images(&backend, [1, 8, 8, 3], &mut Philox::new(9, Purpose::Test, 0, 0).stream());
    let before = frozen.run(x.clone()).unwrap().to_vec(&backend).unwrap();
    for parameter in parameters_mut(&mut model) {
        parameter.value_mut().make_mut().unwrap().fill(f32::NAN);
    }
    assert_eq!(frozen.run(x).unwrap().to_vec(&backend).unwrap(), before);
}

#[test]
fn errors_name_the_sample_and_the_layer() {
    let backend = Naive::<f32>::new();
    let config = ResNetConfig { stem: Stem::Cifar, block: Block::Basic, blocks: [1; 4], channels: [2; 4] };
    let mut model = ResNet::new(&backend, 0, &config, 3, 10).unwrap();
    let error = Frozen::new(&backend, &mut model, &[8, 8, 1]).unwrap_err().to_string();
    assert_eq!(error, "conv1: input [1, 8, 8, 1]: has 1 channels, weight expects 3");
    let frozen = Frozen::new(&backend, &mut model, &[8, 8, 3]).unwrap();
    let x = images(&backend, [2, 8, 7, 3], &mut Philox::new(9, Purpose::Test, 0, 0).stream());
    let error = frozen.run(x).unwrap_err().to_string();
    let rule = "must be a batch of the samples [8, 8, 3] that the model was frozen for";
    assert_eq!(error, format!("input [2, 8, 7, 3]: {rule}"));
}
