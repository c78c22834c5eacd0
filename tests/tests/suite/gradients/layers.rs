//! Layers with parameters.

use cnn_core::backend::{Accum, Activation};
use cnn_core::nn::{BatchNorm2d, Conv2d, Fields, Init, Kind, LayerNorm, LayerScale, LeafMut, Linear, Module, Path};
use cnn_core::{Backend, Conv2dOptions, Conv2dSpec, Mode, Real, Result};
use cnn_tests::cases::{channels, conv2d_geometry, sides};
use proptest::prelude::*;
use proptest::sample::select;

use super::difference::{After, Array, Draw, check};

super::on_every_backend! {
    conv2d linear linear_behind_an_image linear_of_pixels batch_norm2d_in_training batch_norm2d_in_evaluation layer_norm layer_scale
}

/// Draws all parameters and statistics anew: no scale stays 1, no shift 0.
pub(super) fn redraw<B: Backend>(backend: &B, model: &mut (impl Fields<B> + ?Sized), draw: &mut Draw) {
    let upload = |values: Vec<f64>| {
        let values: Vec<Accum<B>> = values.into_iter().map(Accum::<B>::from_f64).collect();
        backend.upload(&values).expect("memory for parameters")
    };
    model.visit_mut(&mut Path::default(), &mut |path, leaf| match leaf {
        LeafMut::Param(parameter) => {
            let n = parameter.shape().numel();
            let values = match parameter.kind() {
                // Of either sign, and clear of 0.
                Kind::NormScale => draw.positive(n).iter().zip(draw.numbers(n)).map(|(a, b)| a.copysign(b)).collect(),
                _ => draw.numbers(n),
            };
            *parameter.value_mut() = upload(values);
        }
        LeafMut::Statistic(statistic) => {
            let n = statistic.shape().numel();
            let variance = path.as_str().ends_with("running_var");
            *statistic.value_mut() = upload(if variance { draw.positive(n) } else { draw.numbers(n) });
        }
        LeafMut::Count(_) | LeafMut::Scope(_) => {}
    });
}

/// Moves what comes out for every second channel to where a ReLU6 ends.
pub(super) fn raise<B: Backend>(backend: &B, norm: &mut BatchNorm2d<B>) -> Result<()> {
    let mut shifts = backend.download(norm.bias.value())?;
    shifts.iter_mut().step_by(2).for_each(|shift| *shift += Accum::<B>::from_f64(6.0));
    *norm.bias.value_mut() = backend.upload(&shifts)?;
    Ok(())
}

/// A convolution that can be run some thousand times.
fn affordable(mut input: [usize; 4], k: usize, options: &Conv2dOptions) -> Option<Conv2dSpec> {
    loop {
        let spec = Conv2dSpec::new(input, k, options).ok()?;
        let sizes: [usize; 3] = [input.iter().product(), spec.weight_shape().iter().product(), k];
        let runs: usize = sizes.iter().map(|&n| if n <= 256 { 2 * n } else { 16 }).sum();
        if spec.macs() * runs as u64 <= 10_000_000 {
            return Some(spec);
        }
        let largest = (0..3).max_by_key(|&axis| input[axis])?;
        input[largest] = input[largest].div_ceil(2);
        if input[..3] == [1, 1, 1] {
            return None;
        }
    }
}

fn conv2d_cases() -> impl Strategy<Value = (Conv2dSpec, Conv2dOptions)> {
    let groups = prop_oneof![3 => Just(1usize), 1 => 2usize..=4];
    let cases = (1usize..=5, sides(), channels(), channels(), groups, conv2d_geometry());
    cases.prop_filter_map("a refused or large spec", |(n, [h, w], c, k, groups, options)| {
        let options = Conv2dOptions { groups, ..options };
        // The sizes are those of a group; the last kind of grouping is one channel each.
        let (c, k) = if groups == 4 { (4, 4 * (k % 2 + 1)) } else { (c * groups, k * groups) };
        Some((affordable([n, h, w, c], k, &options)?, options))
    })
}

pub(super) fn conv2d<B: Backend>(backend: &B) -> Result<(), String> {
    let make = |(spec, options): &(Conv2dSpec, Conv2dOptions), draw: &mut Draw| {
        let mut layer = Conv2d::new(&mut Init::new(backend, 0), spec.in_channels, spec.out_channels, *options)?;
        redraw(backend, &mut layer, draw);
        Ok((layer, vec![Array::new(&spec.input_shape(), |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, conv2d_cases(), make, |_, layer, xs| layer.call(&xs[0]))
}

pub(super) fn linear<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=9, channels(), channels());
    let make = |&(rows, inputs, outputs): &(usize, usize, usize), draw: &mut Draw| {
        let mut layer = Linear::new(&mut Init::new(backend, 0), inputs, outputs)?;
        redraw(backend, &mut layer, draw);
        Ok((layer, vec![Array::new(&[rows, inputs], |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, cases, make, |_, layer, xs| layer.call(&xs[0]))
}

fn linear_behind_an_image<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=4, [1usize..=5, 1..=5, 1..=5], 1usize..=9);
    let make = |&(n, image, outputs): &(usize, [usize; 3], usize), draw: &mut Draw| {
        let mut layer = Linear::from_image(&mut Init::new(backend, 0), image, outputs)?;
        redraw(backend, &mut layer, draw);
        let [h, w, c] = image;
        Ok((layer, vec![Array::new(&[n, h, w, c], |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, cases, make, |_, layer, xs| layer.call(&xs[0].flatten()?))
}

fn linear_of_pixels<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=3, [1usize..=4, 1..=4], 1usize..=9, 1usize..=9);
    let make = |&(n, [h, w], inputs, outputs): &(usize, [usize; 2], usize, usize), draw: &mut Draw| {
        let mut layer = Linear::new(&mut Init::new(backend, 0), inputs, outputs)?;
        redraw(backend, &mut layer, draw);
        Ok((layer, vec![Array::new(&[n, h, w, inputs], |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, cases, make, |_, layer, xs| layer.call(&xs[0]))
}

/// Rows of images and of matrices; a row of one channel is always its shift.
pub(super) fn layer_norm<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=3, [1usize..=4, 1..=4], channels(), any::<bool>());
    let make = |&(n, [h, w], c, flat): &(usize, [usize; 2], usize, bool), draw: &mut Draw| {
        let mut layer = LayerNorm::new(&mut Init::new(backend, 0), c, 1e-2)?;
        redraw(backend, &mut layer, draw);
        let shape: &[usize] = if flat { &[n * h * w, c] } else { &[n, h, w, c] };
        Ok((layer, vec![Array::new(shape, |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, cases, make, |_, layer, xs| layer.call(&xs[0]))
}

pub(super) fn layer_scale<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=3, [1usize..=4, 1..=4], channels());
    let make = |&(n, [h, w], c): &(usize, [usize; 2], usize), draw: &mut Draw| {
        let mut layer = LayerScale::new(&mut Init::new(backend, 0), c, 1e-6)?;
        redraw(backend, &mut layer, draw);
        Ok((layer, vec![Array::new(&[n, h, w, c], |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, cases, make, |_, layer, xs| layer.call(&xs[0]))
}

pub(super) fn batch_norm2d_in_training<B: Backend>(backend: &B) -> Result<(), String> {
    batch_norm2d(backend, Mode::Train)
}

pub(super) fn batch_norm2d_in_evaluation<B: Backend>(backend: &B) -> Result<(), String> {
    batch_norm2d(backend, Mode::Eval)
}

fn batch_norm2d_cases() -> impl Strategy<Value = ([usize; 3], usize, After)> {
    let small = select(vec![[2, 1, 1], [1, 2, 1], [4, 1, 1], [1, 2, 2]]);
    let sizes = prop_oneof![1 => small, 3 => (1usize..=5, sides()).prop_map(|(n, [h, w])| [n, h, w])];
    let after = select(&After::ALL[..]);
    (sizes, channels(), after).prop_filter("no variance", |([n, h, w], ..)| n * h * w >= 2)
}

/// Alone, with an activation, with an addition, and with both.
fn batch_norm2d<B: Backend>(backend: &B, mode: Mode) -> Result<(), String> {
    let make = |&([n, h, w], c, after): &([usize; 3], usize, After), draw: &mut Draw| {
        let mut layer = BatchNorm2d::new(&mut Init::new(backend, 0), c)?;
        redraw(backend, &mut layer, draw);
        if after.ends() {
            raise(backend, &mut layer)?;
        }
        // Values of a channel are far apart where they are few: the slope is steep where the variance is small.
        let rows = n * h * w;
        let spread = |row: usize| if rows > 8 { 0.0 } else { 2.0 * row as f64 };
        let mut x = draw.numbers(rows * c);
        x.iter_mut().enumerate().for_each(|(i, x)| *x += spread(i / c));
        let mut inputs = vec![Array::new(&[n, h, w, c], |_| x)];
        if after.adds() {
            inputs.push(Array::new(&[n, h, w, c], |n| draw.numbers(n)));
        }
        Ok((layer, inputs))
    };
    check(backend, mode, batch_norm2d_cases(), make, |(.., after), layer, xs| match after {
        After::Nothing => layer.call(&xs[0]),
        After::Relu => layer.relu(&xs[0]),
        After::Relu6 => layer.activate(&xs[0], Activation::Relu6),
        After::Silu => layer.activate(&xs[0], Activation::Silu),
        After::Add => layer.call(&xs[0])?.add(&xs[1]),
        After::AddRelu => layer.add_relu(&xs[0], &xs[1]),
        After::AddRelu6 => layer.add_activate(&xs[0], &xs[1], Activation::Relu6),
        After::AddHardswish => layer.add_activate(&xs[0], &xs[1], Activation::Hardswish),
    })
}
