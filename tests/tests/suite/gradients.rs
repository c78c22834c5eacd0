//! Gradients against central differences, in f64, through the tape: every operation, every layer, a whole block.
//!
//! See [`difference`] for what is compared and how.

mod blocks;
mod difference;
mod exact;
mod layers;
mod ops;
mod planted;
mod tape;

/// A test on each backend for each function of this file: `fn name<B: Backend>(backend: &B) -> Result<(), String>`.
macro_rules! on_every_backend {
    ($($test:ident)*) => {
        mod naive {
            $( #[test]
            fn $test() {
                super::$test(&cnn_core::Naive::<f64>::new()).unwrap_or_else(|error| panic!("{error}"));
            } )*
        }
        mod cpu {
            $( #[test]
            fn $test() {
                let backend = cnn_cpu::Cpu::<f64>::with_threads(2).unwrap();
                super::$test(&backend).unwrap_or_else(|error| panic!("{error}"));
            } )*
        }
    };
}
use on_every_backend;
