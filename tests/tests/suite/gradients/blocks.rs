//! Layers together: fused pairs, a residual block, a small network.

use cnn_core::backend::Activation;
use cnn_core::nn::{
    AvgPool2d, BatchNorm2d, Conv2d, ConvNorm, Dropout, Flatten, Gelu, Hardsigmoid, Hardswish, Init, LeakyRelu, Linear,
    MaxPool2d, Module, Relu, Relu6, Scope, Sequential, Sigmoid, Silu,
};
use cnn_core::{Backend, Conv2dOptions, Mode, Pool2dOptions, Result, Var, named_fields};
use cnn_models::BasicBlock;
use proptest::prelude::*;
use proptest::sample::select;

use super::difference::{After, Array, Draw, Output, check};
use super::layers::{raise, redraw};

super::on_every_backend! {
    conv_norm_in_training conv_norm_in_evaluation identity_block downsampling_block block_in_evaluation sequential
    unwritten_value_read_by_many
}

/// A fused pair, with a normalisation of its own for the shortcut.
struct Pair<B: Backend> {
    conv: Conv2d<B>,
    norm: BatchNorm2d<B>,
    side: Option<BatchNorm2d<B>>,
    after: After,
    scope: Scope,
}

named_fields!(Pair { conv, norm, side });

impl<B: Backend> Pair<B> {
    /// `xs`: what is convolved, and the shortcut when one is added.
    fn forward(&mut self, xs: &[Var<B>]) -> Result<Var<B>> {
        let pair = ConvNorm(&mut self.conv, &mut self.norm);
        match (self.after, &mut self.side) {
            (After::Nothing, _) => pair.linear(&xs[0]),
            (After::Relu, _) => pair.relu(&xs[0]),
            (After::Relu6, _) => pair.activate(&xs[0], Activation::Relu6),
            (After::Silu, _) => pair.activate(&xs[0], Activation::Silu),
            (adds, side) => {
                let shortcut = &match side {
                    Some(side) => side.call(&xs[1])?,
                    None => xs[1].clone(),
                };
                match adds {
                    After::AddRelu => pair.add_relu(&xs[0], shortcut),
                    After::AddRelu6 => pair.add_activate(&xs[0], shortcut, Activation::Relu6),
                    After::AddHardswish => pair.add_activate(&xs[0], shortcut, Activation::Hardswish),
                    _ => pair.add(&xs[0], shortcut),
                }
            }
        }
    }
}

/// Sizes of a [`Pair`], and what it is made of.
#[derive(Clone, Debug)]
struct PairCase {
    n: usize,
    image: [usize; 2],
    channels: [usize; 2],
    /// The kernel has 2 * half - 1 rows and columns.
    half: usize,
    stride: usize,
    after: After,
    bias: bool,
    /// The shortcut is a normalised value.
    normed: bool,
}

fn pair_cases() -> impl Strategy<Value = PairCase> {
    let after = select(&After::ALL[..]);
    let sizes = (2usize..=3, [3usize..=6, 3..=6], [1usize..=5, 1..=5], [1usize..=2, 1..=2]);
    (sizes, after, any::<bool>(), any::<bool>()).prop_map(
        |((n, image, channels, [half, stride]), after, bias, normed)| PairCase {
            n,
            image,
            channels,
            half,
            stride,
            after,
            bias,
            normed,
        },
    )
}

pub(super) fn conv_norm_in_training<B: Backend>(backend: &B) -> Result<(), String> {
    conv_norm(backend, Mode::Train)
}

pub(super) fn conv_norm_in_evaluation<B: Backend>(backend: &B) -> Result<(), String> {
    conv_norm(backend, Mode::Eval)
}

fn conv_norm<B: Backend>(backend: &B, mode: Mode) -> Result<(), String> {
    let make = |case: &PairCase, draw: &mut Draw| {
        let &PairCase { n, image: [h, w], channels: [c, k], half, stride, after, bias, normed } = case;
        let options = Conv2dOptions::square(2 * half - 1).padding(half - 1).stride(stride);
        let init = &mut Init::new(backend, 0);
        let make = if bias { Conv2d::new } else { Conv2d::without_bias };
        let (conv, norm) = (make(init, c, k, options)?, BatchNorm2d::new(init, k)?);
        let side = (normed && after.adds()).then(|| BatchNorm2d::new(init, k)).transpose()?;
        let mut pair = Pair { conv, norm, side, after, scope: Scope::default() };
        redraw(backend, &mut pair, draw);
        if after.ends() {
            raise(backend, &mut pair.norm)?;
        }
        let mut inputs = vec![Array::new(&[n, h, w, c], |n| draw.numbers(n))];
        if after.adds() {
            let out = |size: usize| size.div_ceil(stride);
            inputs.push(Array::new(&[n, out(h), out(w), k], |n| draw.numbers(n)));
        }
        Ok((pair, inputs))
    };
    check(backend, mode, pair_cases(), make, |_, pair, xs| pair.forward(xs))
}

/// Checks blocks whose input has `c[0]` channels and whose output has `c[1]`.
fn block<B: Backend>(backend: &B, mode: Mode, sizes: impl Strategy<Value = ([usize; 2], usize)>) -> Result<(), String> {
    let make = |&([c, k], stride): &([usize; 2], usize), draw: &mut Draw| {
        let mut block = BasicBlock::new(&mut Init::new(backend, 0), c, k, stride)?;
        redraw(backend, &mut block, draw);
        Ok((block, vec![Array::new(&[2, 4, 5, c], |n| draw.numbers(n))]))
    };
    check(backend, mode, sizes, make, |_, block, xs| block.call(&xs[0]))
}

fn identity_block<B: Backend>(backend: &B) -> Result<(), String> {
    block(backend, Mode::Train, (1usize..=5).prop_map(|c| ([c, c], 1)))
}

fn downsampling_block<B: Backend>(backend: &B) -> Result<(), String> {
    let wider = (1usize..=4, 1usize..=4).prop_map(|(c, more)| [c, c + more]);
    block(backend, Mode::Train, (wider, 1usize..=2))
}

fn block_in_evaluation<B: Backend>(backend: &B) -> Result<(), String> {
    block(backend, Mode::Eval, ([1usize..=4, 1..=4], 1usize..=2))
}

/// Every module without fields, and a loss at the end.
fn sequential<B: Backend>(backend: &B) -> Result<(), String> {
    let cases = (1usize..=3, 1usize..=4, 2usize..=5, 0.0..0.5);
    let make = |&(n, c, classes, _): &(usize, usize, usize, f64), draw: &mut Draw| {
        let init = &mut Init::new(backend, 0);
        let mut model = Sequential::new()
            .push(MaxPool2d::new(Pool2dOptions::square(2).stride(1))) // [N, 7, 8, C] -> [N, 6, 7, C]
            .push(Conv2d::new(init, c, 4, Conv2dOptions::square(3))?) // -> [N, 4, 5, 4]
            .push(Gelu::default())
            .push(Silu::default())
            .push(Hardswish::default())
            .push(LeakyRelu::default())
            .push(AvgPool2d::new(Pool2dOptions::square(2).stride(1))) // -> [N, 3, 4, 4]
            .push(Sequential::new().push(Conv2d::new(init, 4, 3, Conv2dOptions::square(1))?).push(Relu::default()))
            .push(Dropout::new(0.25))
            .push(Relu6::default())
            .push(Hardsigmoid::default())
            .push(Sigmoid::default())
            .push(Flatten::default())
            .push(Linear::from_image(init, [3, 4, 3], classes)?);
        redraw(backend, &mut model, draw);
        Ok((model, vec![Array::new(&[n, 7, 8, c], |n| draw.apart(n))]))
    };
    check(backend, Mode::Train, cases, make, |&(n, _, classes, smoothing), model, xs| {
        let labels: Vec<u32> = (0..n).map(|row| (row % classes) as u32).collect();
        Ok(Output::Loss(model.call(&xs[0])?.cross_entropy(&labels, smoothing)?))
    })
}

/// A normalised value that a convolution reads as it is, and others have written; its gradient comes from all of them.
pub(super) fn unwritten_value_read_by_many<B: Backend>(backend: &B) -> Result<(), String> {
    let make = |&c: &usize, draw: &mut Draw| {
        let init = &mut Init::new(backend, 0);
        let conv = Conv2d::without_bias(init, c, c, Conv2dOptions::square(3).padding(1))?;
        let (norm, side) = (BatchNorm2d::new(init, c)?, Some(BatchNorm2d::new(init, c)?));
        let mut pair = Pair { conv, norm, side, after: After::Nothing, scope: Scope::default() };
        redraw(backend, &mut pair, draw);
        Ok((pair, vec![Array::new(&[2, 3, 4, c], |n| draw.numbers(n))]))
    };
    check(backend, Mode::Train, 1usize..=5, make, |_, pair, xs| {
        let Pair { conv, norm, side: Some(side), .. } = pair else { unreachable!("made with one") };
        let x = side.relu(&xs[0])?;
        let y = ConvNorm(conv, norm).linear(&x)?;
        x.gelu()?.add(&y)?.add(&x)
    })
}
