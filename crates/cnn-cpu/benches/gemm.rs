//! The dense layers' product on one thread, beside the same product by the crate matrixmultiply.
//!
//! It stands here and not in the package `benches` because matrixmultiply's functions are unsafe to call.

use cnn_core::backend::{Device, Epilogue, Inference, LinearSpec};
use cnn_cpu::Cpu;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Rows, inputs, outputs: the dense layers of the step-by-step network and of ResNet-18, and a square.
const SHAPES: [[usize; 3]; 4] = [[64, 7200, 128], [64, 128, 10], [128, 512, 10], [512, 512, 512]];

/// `c` \[m, n\] = `a` \[m, k\] * `b` \[k, n\].
fn matrixmultiply([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let [row_a, row_b] = [k as isize, n as isize];
    // SAFETY: the lengths asserted above are those of three dense matrices with these strides.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, row_a, 1, b, row_b, 1, 0.0, c, row_b, 1);
    }
}

fn gemm(criterion: &mut Criterion) {
    let cpu = Cpu::<f32>::with_threads(1).expect("a CPU");
    let mut group = criterion.benchmark_group("gemm, one thread");
    for [rows, inputs, outputs] in SHAPES {
        let spec = LinearSpec { rows, inputs, outputs };
        let values = |len: usize| -> Vec<f32> { (0..len).map(|i| (i * 7919 % 251) as f32 / 251.0).collect() };
        let (a, b, mut c) = (values(rows * inputs), values(inputs * outputs), values(rows * outputs));
        let (x, weight) = (cpu.upload(&a).expect("memory"), cpu.upload(&b).expect("memory"));
        let id = |name: &str| BenchmarkId::new(name, format!("{rows}x{inputs}x{outputs}"));
        group.throughput(Throughput::Elements(2 * (rows * inputs * outputs) as u64));
        group.bench_function(id("cnn"), |bencher| {
            bencher.iter(|| cpu.linear(&spec, &x, &weight, Epilogue::bias(None)).expect("the product"));
        });
        group.bench_function(id("matrixmultiply"), |bencher| {
            bencher.iter(|| matrixmultiply([rows, inputs, outputs], &a, &b, &mut c));
        });
    }
    group.finish();
}

criterion_group!(benches, gemm);
criterion_main!(benches);
