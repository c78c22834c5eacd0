//! Products in tf32: only where they were asked for, and rounded as that says.

use cnn_core::backend::{Epilogue, Input, LinearSpec, Uses};
use cnn_core::{Conv2dOptions, Conv2dSpec, Device, Inference};
use cnn_cuda::{Cuda, Options, Tile};
use cnn_tests::{Bound, cases, check_all};
use half::bf16;

use crate::device::{cuda, tf32};

/// Sums of 32 products of `x` and 1, by a dense layer and by a convolution.
fn sums(cuda: &Cuda<f32>, x: f32) -> [f32; 2] {
    let (ones, numbers) = (cuda.upload(&[1.0f32; 32 * 8]).unwrap(), cuda.upload(&[x; 32]).unwrap());
    let none = || Epilogue { bias: None, residual: None, activation: None };
    let dense = cuda.linear(&LinearSpec { rows: 1, inputs: 32, outputs: 8 }, &numbers, &ones, none()).unwrap();
    let spec = Conv2dSpec::new([1, 2, 2, 8], 8, &Conv2dOptions::square(2)).unwrap();
    let filter = cuda.prepare_filter(&spec, &ones, Uses::Forward).unwrap();
    let convolution = cuda.conv2d(&spec, &Input::Plain(numbers), &filter, none()).unwrap();
    [dense, convolution].map(|y| cuda.download(&y).unwrap()[0])
}

#[test]
fn products_are_rounded_only_where_it_was_asked_for() {
    let Some(single) = cuda::<f32>() else { return };
    // The tenth bit is the last that stays; half of it is rounded away from zero.
    let (tenth, twelfth) = (2f32.powi(-10), 2f32.powi(-12));
    for (x, rounded) in [(1.0 + tenth, 1.0 + tenth), (1.0 + twelfth, 1.0), (1.0 + tenth / 2.0, 1.0 + tenth)] {
        assert_eq!(sums(&single, x), [32.0 * x; 2], "{x}");
        for tile in [None, Some(Tile::Small), Some(Tile::Halo), Some(Tile::NarrowHalo)] {
            assert_eq!(sums(&tf32(tile).unwrap(), x), [32.0 * rounded; 2], "{x}, {tile:?}");
        }
    }
}

#[test]
fn a_device_says_that_it_multiplies_in_tf32() {
    let (Some(single), Some(tf32)) = (cuda::<f32>(), tf32(None)) else { return };
    assert!(tf32.describe().ends_with(", products in tf32"), "{}", tf32.describe());
    assert!(!single.describe().contains("tf32"), "{}", single.describe());
    assert_eq!((single.precision(), tf32.precision()), ("f32".to_owned(), "tf32".to_owned()));
    assert!(tf32.arithmetic().ends_with(", products in tf32"), "{}", tf32.arithmetic());
    assert!(!single.arithmetic().contains("tf32"), "{}", single.arithmetic());
    let refused = Cuda::<bf16>::open(&Options::gpu(0).tf32(true)).unwrap_err();
    assert_eq!(refused.to_string(), "tf32 true: must be off for activations in bf16");
}

#[test]
fn edges() {
    let Some(tf32) = tf32(None) else { return };
    let devices = [vec![tf32]];
    check_all(Bound::TF32, &cases::conv2d_edges(), &devices).unwrap_or_else(|error| panic!("{error}"));
    check_all(Bound::TF32, &cases::linear_edges(), &devices).unwrap_or_else(|error| panic!("{error}"));
}
