//! Layers without parameters between others.

use crate::nn::pool2d::stateless;
use crate::nn::{Module, Scope};
use crate::{Backend, Result, Var};

/// max(x, 0).
#[derive(Clone, Debug, Default)]
pub struct Relu {
    scope: Scope,
}

/// x * Phi(x).
#[derive(Clone, Debug, Default)]
pub struct Gelu {
    scope: Scope,
}

/// \[N, ...\] to \[N, features\].
#[derive(Clone, Debug, Default)]
pub struct Flatten {
    scope: Scope,
}

stateless! {
    Relu: |self, x| x.relu();
    Gelu: |self, x| x.gelu();
    Flatten: |self, x| x.flatten();
}
