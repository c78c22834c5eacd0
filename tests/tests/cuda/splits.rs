//! Passes of few blocks share their long sums among more of them.

use cnn_core::backend::{Backend, Epilogue, Gradient, Inference, Input, Uses};
use cnn_core::{Conv2dOptions, Conv2dSpec, Device};
use cnn_cuda::{CudaElement, Tile};
use half::bf16;

use crate::device::own_products;

/// The convolution of one image of ones with a weight of ones: how many numbers each output saw.
fn of_ones<T: CudaElement>(tile: Option<Tile>) {
    let Some(cuda) = own_products::<T>(tile) else { return };
    let spec = Conv2dSpec::new([1, 4, 4, 128], 64, &Conv2dOptions::square(3).padding(1)).unwrap();
    let ones = |count: usize| cuda.fill(count, 1.0f32).unwrap();
    let filter = cuda.prepare_filter(&spec, &ones(9 * 128 * 64), Uses::Forward).unwrap();
    let x = Input::Plain(cuda.narrow(&ones(4 * 4 * 128)).unwrap());
    let bias = cuda.fill(64, -256.0f32).unwrap();
    let y = cuda.conv2d(&spec, &x, &filter, Epilogue::bias(Some(&bias))).unwrap();
    let y = cuda.download(&cuda.widen(&y).unwrap()).unwrap();
    let side = |at: usize| if at.is_multiple_of(3) { 2 } else { 3 };
    let seen = |pixel: usize| (side(pixel / 4) * side(pixel % 4) * 128 - 256) as f32;
    let expected: Vec<f32> = (0..16).flat_map(|pixel| [seen(pixel); 64]).collect();
    assert_eq!(y, expected);
    assert!(cuda.kernels().contains(&"finish_splits"), "{tile:?}: {:?}", cuda.kernels());
}

#[test]
fn a_single_image_has_its_sums_cut() {
    of_ones::<bf16>(None);
    of_ones::<f32>(None);
}

#[test]
fn in_tiles_of_every_size() {
    for tile in [Tile::Large, Tile::Narrow, Tile::Small] {
        of_ones::<bf16>(Some(tile));
        of_ones::<f32>(Some(tile));
    }
}

/// The gradient of a small weight is a sum of many parts, which the threads of a block share: of whole numbers, whose sum is exact.
#[test]
fn a_small_weight_of_many_parts() {
    for channels in [6, 8, 40] {
        let Some(cuda) = own_products::<f32>(None) else { return };
        let pixels = 20_001;
        let options = Conv2dOptions { groups: channels, ..Conv2dOptions::square(1) };
        let spec = Conv2dSpec::new([1, pixels, 1, channels], channels, &options).unwrap();
        let numbers = |by: usize| (0..pixels * channels).map(|i| (i * by % 7) as f32 - 3.0).collect::<Vec<_>>();
        let (x, dy) = (numbers(3), numbers(5));
        let mut expected = vec![0.0; channels];
        x.iter().zip(&dy).enumerate().for_each(|(i, (x, dy))| expected[i % channels] += x * dy);
        let (x, dy) = (cuda.upload(&x).unwrap(), cuda.upload(&dy).unwrap());
        let dw = cuda.conv2d_backward_weight(&spec, &Gradient::Plain(dy), &Input::Plain(x)).unwrap();
        assert_eq!(cuda.download(&dw).unwrap(), expected);
        let kernel = if channels == 6 { "add_splits_any" } else { "add_splits" };
        assert!(cuda.kernels().contains(&kernel), "{channels}: {:?}", cuda.kernels());
    }
}
