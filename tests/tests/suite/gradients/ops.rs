//! Operations without parameters.

use cnn_core::backend::Activation;
use cnn_core::nn::{Dropout, Module, Sequential, StochasticDepth};
use cnn_core::ops::{ClassWeights, Labels, Targets};
use cnn_core::{Backend, Mode, Pool2dOptions, Pool2dSpec, Result, Var};
use cnn_tests::cases::{channels, pool2d_geometry, sides};
use proptest::prelude::*;

use super::difference::{APART, Array, Draw, Output, check};

super::on_every_backend! {
    relu gelu activations scale_channels concat slice_channels shuffle_channels adaptive_avg_pool2d softmax add flatten dropout stochastic_depth max_pool2d avg_pool2d global_avg_pool2d cross_entropy binary_cross_entropy used_twice
}

/// Checks a function of images of any size.
fn of_images<B: Backend>(
    backend: &B,
    numbers: impl Fn(&mut Draw, usize) -> Vec<f64>,
    forward: impl Fn(&Var<B>) -> Result<Var<B>>,
) -> Result<(), String> {
    let make = |shape: &[usize; 4], draw: &mut Draw| {
        Ok((Sequential::<B>::new(), vec![Array::new(shape, |n| numbers(draw, n))]))
    };
    check(backend, Mode::Train, images(), make, |_, _, xs| forward(&xs[0]))
}

/// \[N, H, W, C\].
fn images() -> impl Strategy<Value = [usize; 4]> {
    (1usize..=5, sides(), channels()).prop_map(|(n, [h, w], c)| [n, h, w, c])
}

fn relu<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::clear_of_zero, |x| x.relu())
}

pub(super) fn gelu<B: Backend>(backend: &B) -> Result<(), String> {
    let wider = |draw: &mut Draw, n| draw.numbers(n).into_iter().map(|x| 5.0 * x).collect();
    of_images(backend, wider, |x| x.gelu())
}

pub(super) fn activations<B: Backend>(backend: &B) -> Result<(), String> {
    let check = |activation| of_images(backend, Draw::clear_of_threes, |x| x.activate(activation));
    let named = |activation| check(activation).map_err(|error| format!("{activation:?}: {error}"));
    Activation::ALL.into_iter().try_for_each(named)
}

pub(super) fn softmax<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::numbers, |x| x.softmax())
}

fn flatten<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::numbers, |x| x.flatten())
}

pub(super) fn dropout<B: Backend>(backend: &B) -> Result<(), String> {
    // Two masks a pass; the step is fixed, and so are they.
    of_images(backend, Draw::numbers, |x| Dropout::new(0.4).call(&x.dropout(0.2)?))
}

fn stochastic_depth<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::numbers, |x| StochasticDepth::new(0.4).call(&x.dropout(0.2)?)?.add(x))
}

fn global_avg_pool2d<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::numbers, |x| x.global_avg_pool2d())
}

fn used_twice<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::numbers, |x| x.gelu()?.add(x)?.add(&x.softmax()?))
}

pub(super) fn add<B: Backend>(backend: &B) -> Result<(), String> {
    let make = |shape: &[usize; 4], draw: &mut Draw| {
        Ok((Sequential::<B>::new(), (0..2).map(|_| Array::new(shape, |n| draw.numbers(n))).collect()))
    };
    check(backend, Mode::Train, images(), make, |_, _, xs| xs[0].add(&xs[1]))
}

pub(super) fn scale_channels<B: Backend>(backend: &B) -> Result<(), String> {
    let make = |(shape, flat): &([usize; 4], bool), draw: &mut Draw| {
        let [n, _, _, c] = *shape;
        let factors: &[usize] = if *flat { &[n, c] } else { &[n, 1, 1, c] };
        let inputs = [&shape[..], factors].map(|shape| Array::new(shape, |n| draw.numbers(n)));
        Ok((Sequential::<B>::new(), inputs.into()))
    };
    check(backend, Mode::Train, (images(), any::<bool>()), make, |_, _, xs| xs[0].scale_channels(&xs[1]))
}

fn concat<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=3, [1usize..=6, 1..=6], proptest::collection::vec(channels(), 1..=4));
    let make = |(n, [h, w], channels): &(usize, [usize; 2], Vec<usize>), draw: &mut Draw| {
        let part = |&c: &usize| Array::new(&[*n, *h, *w, c], |n| draw.numbers(n));
        Ok((Sequential::<B>::new(), channels.iter().map(part).collect()))
    };
    // The first one is a part twice: its gradient is the sum of two slices.
    check(backend, Mode::Train, cases, make, |_, _, xs| {
        let parts: Vec<&Var<B>> = xs.iter().chain(&xs[..1]).collect();
        Var::concat(&parts)
    })
}

pub(super) fn slice_channels<B: Backend>(backend: &B) -> Result<(), String> {
    of_images(backend, Draw::numbers, |x| {
        let channels = x.shape().channels();
        x.slice_channels(channels / 3..channels - channels / 4)
    })
}

fn shuffle_channels<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (images(), 1usize..=4);
    let make = |&([n, h, w, c], groups): &([usize; 4], usize), draw: &mut Draw| {
        Ok((Sequential::<B>::new(), vec![Array::new(&[n, h, w, c * groups], |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, cases, make, |&(_, groups), _, xs| xs[0].shuffle_channels(groups))
}

fn adaptive_avg_pool2d<B: Backend>(backend: &B) -> Result<(), String> {
    let make = |(shape, _): &([usize; 4], [usize; 2]), draw: &mut Draw| {
        Ok((Sequential::<B>::new(), vec![Array::new(shape, |n| draw.numbers(n))]))
    };
    let cases = (images(), [1usize..=7, 1..=7]);
    check(backend, Mode::Train, cases, make, |&(_, size), _, xs| xs[0].adaptive_avg_pool2d(size))
}

fn poolings() -> impl Strategy<Value = ([usize; 4], Pool2dOptions)> {
    let fits = |(shape, options): &([usize; 4], Pool2dOptions)| {
        Pool2dSpec::new(*shape, options).is_ok() && shape.iter().product::<usize>() <= APART
    };
    (images(), pool2d_geometry()).prop_filter("a refused spec, or too many numbers to be apart", fits)
}

/// Checks a pooling of every geometry.
fn pool2d<B: Backend>(
    backend: &B,
    numbers: impl Fn(&mut Draw, usize) -> Vec<f64>,
    forward: impl Fn(&Var<B>, &Pool2dOptions) -> Result<Var<B>>,
) -> Result<(), String> {
    let make = |(shape, _): &([usize; 4], Pool2dOptions), draw: &mut Draw| {
        Ok((Sequential::<B>::new(), vec![Array::new(shape, |n| numbers(draw, n))]))
    };
    check(backend, Mode::Train, poolings(), make, |(_, options), _, xs| forward(&xs[0], options))
}

pub(super) fn max_pool2d<B: Backend>(backend: &B) -> Result<(), String> {
    pool2d(backend, Draw::apart, |x, options| x.max_pool2d(options))
}

pub(super) fn avg_pool2d<B: Backend>(backend: &B) -> Result<(), String> {
    pool2d(backend, Draw::numbers, |x, options| x.avg_pool2d(options))
}

pub(super) fn binary_cross_entropy<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=9, prop_oneof![2usize..=20, Just(100)], any::<bool>(), any::<u32>());
    let make = |&(rows, classes, ..): &(usize, usize, bool, u32), draw: &mut Draw| {
        let logits = Array::new(&[rows, classes], |n| draw.numbers(n).into_iter().map(|x| 4.0 * x).collect());
        Ok((Sequential::<B>::new(), vec![logits]))
    };
    check(backend, Mode::Train, cases, make, |&(rows, classes, weighted, seed), _, xs| {
        let backend = xs[0].pass().backend();
        // Of no class, of one, and of some to a part.
        let target = |i: usize| [0.0, 0.0, 1.0, 0.25, 1.0][(seed as usize / 2 + 7 * i) % 5];
        let targets = Targets::new(backend, classes, &(0..rows * classes).map(target).collect::<Vec<f32>>())?;
        let weights: Vec<f64> = (0..classes as u32).map(|class| f64::from(1 + (seed / 3 + class) % 5) / 3.0).collect();
        let weights = ClassWeights::new(backend, &weights)?;
        let targets = if weighted { targets.weighted(&weights)? } else { targets };
        Ok(Output::Loss(xs[0].binary_cross_entropy(&targets)?))
    })
}

pub(super) fn cross_entropy<B: Backend>(backend: &B) -> Result<(), String> {
    let smoothing = prop_oneof![Just(0.0), Just(0.1), Just(1.0), 0.0..1.0];
    let own = prop_oneof![Just(1.0), 0.0..1.0];
    let cases = (1usize..=9, prop_oneof![1usize..=20, Just(100)], smoothing, own, any::<bool>(), any::<u32>());
    let make = |&(rows, classes, ..): &(usize, usize, f64, f64, bool, u32), draw: &mut Draw| {
        let logits = Array::new(&[rows, classes], |n| draw.numbers(n).into_iter().map(|x| 4.0 * x).collect());
        Ok((Sequential::<B>::new(), vec![logits]))
    };
    check(backend, Mode::Train, cases, make, |&(rows, classes, smoothing, own, weighted, seed), _, xs| {
        let backend = xs[0].pass().backend();
        let labels: Vec<u32> = (0..rows as u32).map(|row| (seed / 2 + 7 * row) % classes as u32).collect();
        let weights: Vec<f64> = (0..classes as u32).map(|class| f64::from(1 + (seed / 3 + class) % 5) / 3.0).collect();
        let labels = match weighted {
            true => Labels::weighted(backend, &labels, &ClassWeights::new(backend, &weights)?)?,
            false => Labels::new(backend, &labels)?,
        };
        Ok(Output::Loss(xs[0].cross_entropy_with(&labels.mixed(own)?, smoothing)?))
    })
}
