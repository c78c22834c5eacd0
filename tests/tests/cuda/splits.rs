//! Passes of few blocks share their long sums among more of them.

use cnn_core::backend::{Backend, Epilogue, Gradient, Inference, Input, Uses};
use cnn_core::{Conv2dOptions, Conv2dSpec, Device};
use cnn_cuda::{Cuda, CudaElement, Tile};
use half::bf16;

use crate::device::{by_warps, own_products};

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

/// The gradient of a weight over so many pixels that each part has eight steps: stages and tables are used again and again. Of
/// whole numbers, whose sum is exact.
fn many_steps<T: CudaElement>(cuda: Option<Cuda<T>>, stride: usize, kernel: &str) {
    let Some(cuda) = cuda else { return };
    let ([images, rows, columns], [channels, filters]) = ([4, 24, 40], [16, 24]);
    let options = Conv2dOptions::square(3).stride(stride).padding(1);
    let spec = Conv2dSpec::new([images, rows, columns, channels], filters, &options).unwrap();
    let numbers = |count: usize, by: usize| (0..count).map(|i| (i * by % 5) as f32 - 2.0).collect::<Vec<_>>();
    let [out_rows, out_columns] = spec.output;
    let (x, dy) =
        (numbers(images * rows * columns * channels, 3), numbers(images * out_rows * out_columns * filters, 7));
    let mut expected = vec![0.0f32; 9 * channels * filters];
    for pixel in 0..images * out_rows * out_columns {
        let (image, row, column) =
            (pixel / (out_rows * out_columns), pixel / out_columns % out_rows, pixel % out_columns);
        for tap in 0..9 {
            let (r, c) = (row * stride + tap / 3, column * stride + tap % 3);
            if !(1..=rows).contains(&r) || !(1..=columns).contains(&c) {
                continue;
            }
            let from = ((image * rows + r - 1) * columns + c - 1) * channels;
            for (channel, x) in x[from..][..channels].iter().enumerate() {
                let to = &mut expected[(tap * channels + channel) * filters..][..filters];
                to.iter_mut().zip(&dy[pixel * filters..]).for_each(|(sum, dy)| *sum += x * dy);
            }
        }
    }
    let narrow = |numbers: &[f32]| cuda.narrow(&cuda.upload(numbers).unwrap()).unwrap();
    let dw = cuda.conv2d_backward_weight(&spec, &Gradient::Plain(narrow(&dy)), &Input::Plain(narrow(&x))).unwrap();
    assert_eq!(cuda.download(&dw).unwrap(), expected, "{kernel}");
    assert!(cuda.kernels().contains(&kernel), "{kernel}: {:?}", cuda.kernels());
}

#[test]
fn a_weight_whose_parts_have_many_steps() {
    for (tile, kernel) in
        [(Tile::Large, "weight_large"), (Tile::Narrow, "weight_narrow"), (Tile::Small, "weight_small")]
    {
        many_steps(own_products::<bf16>(Some(tile)), 2, kernel);
        many_steps(by_warps(Some(tile)), 2, kernel);
    }
    many_steps(own_products::<f32>(Some(Tile::Small)), 2, "weight_small");
    many_steps(own_products::<bf16>(Some(Tile::Halo)), 1, "halo_weight");
    many_steps(by_warps(Some(Tile::Halo)), 1, "halo_weight");
}
