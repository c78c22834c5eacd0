//! Layers without parameters between others.

use crate::nn::pool2d::stateless;
use crate::nn::{Module, Scope};
use crate::{Backend, Result, Var};

/// max(x, 0).
#[derive(Clone, Debug, Default)]
pub struct Relu {
    scope: Scope,
}

/// min(max(x, 0), 6).
#[derive(Clone, Debug, Default)]
pub struct Relu6 {
    scope: Scope,
}

/// x where it is above 0, else x / 100.
#[derive(Clone, Debug, Default)]
pub struct LeakyRelu {
    scope: Scope,
}

/// x * Phi(x).
#[derive(Clone, Debug, Default)]
pub struct Gelu {
    scope: Scope,
}

/// x * sigmoid(x).
#[derive(Clone, Debug, Default)]
pub struct Silu {
    scope: Scope,
}

/// x * min(max(x + 3, 0), 6) / 6.
#[derive(Clone, Debug, Default)]
pub struct Hardswish {
    scope: Scope,
}

/// 1 / (1 + exp(-x)).
#[derive(Clone, Debug, Default)]
pub struct Sigmoid {
    scope: Scope,
}

/// min(max(x + 3, 0), 6) / 6.
#[derive(Clone, Debug, Default)]
pub struct Hardsigmoid {
    scope: Scope,
}

/// \[N, ...\] to \[N, features\].
#[derive(Clone, Debug, Default)]
pub struct Flatten {
    scope: Scope,
}

stateless! {
    Relu: |self, x| x.relu();
    Relu6: |self, x| x.relu6();
    LeakyRelu: |self, x| x.leaky_relu();
    Gelu: |self, x| x.gelu();
    Silu: |self, x| x.silu();
    Hardswish: |self, x| x.hardswish();
    Sigmoid: |self, x| x.sigmoid();
    Hardsigmoid: |self, x| x.hardsigmoid();
    Flatten: |self, x| x.flatten();
}
