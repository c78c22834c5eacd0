//! How fast the passes are: GFLOP/s and percent of the FMA peak, for the layers of ResNet-18 on CIFAR.
//!
//! ```text
//! cargo test --release -p cnn-cpu --lib -- --ignored --nocapture timing
//! ```
//!
//! `CNN_TIMING` chooses batch, threads and instruction sets: `128,2,avx512,avx2`. Every figure is the median of
//! repetitions in processor time, so that a busy machine does not blur it; the peak, a loop of nothing but independent
//! FMAs on the same threads, is measured beside each.

use std::time::{Duration, Instant};

use cnn_core::backend::{Backend, Gradient, Input, Uses};
use cnn_core::{Conv2dOptions, Conv2dSpec};

use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};
use crate::{Cpu, Isa};

/// Independent FMAs in twelve registers; returns how many multiplications there were.
struct Peak(usize);

impl Kernel for Peak {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f64 {
        let splat = |x: f32| V::<f32, S>::splat(simd, std::hint::black_box(x));
        let mut acc = [splat(1.0); 12];
        let (a, b) = (splat(0.999), splat(0.001));
        for _ in 0..self.0 {
            for x in &mut acc {
                *x = x.mul_add(a, b);
            }
        }
        std::hint::black_box(acc.map(|x| x.reduce_sum()));
        (self.0 * 12 * V::<f32, S>::LANES) as f64
    }
}

/// GFLOP/s of all threads together.
fn peak<T: CpuElement>(cpu: &Cpu<T>) -> f64 {
    let start = processor();
    let count = cpu.threads();
    cpu.for_each(count, |_| {
        cpu.run(Peak(400_000));
    });
    let flops = 2.0 * count as f64 * cpu.run(Peak(1)) * 400_000.0;
    flops / (processor() - start) * count as f64 * 1e-9
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Seconds of processor time that all threads together have used: other programs on the machine do not count.
fn processor() -> f64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: the function writes one Time, which is what it is given (64-bit Linux).
    unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.seconds as f64 + time.nanoseconds as f64 * 1e-9
}

/// Median seconds of a pass, and the median peak around it.
fn time(cpu: &Cpu<f32>, mut pass: impl FnMut()) -> (f64, f64) {
    pass();
    let (begin, mut times, mut peaks) = (Instant::now(), Vec::new(), Vec::new());
    while times.len() < 5 || begin.elapsed() < Duration::from_millis(400) && times.len() < 50 {
        peaks.push(peak(cpu));
        let start = processor();
        pass();
        times.push((processor() - start) / cpu.threads() as f64);
    }
    (median(times), median(peaks))
}

#[test]
#[ignore = "takes long and asserts nothing"]
fn timing() {
    let choice = std::env::var("CNN_TIMING").unwrap_or_else(|_| "128,2,avx512,avx2,portable".into());
    let mut choice = choice.split(',');
    let mut number = || choice.next().and_then(|n| n.parse().ok()).expect("batch and threads");
    let (batch, threads): (usize, usize) = (number(), number());
    for isa in choice {
        let cpu = Cpu::<f32>::with_isa(threads, Isa::capped(isa).unwrap()).unwrap();
        println!("{} batch {batch}", cpu.describe());
        println!("{:<22} {:>24} {:>24} {:>24}", "", "forward", "data", "weight");
        let mut total = [0.0; 3];
        for (h, c, k, kernel, stride, times) in [
            (32, 3, 64, 3, 1, 1.0),
            (32, 64, 64, 3, 1, 4.0),
            (32, 64, 128, 3, 2, 1.0),
            (16, 128, 128, 3, 1, 3.0),
            (16, 128, 256, 3, 2, 1.0),
            (8, 256, 256, 3, 1, 3.0),
            (8, 256, 512, 3, 2, 1.0),
            (4, 512, 512, 3, 1, 3.0),
            (32, 64, 128, 1, 2, 1.0),
            (16, 128, 256, 1, 2, 1.0),
            (8, 256, 512, 1, 2, 1.0),
        ] {
            let options = Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
            let spec = Conv2dSpec::new([batch, h, h, c], k, &options).unwrap();
            let fill = |shape: [usize; 4]| cpu.fill(shape.iter().product(), 0.5f32).unwrap();
            let (x, dy) = (Input::Plain(fill(spec.input_shape())), Gradient::Plain(fill(spec.output_shape())));
            let filter = cpu.prepare_filter(&spec, &fill(spec.weight_shape()), Uses::Training).unwrap();
            let passes = [
                time(&cpu, || drop(cpu.conv2d(&spec, &x, &filter, None, true).unwrap())),
                time(&cpu, || drop(cpu.conv2d_backward_data(&spec, &dy, &filter, None).unwrap())),
                time(&cpu, || drop(cpu.conv2d_backward_weight(&spec, &dy, &x).unwrap())),
            ];
            let flops = 2.0 * spec.macs() as f64 * 1e-9;
            let line: Vec<String> = passes
                .iter()
                .enumerate()
                .map(|(i, &(seconds, peak))| {
                    total[i] += times * seconds * 1e3 * f64::from(u8::from(i != 1 || c > 3));
                    let rate = flops / seconds;
                    format!("{:>8.2} ms {rate:>5.0} {:>5.1}%", seconds * 1e3, 100.0 * rate / peak)
                })
                .collect();
            println!(
                "{:<22} {}   peak {:.0}",
                format!("{c}->{k} {h}x{h} k{kernel} s{stride}"),
                line.join("  "),
                passes[0].1
            );
        }
        println!(
            "sum over ResNet-18: {:.0} + {:.0} + {:.0} = {:.0} ms",
            total[0],
            total[1],
            total[2],
            total.iter().sum::<f64>()
        );
    }
}
