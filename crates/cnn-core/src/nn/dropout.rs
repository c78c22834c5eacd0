//! Dropout layers.

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

/// Zeroes whole images at random in training: a branch that is left out for some of a batch, beside a shortcut that stays.
/// torchvision's `StochasticDepth` in its mode `row`.
#[derive(Clone, Debug)]
pub struct StochasticDepth {
    /// How likely an image is zeroed.
    pub probability: f64,
    scope: Scope,
}

impl StochasticDepth {
    /// Zeroes images with this probability, at least 0 and below 1.
    pub fn new(probability: f64) -> Self {
        StochasticDepth { probability, scope: Scope::default() }
    }
}

stateless! {
    Dropout: |self, x| x.dropout(self.probability);
    StochasticDepth: |self, x| x.stochastic_depth(self.probability);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Naive, Pass, Tensor};

    #[test]
    fn whole_images_are_dropped_and_the_others_are_larger() {
        let backend = Naive::<f64>::new();
        let images = |pass: &Pass<Naive<f64>>| {
            let x = Tensor::from_slice(&backend, [1000, 1, 2, 2], &[3.0; 4000]).unwrap();
            let y = StochasticDepth::new(0.25).call(&pass.input(x).unwrap()).unwrap();
            y.to_vec().unwrap().chunks_exact(4).map(|image| image.try_into().unwrap()).collect::<Vec<[f64; 4]>>()
        };
        let trained = images(&Pass::train(&backend, 5));
        assert!(trained.iter().all(|image| [[0.0; 4], [4.0; 4]].contains(image)), "{trained:?}");
        let dropped = trained.iter().filter(|image| image[0] == 0.0).count();
        assert!((200..300).contains(&dropped), "{dropped} of 1000");
        assert_eq!(images(&Pass::train(&backend, 5)), trained);
        assert_ne!(images(&Pass::train(&backend, 5).at_step(1)), trained);
        assert_eq!(images(&Pass::eval(&backend)), [[3.0; 4]; 1000]);
    }

    #[test]
    fn a_probability_is_below_one() {
        let backend = Naive::<f64>::new();
        let pass = Pass::train(&backend, 0);
        let x = pass.input(Tensor::from_slice(&backend, [1, 2], &[1.0, 2.0]).unwrap()).unwrap();
        for probability in [1.0, -0.1, f64::NAN] {
            let error = x.stochastic_depth(probability).map(drop).unwrap_err().to_string();
            assert_eq!(error, format!("dropout probability {probability}: must be at least 0 and below 1"));
        }
    }
}
