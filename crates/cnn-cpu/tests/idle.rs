//! A backend that computes nothing asks for the memory that one that does asks for.

use cnn_core::nn::Module;
use cnn_core::optim::{Method, Optimizer, OptimizerOptions};
use cnn_core::{Device, Frozen, Pass, Real, Tensor, bf16};
use cnn_cpu::{Cpu, CpuElement};
use cnn_models::{Block, ResNet, ResNetConfig, Stem};

/// What is held at most by steps of training and an answer.
fn most_held<T: CpuElement>(cpu: &Cpu<T>, batch: usize) -> u64 {
    let config = ResNetConfig { stem: Stem::Cifar, block: Block::Basic, blocks: [1; 4], channels: [16, 32, 48, 64] };
    let mut model = ResNet::new(cpu, 0, &config, 3, 10).unwrap();
    let mut optimizer = Optimizer::new(cpu, &model, OptimizerOptions::new(Method::NESTEROV)).unwrap();
    let images = vec![T::Accum::from_f64(0.5); batch * 32 * 32 * 3];
    for step in 0..3 {
        let pass = Pass::train(cpu, 0).at_step(step);
        let x = Tensor::from_slice(cpu, [batch, 32, 32, 3], &images).unwrap();
        let loss = model.call(&pass.input(x).unwrap()).unwrap().cross_entropy(&vec![0; batch], 0.0).unwrap();
        optimizer.step(0.01, &mut model, &loss.backward().unwrap()).unwrap();
    }
    let frozen = Frozen::new(cpu, &mut model, &[32, 32, 3]).unwrap();
    frozen.run(Tensor::from_slice(cpu, [2 * batch, 32, 32, 3], &images.repeat(2)).unwrap()).unwrap();
    cpu.most_held()
}

fn same<T: CpuElement>() {
    for (threads, batch) in [(1, 3), (2, 20)] {
        let [working, idle] = [Cpu::<T>::with_threads(threads).unwrap(), Cpu::idle(threads).unwrap()];
        assert_eq!(most_held(&idle, batch), most_held(&working, batch), "{threads} threads, {batch} images");
    }
}

#[test]
fn an_idle_backend_holds_what_a_working_one_holds() {
    same::<f32>();
    same::<bf16>();
}

#[test]
fn an_idle_backend_computes_nothing_and_needs_no_memory_for_it() {
    let idle = Cpu::<f32>::idle(2).unwrap();
    assert_eq!(idle.download(&idle.upload(&[1f32, 2.0]).unwrap()).unwrap(), [0.0; 2]);
    // Forty of half a gibibyte, which many machines do not have.
    let many: Vec<_> = (0..40).map(|_| idle.fill(1 << 27, 1f32).unwrap()).collect();
    assert_eq!(idle.most_held(), many.len() as u64 * (1 << 29) + 64);
}
