//! Every kernel of ResNet-18, pass by pass; elements are operations, so that `Gelem/s` reads as GFLOP/s.

use cnn_core::Result;
use cnn_cpu::Cpu;
use cnn_measure::kernels::{self, CONVOLUTIONS, Operands, Visit, Work};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 32;

fn group(criterion: &mut Criterion, name: &str, kernels: impl FnOnce(&Cpu<f32>, Visit<'_>) -> Result<()>) {
    let cpu = Cpu::<f32>::new().expect("a CPU");
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10);
    kernels(&cpu, &mut |kernel| {
        group.throughput(match kernel.work {
            Work::Flops(count) => Throughput::Elements(count),
            Work::Bytes(count) => Throughput::Bytes(count),
        });
        group.bench_function(kernel.name, |bencher| bencher.iter(|| (kernel.run)().expect("the kernel runs")));
        Ok(())
    })
    .expect("the kernels' operands");
    group.finish();
}

fn conv2d(criterion: &mut Criterion) {
    group(criterion, "conv2d", |cpu, visit| kernels::conv2d(cpu, BATCH, &CONVOLUTIONS, Operands::Written, visit));
    group(criterion, "conv2d, fused", |cpu, visit| {
        kernels::conv2d(cpu, BATCH, &CONVOLUTIONS, Operands::Normalised, visit)
    });
}

fn passes(criterion: &mut Criterion) {
    group(criterion, "norm", |cpu, visit| kernels::norm(cpu, BATCH, visit));
    group(criterion, "pool2d", |cpu, visit| kernels::pool2d(cpu, BATCH, visit));
    group(criterion, "linear", |cpu, visit| kernels::linear(cpu, BATCH, visit));
    group(criterion, "optim", |cpu, visit| kernels::optim(cpu, visit));
}

criterion_group!(benches, conv2d, passes);
criterion_main!(benches);
