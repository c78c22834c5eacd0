//! Buffers that do not fit their spec are refused in one line by every method: no panic, no access out of bounds, nothing
//! dropped without a word.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cnn_core::backend::{
    Activation, AdamParam, AdamStep, Affine, Backend, CrossEntropySpec, Device, Epilogue, Gradient, Health, Inference,
    Input, LinearSpec, Moments, Norm, NormGradient, NormMask, NormStats, Rectifier, Running, ScaleSpec, SgdParam,
    SgdStep, SliceSpec, Uses,
};
use cnn_core::image::{Border, ImageSpec, Mix, SampleView};
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{
    AdaptivePool2dSpec, BatchNormSpec, Conv2dOptions, Conv2dSpec, DropoutSpec, LayerNormSpec, Pool2dOptions,
    Pool2dSpec, Result,
};
use cnn_cpu::{Buffer, ConvAlgorithm, Cpu, Isa};

type B = Cpu<f32>;

fn cpu() -> B {
    Cpu::with_threads(2).unwrap()
}

fn ones(b: &B, len: usize) -> Buffer<f32> {
    b.fill(len, 1.0).unwrap()
}

/// Expects an error of one line that says `words`.
#[track_caller]
fn refused<R>(call: impl FnOnce() -> Result<R>, words: &str) {
    match catch_unwind(AssertUnwindSafe(call)) {
        Err(_) => panic!("a panic in place of an error that says {words:?}"),
        Ok(Ok(_)) => panic!("accepted in place of an error that says {words:?}"),
        Ok(Err(error)) => {
            let text = error.to_string();
            assert!(text.contains(words) && !text.contains('\n'), "{text:?} does not say {words:?}");
        }
    }
}

fn conv(input: [usize; 4], out: usize, options: Conv2dOptions) -> Conv2dSpec {
    Conv2dSpec::new(input, out, &options).unwrap()
}

fn square(kernel: usize) -> Conv2dOptions {
    Conv2dOptions::square(kernel).padding(kernel / 2)
}

fn epilogue<'a>() -> Epilogue<'a, B> {
    Epilogue::bias(None)
}

/// A filter for one convolution, handed to another of which every other buffer fits.
#[track_caller]
fn other_filter(b: &B, prepared: Conv2dSpec, spec: Conv2dSpec, words: &str) {
    for uses in [Uses::Forward, Uses::Training] {
        let weight = ones(b, prepared.weight_shape().iter().product());
        let filter = b.prepare_filter(&prepared, &weight, uses).unwrap();
        let x = Input::Plain(ones(b, spec.input_shape().iter().product()));
        refused(|| b.conv2d(&spec, &x, &filter, epilogue()), words);
        let dy = Gradient::Plain(ones(b, spec.output_shape().iter().product()));
        refused(|| b.conv2d_backward_data(&spec, &dy, &filter, None), words);
    }
}

#[test]
fn a_filter_of_another_convolution() {
    let b = &cpu();
    let depthwise = |kernel| conv([2, 9, 9, 16], 16, square(kernel).groups(16));
    other_filter(b, depthwise(3), depthwise(7), "weight");
    other_filter(b, depthwise(7), depthwise(3), "weight");
    let direct = |c, k, groups| conv([2, 9, 9, c], k, square(3).groups(groups));
    other_filter(b, direct(16, 32, 1), direct(32, 16, 1), "weight");
    other_filter(b, direct(16, 16, 2), direct(8, 16, 1), "groups");
    other_filter(b, direct(16, 16, 1), depthwise(3), "weight");
    let large = |options| conv([8, 16, 16, 64], 64, options);
    other_filter(b, large(square(3)), large(square(3).dilation(2)), "dilation");
    other_filter(b, large(square(3)), large(square(3).stride(2)), "stride");
    other_filter(b, large(square(3)), conv([8, 16, 16, 64], 32, square(3)), "weight");
    // A first layer, whose filter is folded unless it is dilated.
    let first = |options| conv([2, 16, 16, 3], 16, options);
    other_filter(b, first(square(3)), first(square(3).dilation(2)), "dilation");
}

#[test]
fn a_filter_of_another_algorithm_or_instruction_set() {
    let spec = conv([2, 9, 9, 16], 16, square(3));
    let on = |isa: &str, algorithm| B::with_algorithm(1, Isa::capped(isa).unwrap(), algorithm).unwrap();
    let all = [on("portable", ConvAlgorithm::Direct), on("portable", ConvAlgorithm::Winograd), cpu()];
    for maker in &all {
        let weight = ones(maker, 9 * 16 * 16);
        let filter = maker.prepare_filter(&spec, &weight, Uses::Training).unwrap();
        for user in &all {
            let x = Input::Plain(ones(user, 2 * 9 * 9 * 16));
            let result = catch_unwind(AssertUnwindSafe(|| user.conv2d(&spec, &x, &filter, epilogue())));
            let fits = maker.isa().to_string() == user.isa().to_string();
            let result = result.expect("no panic");
            assert_eq!(result.is_ok(), fits, "made on {maker:?}, used on {user:?}");
        }
    }
}

/// A number of a spec that was changed after it was checked.
#[test]
fn a_spec_that_was_changed() {
    let b = &cpu();
    let good = conv([2, 9, 9, 16], 16, square(3));
    let filter = b.prepare_filter(&good, &ones(b, 9 * 16 * 16), Uses::Training).unwrap();
    let (x, dy) = (ones(b, 2 * 9 * 9 * 16), ones(b, 2 * 9 * 9 * 16));
    let mut specs = [good; 4];
    specs[0].batch = 1 << 63; // of an even number of elements there are 0 then
    specs[1].output = [10, 9];
    specs[2].padding.left = 5;
    specs[3].groups = 0;
    for spec in &specs {
        let (x, dy) = (Input::Plain(x.clone()), Gradient::Plain(dy.clone()));
        refused(|| b.conv2d(spec, &x, &filter, epilogue()), "");
        refused(|| b.conv2d_moments(spec, &x, &filter, epilogue()), "");
        refused(|| b.conv2d_backward_data(spec, &dy, &filter, None), "");
        refused(|| b.conv2d_backward_weight(spec, &dy, &x), "");
        refused(|| b.prepare_filter(spec, &ones(b, 9 * 16 * 16), Uses::Forward), "");
    }
    let mut pool = Pool2dSpec::new([1, 4, 4, 2], &Pool2dOptions::square(2)).unwrap();
    let (x, y) = (ones(b, 32), ones(b, 8));
    pool.output = [3, 2];
    refused(|| b.max_pool2d(&pool, &x), "");
    refused(|| b.avg_pool2d(&pool, &x), "");
    refused(|| b.max_pool2d_backward(&pool, &y, &b.fill(8, 0u32).unwrap()), "");
    refused(|| b.avg_pool2d_backward(&pool, &y), "");
}

#[test]
fn operands_of_a_convolution() {
    let b = &cpu();
    for (spec, algorithm) in [
        (conv([2, 9, 9, 16], 32, square(3)), "direct"),
        (conv([2, 9, 9, 16], 16, square(3).groups(16)), "depthwise"),
        (conv([8, 16, 16, 64], 64, square(3)), "winograd"),
        (conv([2, 9, 9, 3], 8, square(3)), "folded"),
    ] {
        println!("{algorithm}");
        let numel = |shape: [usize; 4]| shape.iter().product::<usize>();
        let [input, output, weight] = [spec.input_shape(), spec.output_shape(), spec.weight_shape()].map(numel);
        let (c, k) = (spec.in_channels, spec.out_channels);
        refused(|| b.prepare_filter(&spec, &ones(b, weight - 1), Uses::Training), "weight");
        let filter = b.prepare_filter(&spec, &ones(b, weight), Uses::Training).unwrap();
        let norm = |x, scale, shift| {
            let (x, scale, shift) = (ones(b, x), ones(b, scale), ones(b, shift));
            Input::Norm(Norm::<B> { x, scale, shift, channels: c, rectifier: Rectifier::Relu })
        };
        for x in [Input::Plain(ones(b, input - 1)), norm(input + 1, c, c), norm(input, c - 1, c), norm(input, c, c + 1)]
        {
            refused(|| b.conv2d(&spec, &x, &filter, epilogue()), "length");
            refused(|| b.conv2d_backward_weight(&spec, &Gradient::Plain(ones(b, output)), &x), "length");
        }
        let x = Input::Plain(ones(b, input));
        let (bias, residual) = (ones(b, k - 1), ones(b, output + 1));
        let with = |bias, residual| Epilogue { bias, residual, activation: Some(Activation::Relu) };
        refused(|| b.conv2d(&spec, &x, &filter, with(Some(&bias), None)), "length of the bias");
        refused(|| b.conv2d(&spec, &x, &filter, with(None, Some(&residual))), "length of the residual");
        let gradient = |dy, x, lens: [usize; 5]| {
            let [dy_scale, x_scale, shift, mask_scale, mask_shift] = lens.map(|len| ones(b, len));
            let mask = Some(NormMask { scale: mask_scale, shift: mask_shift, rectifier: Rectifier::Relu });
            Gradient::Norm(NormGradient::<B> {
                dy: ones(b, dy),
                x: ones(b, x),
                dy_scale,
                x_scale,
                shift,
                mask,
                channels: k,
            })
        };
        let mut bad = vec![
            Gradient::Plain(ones(b, output + 3)),
            gradient(output - 1, output, [k; 5]),
            gradient(output, output - 1, [k; 5]),
        ];
        bad.extend((0..5).map(|i| {
            let mut lens = [k; 5];
            lens[i] -= 1;
            gradient(output, output, lens)
        }));
        for dy in bad {
            refused(|| b.conv2d_backward_data(&spec, &dy, &filter, None), "length");
            refused(|| b.conv2d_backward_weight(&spec, &dy, &x), "length");
        }
        let dy = Gradient::Plain(ones(b, output));
        refused(|| b.conv2d_backward_data(&spec, &dy, &filter, Some(ones(b, input - 1))), "length");
    }
}

#[test]
fn normalisations() {
    let b = &cpu();
    let spec = BatchNormSpec { rows: 6, channels: 5, eps: 1e-5 };
    let wide = BatchNormSpec { rows: 1 << 63, channels: 2, eps: 1e-5 };
    refused(|| b.channel_moments(&ones(b, 31), &spec), "length");
    refused(|| b.channel_moments(&ones(b, 0), &wide), "");
    let moments = |mean, variance| Moments::<B> { mean: ones(b, mean), variance: ones(b, variance) };
    for [mean, variance, gamma, beta, running_mean, running_variance] in
        (0..6).map(|i| std::array::from_fn::<usize, 6, _>(|j| if i == j { 4 } else { 5 }))
    {
        let (gamma, beta) = (ones(b, gamma), ones(b, beta));
        let affine = || Affine { gamma: &gamma, beta: &beta };
        let (mut a, mut v) = (ones(b, running_mean), ones(b, running_variance));
        let running = Running { mean: &mut a, variance: &mut v, momentum: 0.5 };
        refused(|| b.batch_norm_train(&spec, &moments(mean, variance), affine(), running), "length");
        assert!(a.as_slice().iter().chain(v.as_slice()).all(|&x| x == 1.0), "nothing has changed");
        if running_mean == 5 && running_variance == 5 {
            refused(|| b.batch_norm_eval(&spec, affine(), &ones(b, mean), &ones(b, variance)), "length");
        }
    }
    let norm = |x, scale, shift| {
        let (x, scale, shift) = (ones(b, x), ones(b, scale), ones(b, shift));
        Norm::<B> { x, scale, shift, channels: 5, rectifier: Rectifier::Relu }
    };
    for bad in [norm(31, 5, 5), norm(30, 4, 5), norm(30, 5, 6)] {
        refused(|| b.normalise(&bad, None), "");
        refused(|| b.normalise(&norm(30, 5, 5), Some(&Input::Norm(bad.clone()))), "");
    }
    refused(|| b.normalise(&norm(30, 5, 5), Some(&Input::Plain(ones(b, 29)))), "length");
    let zero = Norm::<B> { channels: 0, ..norm(30, 0, 0) };
    refused(|| b.normalise(&zero, None), "");

    let stats = |len| {
        let [mean, inv_std, scale, shift] = [(); 4].map(|()| ones(b, len));
        NormStats::<B> { mean, inv_std, scale, shift }
    };
    let back = |dy, norm: Norm<B>, stats: NormStats<B>, y: Option<usize>| {
        let y = y.map(|len| ones(b, len));
        refused(|| b.batch_norm_backward(&spec, ones(b, dy), &norm, &stats, y.as_ref(), true), "length");
    };
    for y in [None, Some(30)] {
        back(29, norm(30, 5, 5), stats(5), y);
        back(30, norm(29, 5, 5), stats(5), y);
        back(30, norm(30, 4, 5), stats(5), y);
        back(30, norm(30, 5, 5), stats(4), y);
    }
    back(30, norm(30, 5, 5), stats(5), Some(31));

    let gradient = |dy, x, [dy_scale, x_scale, shift, mask]: [usize; 4]| NormGradient::<B> {
        dy: ones(b, dy),
        x: ones(b, x),
        dy_scale: ones(b, dy_scale),
        x_scale: ones(b, x_scale),
        shift: ones(b, shift),
        mask: Some(NormMask { scale: ones(b, mask), shift: ones(b, mask), rectifier: Rectifier::Relu6 }),
        channels: 5,
    };
    for bad in [
        gradient(29, 30, [5; 4]),
        gradient(30, 31, [5; 4]),
        gradient(30, 30, [4, 5, 5, 5]),
        gradient(30, 30, [5, 4, 5, 5]),
        gradient(30, 30, [5, 5, 4, 5]),
        gradient(30, 30, [5, 5, 5, 4]),
        NormGradient { channels: 0, ..gradient(30, 30, [0; 4]) },
    ] {
        refused(|| b.normalise_backward(bad.clone()), "");
        refused(|| b.shared_gradient(bad), "");
    }
}

#[test]
fn activations_and_sums() {
    let b = &cpu();
    refused(|| b.activate_backward(Activation::Relu, &ones(b, 9), ones(b, 10)), "length");
    refused(|| b.activate_backward(Activation::Gelu, &ones(b, 11), ones(b, 10)), "length");
    refused(|| b.add(ones(b, 10), &ones(b, 9)), "length");
    refused(|| b.add(ones(b, 10), &ones(b, 11)), "length");
    refused(|| b.blend(&mut ones(b, 10), 0.5, &ones(b, 9), 0.5), "");
    refused(|| b.sum_rows(&ones(b, 10), 3), "");
    refused(|| b.sum_rows(&ones(b, 10), 0), "");
    refused(|| b.softmax(&ones(b, 10), 3), "");
    refused(|| b.softmax(&ones(b, 10), 0), "");
    refused(|| b.softmax_backward(&ones(b, 9), ones(b, 10), 5), "length");
    refused(|| b.softmax_backward(&ones(b, 10), ones(b, 10), 3), "");
}

#[test]
fn layer_norms_and_dropout() {
    let b = &cpu();
    let spec = LayerNormSpec { channels: 3, eps: 1e-5 };
    let (three, two) = (ones(b, 3), ones(b, 2));
    let affine = |gamma, beta| Affine { gamma, beta };
    refused(
        || b.layer_norm(&spec, &ones(b, 10), affine(&three, &three)),
        "length of the input 10: must be a multiple of 3",
    );
    refused(|| b.layer_norm(&spec, &ones(b, 9), affine(&two, &three)), "length of the scale 2: must be 3");
    refused(|| b.layer_norm(&spec, &ones(b, 9), affine(&three, &two)), "length of the shift 2: must be 3");
    refused(|| b.layer_norm_backward(&spec, ones(b, 10), &ones(b, 10), &three), "length of the gradient 10");
    refused(|| b.layer_norm_backward(&spec, ones(b, 9), &ones(b, 12), &three), "length of the input 12: must be 9");
    refused(|| b.layer_norm_backward(&spec, ones(b, 9), &ones(b, 9), &two), "length of the scale 2: must be 3");
    let mask = Philox::new(0, Purpose::Dropout, 0, 0);
    refused(
        || b.dropout(ones(b, 9), &DropoutSpec::elements(1.0), &mask),
        "dropout probability 1: must be at least 0 and below 1",
    );
    let nobody = DropoutSpec { probability: 0.5, shared_by: 0 };
    refused(|| b.dropout(ones(b, 9), &nobody, &mask), "elements that share a draw 0: must be at least 1");
}

#[test]
fn channels() {
    let b = &cpu();
    let spec = ScaleSpec { batch: 2, pixels: 4, channels: 3 };
    refused(|| b.scale_channels(&spec, ones(b, 23), &ones(b, 6)), "length of the input 23: must be 24");
    refused(|| b.scale_channels(&spec, ones(b, 24), &ones(b, 3)), "length of the factors 3: must be 6");
    refused(|| b.scale_channels_backward(&spec, ones(b, 25), &ones(b, 24), &ones(b, 6)), "length of the gradient");
    refused(|| b.scale_channels_backward(&spec, ones(b, 24), &ones(b, 25), &ones(b, 6)), "length of the input");
    refused(|| b.scale_channels_backward(&spec, ones(b, 24), &ones(b, 24), &ones(b, 7)), "length of the factors");
    let huge = ScaleSpec { batch: 0, pixels: usize::MAX, channels: 3 };
    refused(|| b.scale_channels(&huge, ones(b, 0), &ones(b, 0)), "elements");
    refused(|| b.concat(&[]), "parts 0");
    refused(|| b.concat(&[(&ones(b, 10), 3)]), "multiple of 3");
    refused(|| b.concat(&[(&ones(b, 10), 5), (&ones(b, 9), 3)]), "rows of a part 3: must be 2");
    refused(|| b.concat(&[(&ones(b, 10), 5), (&ones(b, 9), 0)]), "");
    for (first, count) in [(0, 0), (2, 2), (3, 1), (usize::MAX, 2), (1, usize::MAX)] {
        let spec = SliceSpec { channels: 3, first, count };
        refused(|| b.slice_channels(&spec, &ones(b, 12)), "channels");
        refused(|| b.slice_channels_backward(&spec, &ones(b, 12)), "channels");
    }
    let spec = SliceSpec::new(3, 1..3).unwrap();
    refused(|| b.slice_channels(&spec, &ones(b, 13)), "multiple of 3");
    refused(|| b.slice_channels_backward(&spec, &ones(b, 13)), "multiple of 2");
    refused(|| b.shuffle_channels(&ones(b, 12), 6, 4), "groups 4: must divide the 6 channels");
    refused(|| b.shuffle_channels(&ones(b, 12), 6, 0), "groups 0");
    refused(|| b.shuffle_channels(&ones(b, 13), 6, 2), "multiple of 6");
}

#[test]
fn pools() {
    let b = &cpu();
    let spec = Pool2dSpec::new([2, 4, 4, 3], &Pool2dOptions::square(2)).unwrap();
    refused(|| b.max_pool2d(&spec, &ones(b, 95)), "length");
    refused(|| b.avg_pool2d(&spec, &ones(b, 97)), "length");
    refused(|| b.avg_pool2d_backward(&spec, &ones(b, 25)), "length");
    let adaptive = AdaptivePool2dSpec::new([2, 4, 4, 3], [3, 3]).unwrap();
    refused(|| b.adaptive_avg_pool2d(&adaptive, &ones(b, 95)), "length");
    refused(|| b.adaptive_avg_pool2d_backward(&adaptive, &ones(b, 55)), "length");
    for wrong in [AdaptivePool2dSpec { output: [0, 3], ..adaptive }, AdaptivePool2dSpec { input: [4, 0], ..adaptive }] {
        refused(|| b.adaptive_avg_pool2d(&wrong, &ones(b, 0)), "at least one row");
        refused(|| b.adaptive_avg_pool2d_backward(&wrong, &ones(b, 0)), "at least one row");
    }
    let indices = |len, index: u32| b.fill(len, index).unwrap();
    refused(|| b.max_pool2d_backward(&spec, &ones(b, 23), &indices(24, 0)), "length");
    refused(|| b.max_pool2d_backward(&spec, &ones(b, 24), &indices(23, 0)), "length");
    for index in [16, 1 << 20, u32::MAX] {
        refused(|| b.max_pool2d_backward(&spec, &ones(b, 24), &indices(24, index)), "must be below 16");
    }
    let bf16 = Cpu::<half::bf16>::with_threads(2).unwrap();
    let dy = bf16.fill(24, half::bf16::ONE).unwrap();
    refused(|| bf16.max_pool2d_backward(&spec, &dy, &bf16.fill(24, 16).unwrap()), "must be below 16");
}

#[test]
fn dense_layers() {
    let b = &cpu();
    for rows in [3, 70] {
        let spec = LinearSpec { rows, inputs: 11, outputs: 13 };
        let (x, w, y) = (ones(b, rows * 11), ones(b, 11 * 13), ones(b, rows * 13));
        refused(|| b.linear(&spec, &ones(b, rows * 11 - 1), &w, epilogue()), "length");
        refused(|| b.linear(&spec, &x, &ones(b, 11 * 13 + 1), epilogue()), "length");
        let (bias, residual) = (ones(b, 12), ones(b, rows * 13 - 1));
        refused(|| b.linear(&spec, &x, &w, Epilogue::bias(Some(&bias))), "length of the bias");
        let with = Epilogue { bias: None, residual: Some(&residual), activation: None };
        refused(|| b.linear(&spec, &x, &w, with), "length of the residual");
        refused(|| b.linear_backward_data(&spec, &ones(b, rows * 13 + 1), &w), "length");
        refused(|| b.linear_backward_data(&spec, &y, &ones(b, 1)), "length");
        refused(|| b.linear_backward_weight(&spec, &ones(b, 1), &x), "length");
        refused(|| b.linear_backward_weight(&spec, &y, &ones(b, 1)), "length");
    }
    let huge = LinearSpec { rows: 1 << 63, inputs: 2, outputs: 2 };
    refused(|| b.linear(&huge, &ones(b, 0), &ones(b, 4), epilogue()), "");
    refused(|| b.linear_backward_weight(&huge, &ones(b, 0), &ones(b, 0)), "");
}

#[test]
fn targets() {
    let b = &cpu();
    let entropy = |classes, logits, targets, weights: Option<usize>| {
        let weights = weights.map(|count| ones(b, count));
        b.binary_cross_entropy(classes, &ones(b, logits), &ones(b, targets), weights.as_ref())
    };
    refused(|| entropy(3, 6, 6, Some(2)), "the weights of the classes");
    refused(|| entropy(3, 6, 5, None), "the targets");
    refused(|| entropy(3, 8, 8, None), "the logits");
    refused(|| entropy(0, 6, 6, None), "the logits");
}

#[test]
fn labels() {
    let b = &cpu();
    let entropy = |len, labels: &[u32], classes| {
        let spec = CrossEntropySpec::new(classes, 0.0);
        refused(|| b.cross_entropy(&spec, &ones(b, len), &b.upload(labels).unwrap(), None), "");
    };
    let weighted = || {
        let (spec, labels) = (CrossEntropySpec::new(3, 0.0), b.upload(&[0, 1]).unwrap());
        b.cross_entropy(&spec, &ones(b, 6), &labels, Some(&ones(b, 2)))
    };
    refused(weighted, "the weights of the classes");
    entropy(9, &[0, 1], 3);
    entropy(8, &[0, 1], 3);
    entropy(6, &[0, 1], 0);
    entropy(6, &[0, 3], 3);
    entropy(6, &[u32::MAX, 0], 3);
}

#[test]
fn images() {
    let b = &cpu();
    let spec = |channels: usize, means: usize| {
        ImageSpec::new([2, 2, channels], Border::Zero, &vec![0.0; means], &vec![1.0; means])
    };
    let bytes = b.upload(&[0u8; 12]).unwrap();
    refused(|| b.load_images(&spec(3, 3), &bytes, &[SampleView::plain(1)]), "sample");
    refused(|| b.load_images(&spec(3, 2), &bytes, &[SampleView::plain(0)]), "");
    refused(|| b.load_images(&spec(5, 5), &bytes, &[]), "stored images");
    refused(|| b.load_images(&spec(0, 0), &bytes, &[]), "");
    let huge = ImageSpec::new([1 << 32, 1 << 32, 1], Border::Zero, &[0.0], &[1.0]);
    refused(|| b.load_images(&huge, &b.upload(&[0u8; 0]).unwrap(), &[]), "");
    refused(|| b.load_images(&spec(3, 3).with_output([1 << 32, 1 << 32]), &bytes, &[]), "");
    refused(|| b.load_images(&spec(3, 3).with_output([0, 1]), &bytes, &[]), "sample size");
    let mix = |size, own| Mix { size, own, patch: [0; 4] };
    refused(|| b.mix_images(&mix([2, 2, 3], 0.5), &ones(b, 23)), "images");
    refused(|| b.mix_images(&mix([2, 2, 3], 1.5), &ones(b, 24)), "part of an image");
    refused(|| b.mix_images(&mix([2, 2, 3], f64::NAN), &ones(b, 24)), "part of an image");
    refused(|| b.mix_images(&mix([1 << 32, 1 << 32, 3], 0.5), &ones(b, 0)), "");
}

#[test]
fn parameters() {
    let b = &cpu();
    let health = b.gradient_health(Some(&ones(b, 1)), &[], f64::INFINITY).unwrap();
    for [value, gradient, first, second] in
        (0..4).map(|i| std::array::from_fn::<usize, 4, _>(|j| if i == j { 9 } else { 10 }))
    {
        let (mut value, gradient) = (ones(b, value), ones(b, gradient));
        let (mut first, mut second) = (ones(b, first), ones(b, second));
        let step = SgdStep { lr: 1.0, momentum: 0.5, nesterov: false, max_norm: f64::INFINITY };
        if second.len() == 10 {
            let parameter = SgdParam {
                value: &mut value,
                gradient: &gradient,
                velocity: &mut first,
                lr_scale: 1.0,
                weight_decay: 0.0,
            };
            refused(|| b.sgd(&step, &mut [parameter], &health), "length");
        }
        let step = AdamStep { lr: 1.0, beta1: 0.9, beta2: 0.9, eps: 1e-8, decoupled: true, max_norm: f64::INFINITY };
        let mut steps = b.fill(1, 0u32).unwrap();
        let parameter = AdamParam {
            steps: &mut steps,
            value: &mut value,
            gradient: &gradient,
            m: &mut first,
            v: &mut second,
            lr_scale: 1.0,
            weight_decay: 0.0,
        };
        refused(|| b.adam(&step, &mut [parameter], &health), "length");
        assert!(value.as_slice().iter().all(|&x| x == 1.0), "nothing has changed");
    }
    // A health of no numbers is no reason to skip a step without a word.
    for (norm, finite) in [(0, 1), (1, 0), (2, 1)] {
        let health = Health { norm: ones(b, norm), finite: b.fill(finite, 1u32).unwrap() };
        let step = SgdStep { lr: 1.0, momentum: 0.5, nesterov: false, max_norm: f64::INFINITY };
        refused(|| b.sgd(&step, &mut [], &health), "length of a norm");
        let step = AdamStep { lr: 1.0, beta1: 0.9, beta2: 0.9, eps: 1e-8, decoupled: true, max_norm: f64::INFINITY };
        refused(|| b.adam(&step, &mut [], &health), "length of a norm");
    }
}
