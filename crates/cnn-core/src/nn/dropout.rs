//! Dropout layer.

use crate::nn::pool2d::stateless;
use crate::nn::{Module, Scope};
use crate::{Backend, Result, Var};

/// Zeroes elements at random in training.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// How likely an element is zeroed.
    pub probability: f64,
    scope: Scope,
}

impl Dropout {
    /// Zeroes elements with this probability, at least 0 and below 1.
    pub fn new(probability: f64) -> Self {
        Dropout { probability, scope: Scope::default() }
    }
}

stateless! {
    Dropout: |self, x| x.dropout(self.probability);
}
