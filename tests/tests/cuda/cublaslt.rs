//! Products of cuBLASLt beside the crate's own, and what a device does where the library has none.

use cnn_core::backend::{Activation, Epilogue, Gradient, Input, LinearSpec, Uses};
use cnn_core::{Backend, Conv2dOptions, Conv2dSpec, Device, Inference};
use cnn_cuda::{Cuda, CudaElement, baseline};
use half::bf16;

use crate::device::{again, cuda, own_products};

/// A device with cuBLASLt.
fn with_cublaslt<T: CudaElement>() -> Option<Cuda<T>> {
    let cuda = cuda()?;
    if cuda.cublaslt_version().is_none() {
        println!("SKIPPED: no cuBLASLt");
        return None;
    }
    Some(cuda)
}

/// Numbers whose sums are exact in any order.
fn integers(count: usize) -> impl Iterator<Item = f32> {
    (0..count).map(|i| ((i * 7919) % 13) as f32 - 6.0)
}

fn same_convolutions<T: CudaElement>() {
    let Some(cuda) = with_cublaslt::<T>() else { return };
    let data = |len| cuda.upload(&integers(len).map(T::from_accum).collect::<Vec<_>>()).unwrap();
    let options = Conv2dOptions::square(1);
    for ([n, side, c], k) in [([2, 5, 24], 40), ([1, 8, 64], 128), ([3, 2, 3], 5), ([1, 1, 1], 1), ([4, 7, 130], 9)] {
        let spec = Conv2dSpec::new([n, side, side, c], k, &options).unwrap();
        let (x, dy) = (data(n * side * side * c), data(n * side * side * k));
        let weight = cuda.upload(&integers(c * k).collect::<Vec<_>>()).unwrap();
        let filter = cuda.prepare_filter(&spec, &weight, Uses::Training).unwrap();
        let (input, gradient) = (Input::Plain(x.clone()), Gradient::Plain(dy.clone()));
        let read = |buffer| cuda.download(&buffer).unwrap();

        let y = cuda.conv2d(&spec, &input, &filter, Epilogue::bias(None)).unwrap();
        assert_eq!(read(baseline::conv2d(&cuda, &spec, &x, &filter).unwrap()), read(y), "{spec:?}");
        let dx = cuda.conv2d_backward_data(&spec, &gradient, &filter, None).unwrap();
        assert_eq!(read(baseline::conv2d_backward_data(&cuda, &spec, &dy, &filter).unwrap()), read(dx), "{spec:?}");
        let (theirs, ours) = (
            baseline::conv2d_backward_weight(&cuda, &spec, &dy, &x).unwrap(),
            cuda.conv2d_backward_weight(&spec, &gradient, &input).unwrap(),
        );
        assert_eq!(cuda.download(&theirs).unwrap(), cuda.download(&ours).unwrap(), "{spec:?}");
    }
}

#[test]
fn a_1x1_convolution_is_a_product() {
    same_convolutions::<f32>();
    same_convolutions::<bf16>();
}

#[test]
fn other_convolutions_are_none() {
    let Some(cuda) = with_cublaslt::<f32>() else { return };
    let padded = Conv2dOptions::square(1).padding(1);
    for options in [Conv2dOptions::square(3), Conv2dOptions::square(1).stride(2), padded] {
        let spec = Conv2dSpec::new([1, 8, 8, 4], 4, &options).unwrap();
        let weight = cuda.upload(&vec![1.0f32; spec.weight_shape().iter().product()]).unwrap();
        let filter = cuda.prepare_filter(&spec, &weight, Uses::Forward).unwrap();
        let x = cuda.upload(&vec![1.0f32; 256]).unwrap();
        let error = baseline::conv2d(&cuda, &spec, &x, &filter).unwrap_err().to_string();
        assert!(error.contains("must be 1x1"), "{error}");
    }
}

fn nan_passes_relu<T: CudaElement>(cuda: Option<Cuda<T>>) {
    let Some(cuda) = cuda else { return };
    let spec = LinearSpec { rows: 2, inputs: 8, outputs: 16 };
    let values = (0..16).map(|i| T::from_accum(if i == 3 { f32::NAN } else { -1.0 }));
    let x = cuda.upload(&values.collect::<Vec<_>>()).unwrap();
    let (weight, bias) = (cuda.upload(&[1.0f32; 128]).unwrap(), cuda.upload(&[0.5f32; 16]).unwrap());
    let epilogue = Epilogue { bias: Some(&bias), residual: None, activation: Some(Activation::Relu) };
    let y = cuda.download(&cuda.linear(&spec, &x, &weight, epilogue).unwrap()).unwrap();
    let is_nan: Vec<bool> = y.iter().map(|&y| y.to_accum().is_nan()).collect();
    assert_eq!(is_nan, [vec![true; 16], vec![false; 16]].concat());
    assert!(y[16..].iter().all(|&y| y.to_accum() == 0.0));
}

#[test]
fn nan_stays_nan_in_a_dense_layer() {
    nan_passes_relu(cuda::<f32>());
    nan_passes_relu(cuda::<bf16>());
    nan_passes_relu(own_products::<bf16>(None));
}

/// Whoever resumes a run is told that its steps were rounded otherwise.
#[test]
fn the_arithmetic_is_another_one() {
    let (Some(theirs), Some(ours)) = (with_cublaslt::<f32>(), own_products::<f32>(None)) else { return };
    assert_ne!(theirs.arithmetic(), ours.arithmetic());
    assert!(theirs.arithmetic().contains("cuBLASLt") && theirs.describe().contains("cuBLASLt"));
    assert!(ours.cublaslt_version().is_none() && !ours.describe().contains("cuBLASLt"));
}

/// One test of this program again, with an emulated cuBLASLt that does what `asked` says.
fn with(asked: &str, test: &str) -> Option<(bool, String)> {
    again(&[test], &[("EMULATOR_CUBLASLT", asked), ("CNN_TEST_CASES", "8")])
}

#[test]
fn sizes_that_it_has_no_algorithm_for_run_on_own_kernels() {
    let Some((passed, said)) = with("no-algorithm", "conformance::on_bf16::linear") else { return };
    assert!(passed, "{said}");
    let Some((passed, said)) = with("no-algorithm", "cublaslt::a_1x1_convolution_is_a_product") else { return };
    assert!(!passed && said.contains("must be sizes that cuBLASLt has an algorithm for"), "{said}");
}

#[test]
fn a_library_that_does_not_start_is_an_error() {
    let Some((passed, said)) = with("does-not-start", "conformance::on_bf16::linear") else { return };
    assert!(!passed && said.contains("libcublasLt.so.13 does not start"), "{said}");
    assert!(said.contains("status 1 (the library was not initialized)"), "{said}");
}
