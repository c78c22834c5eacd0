//! Every operation answers an error wherever memory runs out, and the next one runs again.

use std::collections::BTreeSet;
use std::sync::Mutex;

use cnn_core::backend::*;
use cnn_core::image::{Border, ImageSpec, Mix, SampleView};
use cnn_core::{
    AdaptivePool2dSpec, BatchNormSpec, Conv2dOptions, Conv2dSpec, DropoutSpec, Error, LayerNormSpec, Pool2dOptions,
    Pool2dSpec, Result,
};
use half::bf16;

use cnn_cpu::{Buffer, ConvAlgorithm, Cpu, CpuElement, Isa, testing};

/// The operations that ran out of memory so far.
static TRIED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Runs `body` with its allocations failing from the first on, from the second on, ..., until none fails. `what` begins
/// with the operation's name.
#[track_caller]
fn errs<T: CpuElement, R>(cpu: &Cpu<T>, what: &str, mut body: impl FnMut() -> Result<R>) {
    TRIED.lock().unwrap().extend(what.split(' ').next().map(str::to_owned));
    for n in 0..100 {
        testing::fail_from(cpu, Some(n));
        let result = body();
        testing::fail_from(cpu, None);
        match result {
            Ok(_) if n > 0 => return,
            Ok(_) => panic!("{what} asks for no memory"),
            Err(Error::OutOfMemory { backend: "cpu", bytes, .. }) => assert!(bytes < 1 << 30, "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    panic!("{what} never succeeds");
}

fn ones<T: CpuElement>(cpu: &Cpu<T>, len: usize) -> Buffer<T> {
    cpu.fill(len, T::from_accum(num_traits::One::one())).unwrap()
}

fn wide<T: CpuElement>(cpu: &Cpu<T>, len: usize) -> Buffer<T::Accum> {
    cpu.fill(len, num_traits::One::one()).unwrap()
}

fn convolutions<T: CpuElement>(cpu: &Cpu<T>) {
    let square = |n| Conv2dOptions::square(n).padding(n / 2);
    for (input, k, options) in [
        ([2, 9, 9, 16], 32, square(3)),
        ([1, 9, 9, 16], 16, square(3).groups(16)),
        ([8, 16, 16, 64], 64, square(3)),
        ([2, 16, 16, 64], 64, square(3).stride(2)),
        ([4, 8, 8, 352], 320, square(3)), // by stages
        ([2, 9, 9, 3], 8, square(3)),
    ] {
        let spec = Conv2dSpec::new(input, k, &options).unwrap();
        let numel = |shape: [usize; 4]| shape.iter().product::<usize>();
        let weight = wide(cpu, numel(spec.weight_shape()));
        let what = |name| format!("{name} of {input:?} on {cpu:?}");
        if k != 16 {
            errs(cpu, &what("prepare_filter"), || cpu.prepare_filter(&spec, &weight, Uses::Forward));
        }
        let filter = cpu.prepare_filter(&spec, &weight, Uses::Training).unwrap();
        let x = Input::Plain(ones(cpu, numel(spec.input_shape())));
        let dy = Gradient::Plain(ones(cpu, numel(spec.output_shape())));
        let epilogue = Epilogue::bias(None);
        errs(cpu, &what("conv2d_moments"), || cpu.conv2d_moments(&spec, &x, &filter, epilogue));
        // An activation that the kernels do not know is applied after them.
        let late = Epilogue { activation: Some(Activation::Gelu), ..epilogue };
        errs(cpu, &what("conv2d"), || cpu.conv2d(&spec, &x, &filter, late));
        errs(cpu, &what("conv2d_backward_data"), || cpu.conv2d_backward_data(&spec, &dy, &filter, None));
        errs(cpu, &what("conv2d_backward_weight"), || cpu.conv2d_backward_weight(&spec, &dy, &x));
    }
}

fn others<T: CpuElement>(cpu: &Cpu<T>) {
    let data = |len| ones(cpu, len);
    for rows in [3, 70] {
        let spec = LinearSpec { rows, inputs: 40, outputs: 50 };
        let (x, w, dy) = (data(rows * 40), wide(cpu, 2000), data(rows * 50));
        errs(cpu, "linear", || cpu.linear(&spec, &x, &w, Epilogue::bias(None)));
        errs(cpu, "linear_backward_data", || cpu.linear_backward_data(&spec, &dy, &w));
        errs(cpu, "linear_backward_weight", || cpu.linear_backward_weight(&spec, &dy, &x));
    }
    let x = &data(96);
    let shared = || x.clone(); // a copy is made
    errs(cpu, "upload", || cpu.upload(&[1u8; 9]));
    errs(cpu, "fill", || cpu.fill(9, 1u8));
    errs(cpu, "widen", || cpu.widen(x));
    let nine = wide(cpu, 9);
    errs(cpu, "narrow", || cpu.narrow(&nine));
    let (image, bytes) = (ImageSpec::new([4, 4, 3], Border::Zero, &[0.0; 3], &[1.0; 3]), cpu.fill(96, 1u8).unwrap());
    errs(cpu, "load_images", || cpu.load_images(&image, &bytes, &[0, 1].map(SampleView::plain)));
    errs(cpu, "activate", || cpu.activate(Activation::Relu, shared()));
    errs(cpu, "activate_backward", || cpu.activate_backward(Activation::Relu, x, shared()));
    let (norm, three) = (LayerNormSpec { channels: 3, eps: 1e-5 }, wide(cpu, 3));
    errs(cpu, "layer_norm", || cpu.layer_norm(&norm, x, Affine { gamma: &three, beta: &three }));
    errs(cpu, "layer_norm_backward", || cpu.layer_norm_backward(&norm, shared(), x, &three));
    let (scale, factors) = (ScaleSpec { batch: 2, pixels: 16, channels: 3 }, data(6));
    errs(cpu, "scale_channels", || cpu.scale_channels(&scale, shared(), &factors));
    errs(cpu, "scale_channels_backward", || cpu.scale_channels_backward(&scale, shared(), x, &factors));
    let slice = SliceSpec::new(6, 1..3).unwrap();
    errs(cpu, "concat", || cpu.concat(&[(x, 6), (x, 6)]));
    errs(cpu, "slice_channels", || cpu.slice_channels(&slice, x));
    errs(cpu, "slice_channels_backward", || cpu.slice_channels_backward(&slice, x));
    errs(cpu, "shuffle_channels", || cpu.shuffle_channels(x, 6, 2));
    errs(cpu, "add", || cpu.add(shared(), x));
    errs(cpu, "softmax", || cpu.softmax(x, 6));
    errs(cpu, "softmax_backward", || cpu.softmax_backward(x, shared(), 6));
    let labels = cpu.fill(16, 1u32).unwrap();
    let spec = CrossEntropySpec::new(6, 0.1);
    errs(cpu, "cross_entropy", || cpu.cross_entropy(&spec, x, &labels, None));
    let targets = wide(cpu, 96);
    errs(cpu, "binary_cross_entropy", || cpu.binary_cross_entropy(6, x, &targets, None));
    let mix = Mix { size: [4, 4, 3], own: 0.5, patch: [0; 4] };
    errs(cpu, "mix_images", || cpu.mix_images(&mix, x));
    errs(cpu, "sum_rows", || cpu.sum_rows(x, 6));
    let mask = cnn_core::rng::Philox::new(0, cnn_core::rng::Purpose::Test, 0, 0);
    errs(cpu, "dropout", || cpu.dropout(shared(), &DropoutSpec::elements(0.5), &mask));
    let pool = Pool2dSpec::new([2, 4, 4, 3], &Pool2dOptions::square(2)).unwrap();
    errs(cpu, "max_pool2d", || cpu.max_pool2d(&pool, x));
    errs(cpu, "avg_pool2d", || cpu.avg_pool2d(&pool, x));
    let adaptive = AdaptivePool2dSpec::new([2, 4, 4, 3], [3, 3]).unwrap();
    errs(cpu, "adaptive_avg_pool2d", || cpu.adaptive_avg_pool2d(&adaptive, x));
    let of_nine = data(54);
    errs(cpu, "adaptive_avg_pool2d_backward", || cpu.adaptive_avg_pool2d_backward(&adaptive, &of_nine));
    let (dy, indices) = (data(24), cpu.fill(24, 1u32).unwrap());
    errs(cpu, "max_pool2d_backward", || cpu.max_pool2d_backward(&pool, &dy, &indices));
    errs(cpu, "avg_pool2d_backward", || cpu.avg_pool2d_backward(&pool, &dy));

    let spec = BatchNormSpec { rows: 16, channels: 6, eps: 1e-5 };
    errs(cpu, "channel_moments", || cpu.channel_moments(x, &spec));
    let list = wide(cpu, 6);
    let affine = || Affine { gamma: &list, beta: &list };
    errs(cpu, "batch_norm_eval", || cpu.batch_norm_eval(&spec, affine(), &list, &list));
    let stats = cpu.batch_norm_eval(&spec, affine(), &list, &list).unwrap();
    let (scale, shift) = (stats.scale.clone(), stats.shift.clone());
    let norm = Norm::<Cpu<T>> { x: x.clone(), scale, shift, channels: 6, rectifier: Rectifier::Relu };
    errs(cpu, "normalise", || cpu.normalise(&norm, None));
    errs(cpu, "batch_norm_backward", || cpu.batch_norm_backward(&spec, shared(), &norm, &stats, Some(x), true));
    let gradient = || NormGradient::<Cpu<T>> {
        dy: x.clone(),
        x: x.clone(),
        dy_scale: list.clone(),
        x_scale: list.clone(),
        shift: list.clone(),
        mask: None,
        channels: 6,
    };
    errs(cpu, "normalise_backward", || cpu.normalise_backward(gradient()));
    // bf16 is not rounded once more: what reads the gradient computes it.
    if let Ok(Gradient::Plain(_)) = cpu.shared_gradient(gradient()) {
        errs(cpu, "shared_gradient", || cpu.shared_gradient(gradient()));
    }
    let moments = cpu.channel_moments(x, &spec).unwrap();
    errs(cpu, "batch_norm_train", || {
        let (mut mean, mut variance) = (list.clone(), list.clone());
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 0.1 };
        cpu.batch_norm_train(&spec, &moments, affine(), running)
    });
    errs(cpu, "blend", || cpu.blend(&mut list.clone(), 0.5, &list, 0.5));
    errs(cpu, "gradient_health", || cpu.gradient_health(Some(&list), &[&list], f64::INFINITY));
    optimisers(cpu);
}

fn optimisers<T: CpuElement>(cpu: &Cpu<T>) {
    let list = wide(cpu, 6);
    let health = cpu.gradient_health(Some(&list), &[&list], f64::INFINITY).unwrap();
    let (lr_scale, weight_decay, max_norm) = (1.0, 0.0, f64::INFINITY);
    errs(cpu, "sgd", || {
        let (mut value, mut velocity) = (list.clone(), list.clone());
        let step = SgdStep { lr: 0.1, momentum: 0.9, nesterov: true, max_norm };
        let (value, velocity) = (&mut value, &mut velocity);
        cpu.sgd(&step, &mut [SgdParam { value, gradient: &list, velocity, lr_scale, weight_decay }], &health)
    });
    let counted = cpu.fill(1, 0u32).unwrap();
    errs(cpu, "adam", || {
        let [mut value, mut m, mut v] = [list.clone(), list.clone(), list.clone()];
        let mut steps = counted.clone();
        let step = AdamStep { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, decoupled: true, max_norm };
        let (value, m, v, steps) = (&mut value, &mut m, &mut v, &mut steps);
        let parameter = AdamParam { value, gradient: &list, m, v, steps, lr_scale, weight_decay };
        cpu.adam(&step, &mut [parameter], &health)
    });
}

#[test]
fn of_every_operation() {
    let isa = Isa::detect().unwrap();
    for threads in [1, 3] {
        let cpu = Cpu::<f32>::with_algorithm(threads, isa, ConvAlgorithm::Auto).unwrap();
        convolutions(&cpu);
        others(&cpu);
        let cpu = Cpu::<bf16>::with_algorithm(threads, isa, ConvAlgorithm::Auto).unwrap();
        convolutions(&cpu);
        others(&cpu);
    }
    let tried = TRIED.lock().unwrap();
    let untried = testing::OPERATIONS.iter().filter(|name| !tried.contains(**name));
    assert_eq!(untried.collect::<Vec<_>>(), [&"filter_serves"], "this one asks for no memory");
}
