//! How much the algorithms of a convolution round, and that how Winograd's schedules its work does not show. That convolutions are
//! right, to the bit on integers and for any number of threads, is in the suite of all backends (`tests`).

mod cases;
mod winograd;

use cnn_core::{Conv2dOptions, Conv2dSpec, Device, Naive};
use cnn_cpu::{ConvAlgorithm, CpuElement, testing};
use half::bf16;

use cases::{Case, OUTPUTS, Random, errors, widened};

/// Real numbers against `Naive<f64>`: the relative error of activations and their gradients, and of all else.
fn rounds_little<T: CpuElement>(of_data: f64, of_wide: f64) {
    let mut random = Random(6);
    for (input, k, stride) in [([4, 16, 16, 64], 64, 1), ([8, 4, 4, 128], 64, 1), ([4, 16, 16, 33], 64, 2)] {
        let options = Conv2dOptions::square(3).padding(1).stride(stride);
        let mut case = Case::<T>::new(&mut random, Conv2dSpec::new(input, k, &options).unwrap());
        case.make_real(&mut random);
        let expected = widened(&case).run(&Naive::<f64>::default());
        for cpu in testing::cpus::<T>(2, ConvAlgorithm::Direct) {
            for (what, error) in OUTPUTS.iter().zip(errors(&case.run(&cpu), &expected)) {
                let bound = if ["y", "dx"].contains(what) { of_data } else { of_wide };
                assert!(error < bound, "{}: {what} is off by {error:.2e}, {:?}", cpu.describe(), case.spec);
            }
        }
    }
}

#[test]
fn real_numbers_are_rounded_little() {
    rounds_little::<f32>(2e-6, 2e-6);
    // A rounding to 8 bits is of at most 2^-9 of a number: of the output, and with products of pairs also of what a
    // normalisation leaves. The moments are those of the rounded output.
    rounds_little::<bf16>(3e-3, 2.5e-3);
}
