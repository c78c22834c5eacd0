//! The convolutions of ResNet-18, pass by pass.

use cnn_benches::layers::{CONVOLUTIONS, Convolution, PASSES};
use cnn_cpu::Cpu;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 32;

fn conv2d(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::new().expect("a CPU");
    let mut group = criterion.benchmark_group("conv2d");
    group.sample_size(10);
    for shape in CONVOLUTIONS {
        let convolution = Convolution::new(&cpu, shape, BATCH).expect("a convolution");
        group.throughput(Throughput::Elements(2 * convolution.spec.macs()));
        for (index, pass) in PASSES.iter().enumerate() {
            group.bench_function(format!("{} {pass}", convolution.name()), |bencher| {
                bencher.iter(|| convolution.run(index).expect("the pass runs"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, conv2d);
criterion_main!(benches);
