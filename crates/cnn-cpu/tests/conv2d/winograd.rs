//! Winograd's algorithm against [`Naive`] in f64, for every instruction set of this CPU: its transforms are not exact, so
//! the bounds are on the relative error, but in f64 they are far below any fault of indexing.

use cnn_core::{Conv2dOptions, Conv2dSpec, Device, Inference, Naive, Padding};
use half::bf16;

use cnn_cpu::testing::cpus as backends;
use cnn_cpu::{ConvAlgorithm, CpuElement};

use crate::cases::{Case, OUTPUTS, Random, cases, errors, moments_of, widened};

/// A convolution that the algorithm can compute.
fn spec(random: &mut Random) -> Conv2dSpec {
    let sizes = [1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65];
    loop {
        let (c, k) = (random.of(&sizes), random.of(&sizes));
        let mut side = || random.of(&[0, 1, 1, 1, 2, 3]);
        let mut padding = Padding { top: side(), left: side(), bottom: side(), right: side() };
        let stride = random.of(&[1, 1, 2]);
        if stride == 2 {
            (padding.top, padding.left) = (padding.top | 1, padding.left | 1);
        }
        let input = [1 + random.below(6), 1 + random.below(19), 1 + random.below(19), c];
        let spec = Conv2dSpec::new(input, k, &Conv2dOptions::square(3).stride(stride).padding(padding));
        if let Some(spec) = spec.ok().filter(|spec| spec.macs() < 3_000_000) {
            return spec;
        }
    }
}

/// Bounds of y, mean, variance, dx, dw (TESTING: 4e-6, and 2e-5 for the weight). A mean may be near 0.
const SINGLE: [f64; 5] = [4e-6, 1e-4, 1e-5, 4e-6, 2e-5];
/// On operands that are bf16 already: y and dx are rounded once, when they are stored.
const HALF: [f64; 5] = [6e-3, 1e-4, 1e-5, 6e-3, 2e-5];
const DOUBLE: [f64; 5] = [1e-14, 1e-12, 1e-13, 1e-14, 1e-13];

#[test]
fn random_convolutions_in_f64() {
    let mut random = Random(11);
    for _ in 0..cases(96) {
        let spec = spec(&mut random);
        let mut case = Case::<f64>::new(&mut random, spec);
        case.make_real(&mut random);
        let expected = case.run(&Naive::<f64>::default());
        for cpu in backends::<f64>(2, ConvAlgorithm::Winograd) {
            let errors = errors(&case.run(&cpu), &expected);
            for (i, what) in OUTPUTS.iter().enumerate() {
                assert!(errors[i] < DOUBLE[i], "{}: {what} is off by {:.2e}, {spec:?}", cpu.describe(), errors[i]);
            }
        }
    }
}

fn both_schedules<T: CpuElement>(bounds: [f64; 5]) {
    let mut random = Random(12);
    for (input, k, stride) in [
        ([2, 16, 16, 64], 64, 1),
        ([3, 9, 7, 33], 65, 1),
        ([1, 6, 5, 320], 352, 1), // too large to transform its weight at once
        ([70, 4, 4, 32], 48, 1),
        ([33, 2, 3, 320], 330, 1), // several stages
        ([120, 8, 8, 8], 256, 1),  // the last blocks halved
        ([2, 12, 12, 3], 5, 1),
        ([2, 32, 32, 32], 48, 2),
        ([3, 15, 18, 33], 65, 2),
        ([1, 11, 6, 320], 352, 2),
        ([70, 8, 8, 32], 48, 2),
        ([33, 2, 3, 320], 330, 2),
        ([2, 12, 12, 3], 5, 2),
    ] {
        let spec = Conv2dSpec::new(input, k, &Conv2dOptions::square(3).stride(stride).padding(1)).unwrap();
        let mut case = Case::<T>::new(&mut random, spec);
        case.make_real(&mut random);
        let mut expected = widened(&case).run(&Naive::<f64>::default());
        for cpu in backends::<T>(2, ConvAlgorithm::Winograd) {
            let got = case.run(&cpu);
            [expected[1], expected[2]] = moments_of(&got[0], k); // of what was stored
            let errors = errors(&got, &expected);
            for (i, what) in OUTPUTS.iter().enumerate() {
                assert!(errors[i] < bounds[i], "{}: {what} is off by {:.2e}, {spec:?}", cpu.describe(), errors[i]);
            }
        }
    }
}

#[test]
fn both_schedules_in_f32() {
    both_schedules::<f32>(SINGLE);
}

#[test]
fn both_schedules_in_bf16() {
    both_schedules::<bf16>(HALF);
}

/// The bounds tell a fault from rounding: with one of nine taps a thousandth off, in the oracle alone, each pass is out.
#[test]
fn a_small_fault_is_out_of_bounds() {
    let mut random = Random(15);
    for stride in [1, 2] {
        let options = Conv2dOptions::square(3).stride(stride).padding(1);
        let spec = Conv2dSpec::new([3, 9, 7, 20], 12, &options).unwrap();
        let mut case = Case::<f64>::new(&mut random, spec);
        case.make_real(&mut random);
        let got: Vec<_> = backends::<f64>(2, ConvAlgorithm::Winograd).iter().map(|cpu| case.run(cpu)).collect();
        let tap = 20 * 12;
        case.weight[4 * tap..5 * tap].iter_mut().for_each(|w| *w *= 1.001);
        case.dy[..12].iter_mut().for_each(|dy| *dy += 1e-3);
        let expected = case.run(&Naive::<f64>::default());
        for got in got {
            for (i, error) in errors(&got, &expected).into_iter().enumerate() {
                assert!(error > DOUBLE[i], "{} is off by only {error:.2e}", OUTPUTS[i]);
            }
        }
    }
}

#[test]
fn a_filter_that_is_ready_gives_the_same_bits() {
    use cnn_core::backend::{Epilogue, Input, Uses};
    let mut random = Random(13);
    // Transformed ahead, and only packed.
    for (stride, input, k) in [(1, [2, 8, 8, 33], 40), (2, [2, 8, 8, 33], 40), (1, [1, 5, 6, 321], 338)] {
        let options = Conv2dOptions::square(3).stride(stride).padding(1);
        let spec = Conv2dSpec::new(input, k, &options).unwrap();
        let mut case = Case::<f32>::new(&mut random, spec);
        case.make_real(&mut random);
        for cpu in backends::<f32>(2, ConvAlgorithm::Winograd) {
            let (x, weight) = (cpu.upload(&case.x).unwrap(), cpu.upload(&case.weight).unwrap());
            let [ready, not] = [Uses::Forward, Uses::Training].map(|uses| {
                let filter = cpu.prepare_filter(&spec, &weight, uses).unwrap();
                let y = cpu.conv2d(&spec, &Input::Plain(x.clone()), &filter, Epilogue::bias(None)).unwrap();
                cpu.download(&y).unwrap()
            });
            assert!(ready == not, "{}", cpu.describe());
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mut random = Random(14);
    for (input, k, stride) in [
        ([5, 13, 11, 17], 33, 1),
        ([40, 4, 4, 64], 64, 1),
        ([3, 8, 8, 320], 330, 1),
        ([5, 27, 19, 17], 33, 2),
        ([3, 16, 16, 320], 330, 2),
    ] {
        let spec = Conv2dSpec::new(input, k, &Conv2dOptions::square(3).stride(stride).padding(1)).unwrap();
        let mut case = Case::<f32>::new(&mut random, spec);
        case.make_real(&mut random);
        for i in 0..backends::<f32>(1, ConvAlgorithm::Winograd).len() {
            let bits = |threads: usize| {
                let cpu = &backends::<f32>(threads, ConvAlgorithm::Winograd)[i];
                case.run(cpu).map(|v| v.into_iter().map(f64::to_bits).collect::<Vec<_>>())
            };
            let one = bits(1);
            for threads in [2, 3, 4, 7, 16] {
                assert!(bits(threads) == one, "{threads} threads, {spec:?}");
            }
        }
    }
}

/// The smallest layers that `auto` takes it for, which its own test names.
#[test]
fn what_auto_takes_it_for_is_rounded_little() {
    let mut random = Random(16);
    for (input, k, stride) in [([1, 16, 16, 32], 32, 1), ([4, 8, 8, 32], 40, 1), ([2, 32, 32, 33], 32, 2)] {
        let spec = Conv2dSpec::new(input, k, &Conv2dOptions::square(3).stride(stride).padding(1)).unwrap();
        let mut case = Case::<f32>::new(&mut random, spec);
        case.make_real(&mut random);
        let mut expected = widened(&case).run(&Naive::<f64>::default());
        for cpu in backends::<f32>(2, ConvAlgorithm::Auto) {
            let got = case.run(&cpu);
            [expected[1], expected[2]] = moments_of(&got[0], k);
            for (i, error) in errors(&got, &expected).into_iter().enumerate() {
                assert!(error < SINGLE[i], "{}: {} is off by {error:.2e}, {spec:?}", cpu.describe(), OUTPUTS[i]);
            }
        }
    }
}
