//! Convolution in all three directions, reading written and unwritten activations and gradients.

use cnn_core::backend::{Activation, Epilogue, Gradient, Input, NormGradient, Rectifier, Uses};
use cnn_core::{Backend, Conv2dOptions, Conv2dSpec, Padding, Result};
use proptest::prelude::*;
use proptest::sample::select;

use super::{activation, batch, channels, sides};
use crate::lab::rms;
use crate::{Case, Lab};

/// A convolution with all that its methods can be asked for.
#[derive(Clone, Debug)]
pub struct Conv2d {
    spec: Conv2dSpec,
    input: Reading,
    gradient: Reading,
    bias: bool,
    residual: bool,
    activation: Option<Activation>,
    accumulate: bool,
    seed: u32,
}

/// What an operation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Plain,
    Norm(Rectifier),
}

impl Reading {
    /// Every one of them.
    const ALL: [Reading; 4] = {
        let [open, relu, relu6] = Rectifier::ALL;
        [Reading::Plain, Reading::Norm(open), Reading::Norm(relu), Reading::Norm(relu6)]
    };

    /// How large its numbers usually are.
    fn size(self) -> f64 {
        match self {
            Reading::Plain => 1.0,
            Reading::Norm(Rectifier::Relu6) => 4.0,
            Reading::Norm(_) => 1.5,
        }
    }
}

/// More multiplications than this are not worth an oracle's time.
const MAX_MACS: u64 = 3_000_000;

/// Convolutions of every geometry.
pub fn conv2d() -> impl Strategy<Value = Conv2d> {
    let reading = || select(Reading::ALL.to_vec());
    let input = (batch(), sides());
    let extras = (reading(), reading(), any::<[bool; 3]>(), activation(), any::<u32>());
    (input, grouped_channels(), geometry(), extras).prop_filter_map(
        "a refused or large spec",
        |((n, [h, w]), [c, k, groups], options, (input, gradient, [bias, residual, accumulate], activation, seed))| {
            let options = Conv2dOptions { groups, ..options };
            let affordable = |n| Conv2dSpec::new([n, h, w, c], k, &options).ok().filter(|spec| spec.macs() <= MAX_MACS);
            let spec = affordable(n).or_else(|| affordable(1))?;
            Some(Conv2d { spec, input, gradient, bias, residual, activation, accumulate, seed })
        },
    )
}

/// The shapes of a residual network, convolutions in narrow groups, dilated ones, and such as are cut in every way: few images
/// that are packed before, of channels and of rows, and many small ones.
pub fn edges() -> Vec<Conv2d> {
    let same = |kernel: usize, stride| Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
    let mut specs = vec![
        ([2, 32, 32, 3], 64, same(3, 1)),
        ([1, 32, 16, 64], 64, same(3, 1)),
        ([1, 16, 16, 128], 128, same(3, 1)),
        ([9, 4, 4, 64], 64, same(3, 1)),
        ([1, 32, 32, 64], 128, same(3, 2)),
        ([3, 8, 8, 64], 96, same(1, 2)),
        ([1, 1, 1, 64], 64, same(3, 1)),
        ([1, 61, 37, 3], 64, same(7, 2)),
        ([5, 13, 11, 17], 33, same(3, 1)),
        ([1, 19, 19, 16], 16, same(3, 2)),
        ([37, 4, 4, 64], 64, same(3, 1)),
        ([2, 4, 4, 128], 128, same(3, 1)),
        ([1, 24, 20, 32], 64, same(3, 1).groups(2)),
        ([8, 9, 9, 24], 24, same(3, 1).groups(24)),
        // Groups narrower than a vector, whose last vector is not full, and as wide as one.
        ([3, 9, 7, 24], 24, same(3, 1).groups(6)),
        ([2, 9, 8, 18], 18, same(3, 2).groups(9)),
        ([1, 12, 11, 40], 40, same(3, 1).groups(5)),
        ([18, 5, 6, 32], 32, same(5, 1).dilation(2).groups(8)),
        ([2, 7, 9, 32], 32, same(3, 1).groups(2)),
        ([2, 6, 9, 8], 16, same(3, 1).groups(4)),
        // Taps that see only padding in most rows and columns.
        ([2, 17, 33, 20], 36, Conv2dOptions { padding: Padding::all(12), ..same(3, 1).dilation(12) }),
        ([3, 9, 8, 33], 40, Conv2dOptions { padding: Padding::all(9), ..same(3, 1).dilation(9) }),
        ([1, 40, 11, 130], 16, Conv2dOptions { padding: Padding::all(6), ..same(3, 1).dilation(6) }),
    ];
    for channels in [2, 15, 16, 33] {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 2), (1, 3)] {
            specs.push(([3, 9, 7, channels], channels, same(kernel, stride).groups(channels)));
        }
    }
    // More taps than some kernels have bits for, and as many.
    for (kernel, stride) in [([16, 1], [1, 1]), ([1, 16], [1, 2]), ([17, 1], [2, 1]), ([1, 17], [1, 1])] {
        specs.push(([1, 21, 22, 16], 24, Conv2dOptions { kernel, stride, padding: Padding::all(1), ..same(1, 1) }));
    }
    cases(specs)
}

/// What tiles of 16 rows are cut from: narrow images beside each other, batches and channels that end within a tile, many steps,
/// several bands of rows and chunks of images, strides and dilations, taps that see only padding.
pub fn tiles() -> Vec<Conv2d> {
    let same = |kernel: usize, stride| Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
    cases(vec![
        ([9, 9, 7, 17], 33, same(3, 1)),
        ([40, 7, 9, 48], 20, same(3, 2)),
        ([33, 6, 5, 40], 16, same(1, 1)),
        ([11, 12, 5, 33], 48, same(3, 1).dilation(2)),
        ([550, 3, 3, 16], 16, same(3, 1)),
        ([8, 24, 24, 33], 33, same(3, 1)),
        ([1, 3, 3, 1024], 16, same(5, 1)),
        ([12, 8, 4, 64], 24, same(3, 1).groups(2)),
        // Nothing but padding.
        ([8, 1, 1, 16], 16, Conv2dOptions::square(1).stride(2).padding(1)),
    ])
}

/// First layers of networks: few channels, kernels and strides of every size, rows that are whole chunks of 16 bytes and such
/// that are not, tiles of pixels that end within a row and such that reach over several images.
pub fn stems() -> Vec<Conv2d> {
    let same = |kernel: usize, stride| Conv2dOptions::square(kernel).stride(stride).padding(kernel / 2);
    let uneven = Padding { top: 2, left: 1, bottom: 0, right: 3 };
    cases(vec![
        ([1, 32, 32, 3], 64, same(3, 1)),
        ([3, 32, 32, 3], 32, same(3, 1)),
        ([1, 48, 40, 3], 64, same(7, 2)),
        ([9, 5, 7, 3], 16, same(3, 1)),
        ([2, 28, 28, 1], 24, same(5, 1)),
        ([40, 3, 3, 2], 72, same(3, 1)),
        ([1, 16, 24, 3], 13, same(3, 1)),
        ([2, 15, 16, 2], 64, same(3, 2).dilation(2)),
        ([1, 9, 200, 3], 8, Conv2dOptions { padding: uneven, ..Conv2dOptions::square(3).stride(3) }),
        ([1, 12, 11, 1], 128, Conv2dOptions { kernel: [2, 6], stride: [1, 4], padding: uneven, ..same(1, 1) }),
        ([5, 6, 8, 3], 40, Conv2dOptions::square(1).stride(2)),
        ([3, 8, 8, 3], 1, same(8, 8)),
        // The gradient of the weight takes several patches one after another, as there is no room for one.
        ([1, 40, 400, 3], 8, Conv2dOptions::square(4).stride(4)),
        ([1, 1, 1, 3], 64, same(7, 1)),
    ])
}

/// Convolutions without strides of whole chunks of channels: taps near and far from each other, padding on each side, images
/// smaller than a tile of pixels, as large and larger, slices of channels that are full and such that are not.
pub fn halos() -> Vec<Conv2d> {
    let same = |kernel: usize| Conv2dOptions::square(kernel).padding(kernel / 2);
    let uneven = Padding { top: 2, left: 0, bottom: 1, right: 2 };
    let specs = cases(vec![
        ([1, 16, 32, 64], 64, same(3)),
        ([1, 16, 16, 64], 128, same(3)),
        ([5, 8, 8, 128], 32, same(3)),
        ([17, 4, 4, 72], 136, same(3)),
        ([6, 7, 7, 136], 24, same(3)),
        ([3, 9, 13, 16], 72, same(5)),
        ([150, 2, 1, 8], 8, same(3)),
        ([1, 3, 90, 40], 64, same(3)),
        ([2, 20, 6, 64], 16, Conv2dOptions { dilation: [2, 3], padding: Padding::all(2), ..same(3) }),
        ([1, 20, 30, 32], 64, Conv2dOptions::square(3)),
        ([2, 12, 10, 16], 40, Conv2dOptions { padding: uneven, ..Conv2dOptions::square(3) }),
        ([1, 12, 10, 160], 144, same(3).groups(2)),
        ([2, 11, 12, 24], 16, Conv2dOptions { kernel: [1, 5], padding: Padding::all(0), ..same(1) }),
        ([2, 11, 12, 136], 16, Conv2dOptions { kernel: [3, 1], padding: Padding::all(0), ..same(1) }),
    ]);
    specs.into_iter().map(|case| Conv2d { input: Reading::Plain, ..case }).collect()
}

/// Followed by an activation other than ReLU, which some backends apply to what a piece of the work has just written: in pieces of
/// rows, of channels, of groups and of images, with last channels that fill no vector.
pub fn activated() -> Vec<Conv2d> {
    let same = |kernel: usize| Conv2dOptions::square(kernel).padding(kernel / 2);
    let specs = cases(vec![
        ([1, 28, 28, 24], 144, same(1)),
        ([1, 14, 14, 200], 40, same(1)),
        ([1, 7, 7, 160], 72, same(1)),
        ([40, 3, 3, 17], 24, same(1)),
        ([1, 12, 10, 160], 144, same(3).groups(2)),
        ([1, 30, 30, 24], 40, same(5)),
        ([1, 20, 20, 36], 36, same(3).groups(36)),
        ([2, 15, 13, 33], 33, same(3).stride(2).groups(33)),
        ([1, 16, 16, 64], 64, same(3).groups(16)),
        ([1, 18, 18, 64], 64, same(3)),
        ([1, 20, 20, 3], 24, same(3).stride(2)),
    ]);
    let activations =
        [Activation::Hardswish, Activation::Relu6, Activation::Silu, Activation::LeakyRelu, Activation::Sigmoid];
    let with = |(i, case): (usize, Conv2d)| Conv2d { activation: Some(activations[i % activations.len()]), ..case };
    specs.into_iter().enumerate().map(with).collect()
}

/// Each with others of the things that a convolution can be asked for.
fn cases(specs: Vec<([usize; 4], usize, Conv2dOptions)>) -> Vec<Conv2d> {
    let case = |(i, (input, k, options)): (usize, ([usize; 4], usize, Conv2dOptions))| Conv2d {
        spec: Conv2dSpec::new(input, k, &options).expect("a legal convolution"),
        // Each against every other, and against what else follows the index.
        input: Reading::ALL[(i + i / 4) % 4],
        gradient: Reading::ALL[(i / 2 + i / 8 + 1) % 4],
        bias: i % 2 == 0,
        residual: i % 4 < 2,
        activation: [None, Some(Activation::Relu)][i / 4 % 2],
        accumulate: i % 3 == 0,
        seed: i as u32,
    };
    specs.into_iter().enumerate().map(case).collect()
}

/// Kernel, stride, dilation and padding; often the same on all axes and sides.
pub fn geometry() -> impl Strategy<Value = Conv2dOptions> {
    let kernel = prop_oneof![3 => select(vec![1usize, 3, 5, 7]).prop_map(|k| [k; 2]), 1 => [1usize..=7, 1..=7]];
    let stride = prop_oneof![3 => (1usize..=3).prop_map(|s| [s; 2]), 1 => [1usize..=3, 1..=3]];
    let dilation = prop_oneof![3 => Just([1; 2]), 1 => [1usize..=2, 1..=2]];
    let sides = [0usize..=3, 0..=3, 0..=3, 0..=3];
    let sides = sides.prop_map(|[top, left, bottom, right]| Padding { top, left, bottom, right });
    let padding = prop_oneof![2 => (0usize..=3).prop_map(Padding::all), 1 => sides];
    (kernel, stride, dilation, padding).prop_map(|(kernel, stride, dilation, padding)| Conv2dOptions {
        kernel,
        stride,
        dilation,
        padding,
        groups: 1,
    })
}

/// Input channels, output channels and groups: one group, some, or one for each channel.
fn grouped_channels() -> impl Strategy<Value = [usize; 3]> {
    prop_oneof![
        5 => (channels(), channels()).prop_map(|(c, k)| [c, k, 1]),
        1 => (channels(), 1usize..=2).prop_map(|(c, multiplier)| [c, c * multiplier, c]),
        1 => (2usize..=4, select(vec![1, 3, 8, 16, 17]), select(vec![1, 3, 8, 16, 17]))
            .prop_map(|(groups, c, k)| [groups * c, groups * k, groups]),
    ]
}

/// An activation to read.
fn input<B: Backend>(lab: &mut Lab<'_, B>, reading: Reading, numel: usize, channels: usize) -> Result<Input<B>> {
    Ok(match reading {
        Reading::Plain => {
            let x = lab.numbers(numel);
            Input::Plain(lab.data(&x)?)
        }
        Reading::Norm(rectifier) => Input::Norm(lab.norm(numel, channels, rectifier)?),
    })
}

/// A gradient to read.
fn gradient<B: Backend>(lab: &mut Lab<'_, B>, reading: Reading, numel: usize, channels: usize) -> Result<Gradient<B>> {
    let dy = lab.numbers(numel);
    let dy = lab.data(&dy)?;
    let Reading::Norm(rectifier) = reading else { return Ok(Gradient::Plain(dy)) };
    let norm = lab.norm(numel, channels, rectifier)?;
    let [dy_scale, x_scale, shift] = [(); 3].map(|()| lab.numbers(channels));
    Ok(Gradient::Norm(NormGradient {
        dy,
        mask: norm.mask(),
        x: norm.x,
        dy_scale: lab.wide(&dy_scale)?,
        x_scale: lab.wide(&x_scale)?,
        shift: lab.wide(&shift)?,
        channels,
    }))
}

impl Conv2d {
    /// Rows and columns of the kernel.
    pub fn kernel(&self) -> [usize; 2] {
        self.spec.kernel
    }
}

impl Case for Conv2d {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec) = (lab.backend(), &self.spec);
        let numel = |shape: [usize; 4]| shape.iter().product::<usize>();
        let x = input(lab, self.input, numel(spec.input_shape()), spec.in_channels)?;
        let dy = gradient(lab, self.gradient, numel(spec.output_shape()), spec.out_channels)?;
        let weight = lab.numbers(numel(spec.weight_shape()));
        let weight = lab.wide(&weight)?;
        let bias = lab.numbers(spec.out_channels);
        let bias = if self.bias { Some(lab.wide(&bias)?) } else { None };
        let residual = lab.numbers(numel(spec.output_shape()));
        let residual = if self.residual { Some(lab.data(&residual)?) } else { None };
        let epilogue = Epilogue { bias: bias.as_ref(), residual: residual.as_ref(), activation: self.activation };

        // Numbers of either sign may nearly cancel; their sum would usually be this large, or larger of numbers that were
        // computed while they are read.
        let (x_size, dy_size) = (self.input.size(), self.gradient.size());
        let sum_of = |terms: usize| (terms as f64).sqrt() / 3.0;
        let [kh, kw, depth, _] = spec.weight_shape();
        let sum = x_size * sum_of(kh * kw * depth);

        let filter = backend.prepare_filter(spec, &weight, Uses::Training)?;
        let (y, moments) = backend.conv2d_moments(spec, &x, &filter, epilogue)?;
        let exact = self.activation.is_none_or(|activation| activation == Activation::Relu);
        let report = lab.report("y", &y)?.relative_to(sum);
        let scale = rms(&report.values).max(sum);
        if !exact {
            report.close();
        }
        if spec.batch > 0 {
            let [batch, rows, columns, channels] = spec.output_shape();
            let [mean, variance] = lab.moments(&moments, batch * rows * columns, channels)?;
            lab.report_wide("mean of y", &mean)?.close().relative_to(scale);
            lab.report_wide("variance of y", &variance)?.close().relative_to(scale * scale);
        }
        let forward_only = backend.prepare_filter(spec, &weight, Uses::Forward)?;
        let y = backend.conv2d(spec, &x, &forward_only, epilogue)?;
        let report = lab.report("y of a forward filter", &y)?.relative_to(sum);
        if !exact {
            report.close();
        }

        let before = lab.numbers(numel(spec.input_shape()));
        let before = if self.accumulate { Some(lab.data(&before)?) } else { None };
        // A second handle to the buffer that may be overwritten: it must keep its values.
        let kept = before.clone();
        let dx = backend.conv2d_backward_data(spec, &dy, &filter, before)?;
        let taps = (kh * kw).div_ceil(spec.stride.iter().product());
        lab.report("dx", &dx)?.relative_to(dy_size * sum_of(taps * spec.out_channels / spec.groups));
        if let Some(kept) = kept {
            lab.report("what dx was added to", &kept)?.exact();
        }
        let dw = backend.conv2d_backward_weight(spec, &dy, &x)?;
        let pixels = spec.batch * spec.output[0] * spec.output[1];
        lab.report_wide("dw", &dw)?.relative_to(x_size * dy_size * sum_of(pixels));
        Ok(())
    }
}
