//! Training steps and inference of whole networks; elements are images.

use cnn_cpu::Cpu;
use cnn_measure::networks::{Inference, Training};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn step(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::new().expect("a CPU");
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for (name, batch) in [("resnet18", 16), ("stepwise", 64), ("small", 64)] {
        group.throughput(Throughput::Elements(batch as u64));
        let mut training = Training::new(&cpu, name, batch).expect("a network");
        group.bench_function(format!("{name} train, batch {batch}"), |bencher| {
            bencher.iter(|| training.step().expect("the step runs"));
        });
        let mut inference = Inference::new(&cpu, name, batch).expect("a network");
        group.bench_function(format!("{name} infer, batch {batch}"), |bencher| {
            bencher.iter(|| inference.run().expect("the pass runs"));
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
