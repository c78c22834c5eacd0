//! Every backend against plain loops, see [`cnn_tests::check`].

use cnn_core::{DType, Naive};
use cnn_cpu::{ConvAlgorithm, Cpu, CpuElement, testing};
use cnn_tests::{Bound, Effort, cases, check, check_all};
use half::bf16;

/// A test for each kind of case, for the groups of backends that `$groups` makes.
macro_rules! suite {
    ($($name:ident: $bound:expr, $groups:expr;)*) => { $(
        mod $name {
            use super::*;

            suite! { @tests $bound, $groups, adaptive_pool2d binary_loss concat conv2d elementwise images layer_norm linear loss memory normalise optimiser pool2d scale_channels statistics }
        }
    )* };
    (@tests $bound:expr, $groups:expr, $($case:ident)*) => { $(
        #[test]
        fn $case() {
            if let Err(error) = check(Effort::ordinary(), $bound, cases::$case(), &$groups) {
                panic!("{}", error);
            }
        }
    )* };
}

/// Every instruction set that this machine has, each with some numbers of threads that must not matter. Convolutions run
/// by the direct algorithm, which is exact on integers; Winograd's is held to its own bounds by the tests beside it.
fn cpus<T: CpuElement>() -> Vec<Vec<Cpu<T>>> {
    let direct = |threads, isa| Cpu::with_algorithm(threads, isa, ConvAlgorithm::Direct).expect("threads");
    let group = |cpu: Cpu<T>| [2, 1, 3, 4, 7].map(|threads| direct(threads, cpu.isa())).to_vec();
    testing::cpus(1, ConvAlgorithm::Direct).into_iter().map(group).collect()
}

/// A test for each list of edges, on all elements.
macro_rules! edges {
    ($($case:ident)*) => {
        mod edges {
            use super::*;

            $(
                #[test]
                fn $case() {
                    let cases = cases::$case();
                    let f32 = check_all(Bound::of(DType::F32), &cases, &cpus::<f32>());
                    let f64 = check_all(Bound::of(DType::F64), &cases, &cpus::<f64>());
                    let bf16 = check_all(Bound::of(DType::BF16), &cases, &cpus::<bf16>());
                    f32.and(f64).and(bf16).unwrap_or_else(|error| panic!("{error}"));
                }
            )*
        }
    };
}

edges! {
    binary_loss_edges concat_edges conv2d_activated conv2d_edges conv2d_stems conv2d_tiles elementwise_edges images_edges layer_norm_edges linear_edges loss_edges normalise_edges optimiser_edges
    pool2d_edges scale_channels_edges special_logits special_rows statistics_edges
}

suite! {
    cpu_f32: Bound::of(DType::F32), cpus::<f32>();
    cpu_f64: Bound::of(DType::F64), cpus::<f64>();
    cpu_bf16: Bound::of(DType::BF16), cpus::<bf16>();
    // The oracle itself, narrower: its sums are single long chains, which round more than those of a real backend.
    naive_f32: Bound(5e-5), [vec![Naive::<f32>::new()]];
    naive_bf16: Bound::of(DType::BF16), [vec![Naive::<bf16>::new()]];
}

/// Specs cost nothing to make, and there are many ways to be wrong.
fn many() -> Effort {
    Effort { cases: 100 * Effort::ordinary().cases, ..Effort::ordinary() }
}

#[test]
fn conv2d_specs() {
    many().run(cases::specs::conv2d(), cases::specs::check_conv2d).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn pool2d_specs() {
    many().run(cases::specs::pool2d(), cases::specs::check_pool2d).unwrap_or_else(|error| panic!("{error}"));
}
