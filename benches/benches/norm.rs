//! The normalisations of ResNet-18, forward and backward.

use cnn_benches::layers::{NORMS, Normalisation};
use cnn_cpu::Cpu;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 32;

fn norm(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::new().expect("a CPU");
    let mut group = criterion.benchmark_group("norm");
    group.sample_size(20);
    for shape in NORMS {
        let mut norm = Normalisation::new(&cpu, shape, BATCH).expect("a normalisation");
        group.throughput(Throughput::Bytes(norm.bytes() as u64));
        group.bench_function(format!("{} forward", norm.name()), |bencher| {
            bencher.iter(|| norm.forward().expect("the pass runs"));
        });
        group.bench_function(format!("{} backward", norm.name()), |bencher| {
            bencher.iter(|| norm.backward().expect("the pass runs"));
        });
    }
    group.finish();
}

criterion_group!(benches, norm);
criterion_main!(benches);
