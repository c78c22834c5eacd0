//! Training steps and inference of whole networks.

use cnn_benches::models::Network;
use cnn_cpu::Cpu;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn step(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::new().expect("a CPU");
    let mut group = criterion.benchmark_group("step");
    group.sample_size(10);
    for (name, batch) in [("resnet18", 16), ("stepwise", 64), ("small", 64)] {
        let mut network = Network::new(&cpu, name, batch).expect("a network");
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("{name} train, batch {batch}"), |bencher| {
            bencher.iter(|| network.step().expect("the step runs"));
        });
        group.bench_function(format!("{name} infer, batch {batch}"), |bencher| {
            bencher.iter(|| network.infer().expect("the pass runs"));
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
