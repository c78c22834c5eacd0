//! Activations, dropout and addition.

use cnn_core::backend::Activation;
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Backend, DropoutSpec, Result};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Case, Kind, Lab};

/// Some elements and what is done to each.
#[derive(Clone, Debug)]
pub struct Elementwise {
    len: usize,
    probability: f64,
    seed: u32,
}

/// Lengths around those of vectors and chunks.
pub fn elementwise() -> impl Strategy<Value = Elementwise> {
    let len = prop_oneof![1 => Just(0), 9 => 1usize..=70, 9 => 71usize..=5000, 1 => 60_000usize..=140_000];
    // Divisors that are powers of two are exact, however the quotient is computed.
    let probability = select(vec![0.0, 0.5, 0.75]);
    (len, probability, any::<u32>()).prop_map(|(len, probability, seed)| Elementwise { len, probability, seed })
}

/// Lengths around those of vectors and of parts.
pub fn edges() -> Vec<Elementwise> {
    let lens = [0, 1, 7, 16, 17, 129, 16_384, 40_001];
    lens.into_iter().flat_map(|len| [0.0, 0.5].map(|probability| Elementwise { len, probability, seed: 1 })).collect()
}

/// What [`Activation::ALL`] computes and its gradient, in reports.
const NAMES: [[&str; 2]; 8] = [
    ["relu", "dx of relu"],
    ["relu6", "dx of relu6"],
    ["leaky relu", "dx of leaky relu"],
    ["gelu", "dx of gelu"],
    ["silu", "dx of silu"],
    ["hardswish", "dx of hardswish"],
    ["sigmoid", "dx of sigmoid"],
    ["hardsigmoid", "dx of hardsigmoid"],
];

impl Case for Elementwise {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let backend = lab.backend();
        let (mut x, dy) = (lab.numbers(self.len), lab.numbers(self.len));
        if lab.kind() == Kind::Integers {
            let specials = [f64::NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY];
            x.iter_mut().rev().zip(specials).for_each(|(x, special)| *x = special);
        }
        let (x, dy) = (lab.data(&x)?, lab.data(&dy)?);
        let y = backend.activate(Activation::Relu, x.clone())?;
        lab.report("relu", &y)?.exact();
        lab.report("dx of relu", &backend.activate_backward(Activation::Relu, &y, dy.clone())?)?.exact();
        // With a second handle alive nothing may be overwritten.
        lab.report("dy after relu_backward", &dy)?.exact();

        let mask = Philox::new(u64::from(self.seed), Purpose::Dropout, 3, 1);
        lab.report("dropout", &backend.dropout(x.clone(), &DropoutSpec::elements(self.probability), &mask)?)?.exact();
        let third = backend.dropout(x.clone(), &DropoutSpec::elements(0.3), &mask)?;
        lab.report("dropout of 0.3", &third)?.close();
        // So likely that in f32 it is certain.
        let all = DropoutSpec::elements(1.0 - 1e-9);
        lab.report("all dropped", &backend.dropout(dy.clone(), &all, &mask)?)?.exact();
        // Some elements of a vector share a draw, and of a part many.
        for (name, shared_by) in [("dropout of fives", 5), ("dropout of thirds", 1 + self.len / 3)] {
            let spec = DropoutSpec { probability: self.probability, shared_by };
            lab.report(name, &backend.dropout(x.clone(), &spec, &mask)?)?.exact();
        }
        lab.report("sum", &backend.add(x.clone(), &dy)?)?;
        lab.report("x after all", &x)?.exact();

        // Past the ends of every straight line, which integers hit, into the tails of every curve.
        let draw = |lab: &mut Lab<'_, B>| match lab.kind() {
            Kind::Real => {
                let z = lab.stream().range(-8.0, 8.0);
                lab.round(z)
            }
            Kind::Integers => f64::from(lab.stream().below(17)) - 8.0,
        };
        let z: Vec<f64> = (0..self.len).map(|_| draw(lab)).collect();
        // As inputs, and as what was saved: of outputs they are more than there can be, but rounded on neither side.
        let (z, specials) = (lab.data(&z)?, lab.data(&[f64::NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY])?);
        for (activation, names) in Activation::ALL.into_iter().zip(NAMES) {
            let y = backend.activate(activation, z.clone())?;
            let dx = backend.activate_backward(activation, &z, dy.clone())?;
            for (name, result) in names.into_iter().zip([&y, &dx]) {
                let report = lab.report(name, result)?;
                if matches!(activation, Activation::Gelu | Activation::Silu | Activation::Sigmoid) {
                    report.close().relative_to(0.1); // a slope that is nearly 0 is a difference of larger numbers
                }
            }
            let special = backend.activate(activation, specials.clone())?;
            lab.report(names[0], &special)?.close();
        }
        Ok(())
    }
}
