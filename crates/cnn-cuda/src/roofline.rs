//! What the GPU does at most, measured: the limits that kernels are held against.

use std::time::{Duration, Instant};

use cnn_core::Result;

use crate::buffer::Buffer;
use crate::compiler::{Precision, Source, source};
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::THREADS;

pub(crate) const SOURCE: Source = source!("roofline");

/// Turns of the loop in one launch: twice as many, from the least on, until a launch is long beside its begin and end.
const LEAST_TURNS: usize = 1 << 4;
const MOST_TURNS: usize = 1 << 12;
const LONG: Duration = Duration::from_millis(1);
/// Blocks on each multiprocessor.
const BLOCKS: usize = 8;
/// Bytes of an array of the triad, by those of the largest cache: more than that holds.
const TRIAD: usize = 4;

/// GFLOP/s of nothing but multiply-adds, measured for about `seconds`; in bf16 and tf32 on tensor cores by `mma.sync`, which a
/// GPU with instructions of its own generation (Hopper's `wgmma`) can pass. A multiply-add counts as two.
///
/// # Errors
/// What the driver says.
pub fn fma_peak<T: CudaElement>(cuda: &Cuda<T>, seconds: f64) -> Result<f64> {
    let blocks = BLOCKS * cuda.context().about().multiprocessors.max(1);
    let sums: Buffer<f32> = cuda.alloc(blocks * THREADS)?;
    let (of_a_warp, start) = match cuda.numbers() {
        Precision::Bf16 => (8 * 16 * 16 * 8, 0x3f80_3f80),
        Precision::Tf32 => (8 * 16 * 8 * 8, 0.5f32.to_bits()),
        Precision::F32 => (64 * 32, 0.5f32.to_bits()),
    };
    let launch = |turns: usize| {
        let launch = cuda.kernel(SOURCE, "multiply_adds")?.buffer(&sums).value(start).value(turns as i32);
        // SAFETY: there is a sum for each thread.
        unsafe { launch.on([blocks, 1, 1], THREADS) }
    };
    let mut turns = LEAST_TURNS;
    launch(turns)?; // the first one waits for the compiler
    cuda.synchronise()?;
    while turns < MOST_TURNS {
        let begun = Instant::now();
        launch(turns)?;
        cuda.synchronise()?;
        if begun.elapsed() >= LONG {
            break;
        }
        turns *= 2;
    }
    let launches = per_second(cuda, seconds, || launch(turns))?;
    Ok(launches * 2e-9 * (blocks * THREADS / 32 * turns * of_a_warp) as f64)
}

/// GB/s of the triad `a = b + 3 c` over arrays that no cache holds, measured for about `seconds`.
///
/// # Errors
/// No memory for the arrays, or what the driver says.
pub fn memory_bandwidth<T: CudaElement>(cuda: &Cuda<T>, seconds: f64) -> Result<f64> {
    let count = TRIAD * cuda.context().about().l2_cache.max(1 << 16) / size_of::<f32>();
    let [a, b, c] = [(); 3].map(|()| crate::elementwise::fill(cuda, count, 1.0f32));
    let (a, b, c): (Buffer<f32>, _, _) = (a?, b?, c?);
    let launches = per_second(cuda, seconds, || {
        let chunks = count / 4;
        let launch = cuda.kernel(SOURCE, "triad")?.buffer(&a).buffer(&b).buffer(&c).value(chunks as u64);
        // SAFETY: the three have four numbers for each chunk, and a is this function's own.
        unsafe { launch.over(chunks) }
    })?;
    Ok(launches * 1e-9 * (3 * count * size_of::<f32>()) as f64)
}

/// How often a second `launch` runs, in the shortest of ever longer rows of it, which fill about `seconds` together.
fn per_second<T: CudaElement>(cuda: &Cuda<T>, seconds: f64, launch: impl Fn() -> Result<()>) -> Result<f64> {
    launch()?;
    cuda.synchronise()?;
    let (begun, mut count, mut best) = (Instant::now(), 1, 0.0f64);
    loop {
        let row = Instant::now();
        (0..count).try_for_each(|_| launch())?;
        cuda.synchronise()?;
        let took = row.elapsed().as_secs_f64();
        best = best.max(f64::from(count) / took);
        if begun.elapsed().as_secs_f64() >= seconds {
            return Ok(best);
        }
        if took < seconds / 8.0 {
            count *= 2;
        }
    }
}
