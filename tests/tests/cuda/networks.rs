//! Whole networks on the GPU and on the CPU: the loss of a training step, and every gradient.

use cnn_core::nn::parameters;
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Backend, DType, Device, Element, Frozen, Pass, Real, Shape, Tensor};
use cnn_cpu::Cpu;
use cnn_cuda::CudaElement;
use cnn_models::Arch;
use half::bf16;

use crate::device::cuda;

const IMAGE: [usize; 3] = [16, 16, 3];
const BATCH: usize = 4;

/// What a step comes to: the loss, each parameter's gradient by name, and the logits of the trained network, frozen.
struct Step {
    loss: f64,
    gradients: Vec<(String, Vec<f64>)>,
    logits: Vec<f64>,
}

fn step<B: Backend>(backend: &B, name: &str) -> Step {
    let as_f64 = |values: Vec<<B::Elem as Element>::Accum>| values.into_iter().map(Real::as_f64).collect::<Vec<_>>();
    let mut model = name.parse::<Arch>().unwrap().build(backend, 3, IMAGE, 10).unwrap();
    let shape = Shape::new(&[BATCH, IMAGE[0], IMAGE[1], IMAGE[2]]).unwrap();
    let pixel = |i: usize| ((i * 7919) % 1009) as f64 / 504.0 - 1.0;
    let pixels: Vec<_> = (0..shape.numel()).map(|i| <B::Elem as Element>::Accum::from_f64(pixel(i))).collect();
    let images = Tensor::from_slice(backend, shape, &pixels).unwrap();
    let mut optimizer = Optimizer::new(backend, &model, OptimizerOptions::new(Method::NESTEROV)).unwrap();
    let pass = Pass::train(backend, 1);
    let loss = model.call(&pass.input(images.clone()).unwrap()).unwrap().cross_entropy(&[1, 7, 0, 9], 0.1).unwrap();
    let gradients = loss.backward().unwrap();
    let of = |parameter: &cnn_core::nn::Param<B>| {
        let gradient = backend.download(gradients.parameter(parameter).unwrap()).unwrap();
        (parameter.name().to_owned(), as_f64(gradient))
    };
    let named = parameters(&*model).into_iter().map(of).collect();
    optimizer.step(0.01, &mut model, &gradients).unwrap();
    let frozen = Frozen::new(backend, &mut *model, &IMAGE).unwrap();
    let logits = as_f64(frozen.run(images).unwrap().to_vec(backend).unwrap());
    Step { loss: loss.to_f64().unwrap(), gradients: named, logits }
}

fn distance(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(g, e)| g - e)) / norm(&mut expected.iter().copied())
}

/// The GPU is about as near to the truth, the same step in f64, as the CPU with the same elements is: a deep network makes
/// roundings large, and by as much for both. Distances are relative to the norm of each array.
fn agrees<B: Backend>(cuda: Option<B>, cpu: impl Backend, name: &str) {
    let Some(cuda) = cuda else { return };
    let (got, again) = (step(&cuda, name), step(&cuda, name));
    let (cpu, truth) = (step(&cpu, name), step(&Cpu::<f64>::new().unwrap(), name));
    let compare = |what: &str, got: &[f64], cpu: &[f64], truth: &[f64]| {
        let (got, cpu) = (distance(got, truth), distance(cpu, truth));
        let least = if what.ends_with(".bias") { least(B::Elem::DTYPE) } else { LEAST };
        assert!(got <= FACTOR * cpu.max(least), "{what}: {got:.2e} from the truth, and the CPU {cpu:.2e}");
    };
    compare("loss", &[got.loss], &[cpu.loss], &[truth.loss]);
    compare("logits", &got.logits, &cpu.logits, &truth.logits);
    for (i, (name, truth)) in truth.gradients.iter().enumerate() {
        compare(&format!("gradient of {name}"), &got.gradients[i].1, &cpu.gradients[i].1, truth);
    }
    let bits = |step: &Step| step.gradients.iter().flat_map(|(_, g)| g.iter().map(|v| v.to_bits())).collect::<Vec<_>>();
    assert_eq!(bits(&got), bits(&again), "two runs have the same bits");
    assert_eq!(got.logits, again.logits);
}

/// By how much the GPU may be further from the truth.
const FACTOR: f64 = 3.0;

/// From where on a distance is one.
const LEAST: f64 = 1e-5;

/// The same of a bias: the ten sums over four images that it has for its gradient can be right by luck to less than the rounding of
/// one number.
fn least(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 2f64.powi(-9),
        _ => LEAST,
    }
}

#[test]
fn the_small_network_in_f32() {
    agrees(cuda::<f32>(), Cpu::<f32>::new().unwrap(), "small");
}

#[test]
fn the_small_network_in_bf16() {
    agrees(cuda::<bf16>(), Cpu::<bf16>::new().unwrap(), "small");
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn resnet18_in_f32() {
    agrees(cuda::<f32>(), Cpu::<f32>::new().unwrap(), "resnet18");
}

#[test]
#[ignore = "half a minute and more: cargo xtask check --deep"]
fn resnet18_in_bf16() {
    agrees(cuda::<bf16>(), Cpu::<bf16>::new().unwrap(), "resnet18");
}

/// Once every size of memory was asked for, a step asks the driver for none; and what it changes nobody else holds any more, so
/// nothing is copied.
fn the_third_step_takes_nothing<T: CudaElement>() {
    let Some(cuda) = cuda::<T>() else { return };
    let mut model = "small".parse::<Arch>().unwrap().build(&cuda, 0, IMAGE, 10).unwrap();
    let mut optimizer = Optimizer::new(&cuda, &model, OptimizerOptions::new(Method::NESTEROV)).unwrap();
    let images = Tensor::from_slice(&cuda, [BATCH, 16, 16, 3], &vec![0.5; BATCH * 768]).unwrap();
    let mut usage = Vec::new();
    for step in 0..4 {
        let pass = Pass::train(&cuda, 0).at_step(step);
        let loss = model.call(&pass.input(images.clone()).unwrap()).unwrap().cross_entropy(&[0, 1, 2, 3], 0.0).unwrap();
        optimizer.step(0.01, &mut model, &loss.backward().unwrap()).unwrap();
        usage.push((cuda.memory().allocations, cuda.memory().copies));
    }
    assert_eq!(usage[1..], vec![usage[1]; 3], "{usage:?}");
}

#[test]
fn the_third_step_takes_nothing_in_f32() {
    the_third_step_takes_nothing::<f32>();
}

#[test]
fn the_third_step_takes_nothing_in_bf16() {
    the_third_step_takes_nothing::<bf16>();
}

/// What was on its way to the host stays what it was, whatever is done after it.
#[test]
fn numbers_on_their_way_are_those_of_their_time() {
    let Some(cuda) = cuda::<bf16>() else { return };
    let (mut value, one) = (cuda.upload(&[1.0f32, 2.0]).unwrap(), cuda.upload(&[1.0f32; 2]).unwrap());
    let mut later = Vec::new();
    for _ in 0..3 {
        later.push(cuda.download_later(&value).unwrap());
        cuda.blend(&mut value, 1.0, &one, 1.0).unwrap();
    }
    let many = cuda.download_later(&cuda.fill(1000, 7u32).unwrap()).unwrap();
    drop(value);
    for (i, later) in later.iter().enumerate().rev() {
        let expected = [1.0 + i as f32, 2.0 + i as f32];
        assert_eq!(later.get().unwrap(), expected);
        assert_eq!(later.get().unwrap(), expected, "as often as it is asked");
    }
    assert_eq!(many.get().unwrap(), [7; 1000]);
    let nothing = cuda.download_later(&cuda.upload::<u32>(&[]).unwrap()).unwrap();
    assert!(nothing.get().unwrap().is_empty());
}
