//! What is counted for a network is what a process that runs it comes to hold. Each is run in a process of its own, which is this
//! test again: allocators keep what was in use before.

#![cfg(target_os = "linux")]

use std::process::Command;

use cnn_core::{Device, Frozen, Shape, Tensor, bf16};
use cnn_cpu::{Cpu, CpuElement};
use cnn_measure::memory::Network;
use cnn_measure::networks::Training;
use cnn_measure::timing::peak_memory;
use cnn_models::Arch;

const THREADS: usize = 2;
/// What a process is to run: task, network, batch and precision.
const RUN: &str = "CNN_MEASURE_MEMORY_OF";

fn train<T: CpuElement>(name: &str, batch: usize) {
    let cpu = Cpu::<T>::with_threads(THREADS).unwrap();
    let mut training = Training::new(&cpu, name, batch).unwrap();
    (0..3).for_each(|_| training.step().unwrap());
    training.freeze().unwrap().run(images(&cpu, 128)).unwrap();
}

fn infer<T: CpuElement>(name: &str, batch: usize) {
    let cpu = Cpu::<T>::with_threads(THREADS).unwrap();
    let mut model = name.parse::<Arch>().unwrap().build(&cpu, 0, [32, 32, 3], 10).unwrap();
    let frozen = Frozen::new(&cpu, &mut *model, &[32, 32, 3]).unwrap();
    drop(model);
    (0..2).for_each(|_| drop(frozen.run(images(&cpu, batch)).unwrap()));
}

fn images<T: CpuElement>(cpu: &Cpu<T>, count: usize) -> Tensor<Cpu<T>> {
    let shape = Shape::new(&[count, 32, 32, 3]).unwrap();
    Tensor::from_data(cpu, shape, cpu.fill(shape.numel(), T::default()).unwrap()).unwrap()
}

/// Runs what this process was started for, and says what it held before and at most.
#[test]
fn run() {
    let Ok(what) = std::env::var(RUN) else { return };
    let [task, name, batch, precision] = what.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let (batch, before) = (batch.parse().unwrap(), peak_memory().unwrap());
    match (task, precision) {
        ("train", "f32") => train::<f32>(name, batch),
        ("train", "bf16") => train::<bf16>(name, batch),
        ("infer", "f32") => infer::<f32>(name, batch),
        ("infer", "bf16") => infer::<bf16>(name, batch),
        other => panic!("{other:?}"),
    }
    println!("\nheld {before} {}", peak_memory().unwrap());
}

/// Refuses a count that is more than a twentieth off what a process comes to hold.
fn check(task: &str, name: &str, batch: usize, precision: &str) {
    let network = Network { arch: name.parse::<Arch>().unwrap(), image: [32, 32, 3], classes: 10, threads: THREADS };
    let counted = match (task, precision) {
        ("train", "f32") => network.training::<f32>(batch, 128).map(|training| training.evaluated),
        ("train", "bf16") => network.training::<bf16>(batch, 128).map(|training| training.evaluated),
        ("infer", "f32") => network.inference::<f32>(batch),
        _ => network.inference::<bf16>(batch),
    };
    let what = format!("{task} {name} {batch} {precision}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "run", "--nocapture"]).env(RUN, &what).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let held = text.lines().find_map(|line| line.strip_prefix("held ")).unwrap_or_else(|| panic!("{what}: {text}"));
    let held: Vec<f64> = held.split(' ').map(|bytes| bytes.parse().unwrap()).collect();
    let (told, measured) = (counted.unwrap() as f64 + held[0], held[1]);
    println!("{what}: {:.1} MB told, {:.1} MB measured", told / 1e6, measured / 1e6);
    assert!((told / measured - 1.0).abs() < 0.05, "{what}: {told} bytes told, {measured} measured");
}

/// Batches that are no power of two: their blocks are rounded up most.
#[test]
fn what_is_counted_is_what_a_process_holds() {
    check("infer", "small", 512, "f32");
    check("train", "small", 700, "f32");
    check("infer", "resnet18", 150, "bf16");
    check("train", "resnet18", 68, "bf16");
    check("train", "resnet18", 100, "f32");
    check("train", "fast", 200, "f32");
}
