//! What an optimiser's kernels are given.

use super::device::{Device, Wide};
use crate::{Error, Result};

/// Whether a step may touch the weights.
#[derive(Debug)]
pub struct Health<B: Device> {
    /// The Euclidean norm of all gradients: one number.
    pub norm: Wide<B>,
    /// 1 if the norm is finite and not above the largest that a step can be made with, and the loss is finite where one was
    /// given, else 0: one number.
    pub finite: B::Buffer<u32>,
}

/// The numbers of one SGD step, as PyTorch defines them: `g = gradient + weight_decay * w`;
/// `v = momentum * v + g`; `w -= lr * (nesterov ? g + momentum * v : v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Look ahead along the velocity.
    pub nesterov: bool,
    /// Gradients are scaled down so that their norm is at most this; infinite for never.
    pub max_norm: f64,
}

/// One parameter in an SGD step.
#[derive(Debug)]
pub struct SgdParam<'a, B: Device> {
    /// The weights.
    pub value: &'a mut Wide<B>,
    /// Their gradient.
    pub gradient: &'a Wide<B>,
    /// Their velocity, zero before the first step.
    pub velocity: &'a mut Wide<B>,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// L2 penalty.
    pub weight_decay: f64,
}

/// The numbers of one step of Adam (Kingma & Ba 2015) or, when `decoupled`, AdamW (Loshchilov & Hutter 2019), as PyTorch
/// defines them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay shrinks the weights themselves instead of entering the gradient.
    pub decoupled: bool,
    /// Gradients are scaled down so that their norm is at most this; infinite for never.
    pub max_norm: f64,
}

/// One parameter in an Adam step.
#[derive(Debug)]
pub struct AdamParam<'a, B: Device> {
    /// The weights.
    pub value: &'a mut Wide<B>,
    /// Their gradient.
    pub gradient: &'a Wide<B>,
    /// First moment, zero before the first step.
    pub m: &'a mut Wide<B>,
    /// Second moment, zero before the first step.
    pub v: &'a mut Wide<B>,
    /// How many steps have moved it, one number: this one is the next, and is counted when it is taken.
    pub steps: &'a mut B::Buffer<u32>,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// Refuses buffers of two lengths; what every backend's `blend` calls first.
pub fn check_blend(into: usize, from: usize) -> Result<()> {
    if into == from {
        return Ok(());
    }
    Err(Error::invalid(
        "length of a blended buffer",
        from,
        format!("must be {into}, that of the one it is blended into"),
    ))
}
