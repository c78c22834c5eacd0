//! Dense layers and sums over rows.

use cnn_core::backend::{Activation, Epilogue, LinearSpec};
use cnn_core::{Backend, Result};
use proptest::prelude::*;

use super::{CHANNELS, activation, channels};
use crate::{Case, Lab};

/// One dense layer.
#[derive(Clone, Debug)]
pub struct Linear {
    spec: LinearSpec,
    bias: bool,
    residual: bool,
    activation: Option<Activation>,
    seed: u32,
}

/// Dense layers of every size.
pub fn linear() -> impl Strategy<Value = Linear> {
    let rows = prop_oneof![1 => Just(0), 10 => 1usize..=9, 4 => 10usize..=70];
    let features = || prop_oneof![3 => channels(), 1 => 1usize..=150, 1 => Just(600)];
    (rows, features(), features(), any::<[bool; 2]>(), activation(), any::<u32>())
        .prop_filter("large", |&(rows, inputs, outputs, ..)| rows * inputs * outputs <= 2_000_000)
        .prop_map(|(rows, inputs, outputs, [bias, residual], activation, seed)| Linear {
            spec: LinearSpec { rows, inputs, outputs },
            bias,
            residual,
            activation,
            seed,
        })
}

/// Few rows, which are not packed, and more; widths around those of vectors; sums of one term and of several parts.
pub fn edges() -> Vec<Linear> {
    let mut specs = Vec::new();
    for rows in [0, 1, 2, 3, 4, 5, 17] {
        for outputs in CHANNELS {
            specs.extend([1, 7, 130].map(|inputs| LinearSpec { rows, inputs, outputs }));
        }
    }
    specs.extend([1, 4, 9].map(|rows| LinearSpec { rows, inputs: 2000, outputs: 100 }));
    let activations = [None, Some(Activation::Relu)]; // exact on integers
    let case = |(i, spec)| Linear {
        spec,
        bias: i % 2 == 0,
        residual: i % 3 == 0,
        activation: activations[i / 2 % 2],
        seed: i as u32,
    };
    specs.into_iter().enumerate().map(case).collect()
}

impl Case for Linear {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, spec) = (lab.backend(), &self.spec);
        let (x, dy) = (lab.numbers(spec.rows * spec.inputs), lab.numbers(spec.rows * spec.outputs));
        let (x, dy) = (lab.data(&x)?, lab.data(&dy)?);
        let (weight, bias) = (lab.numbers(spec.inputs * spec.outputs), lab.numbers(spec.outputs));
        let (weight, bias) = (lab.wide(&weight)?, lab.wide(&bias)?);
        // What would be a gradient on the way back is as good a residual on the way there.
        let epilogue = Epilogue {
            bias: self.bias.then_some(&bias),
            residual: self.residual.then_some(&dy),
            activation: self.activation,
        };
        let y = backend.linear(spec, &x, &weight, epilogue)?;
        // Numbers of either sign may nearly cancel; their sum would usually be this large.
        let sum_of = |terms: usize| (terms as f64).sqrt() / 3.0;
        let report = lab.report("y", &y)?.relative_to(sum_of(spec.inputs));
        if self.activation.is_some_and(|activation| activation != Activation::Relu) {
            report.close();
        }
        lab.report("dx", &backend.linear_backward_data(spec, &dy, &weight)?)?.relative_to(sum_of(spec.outputs));
        lab.report_wide("dw", &backend.linear_backward_weight(spec, &dy, &x)?)?.relative_to(sum_of(spec.rows));
        lab.report_wide("sum over rows", &backend.sum_rows(&dy, spec.outputs)?)?.relative_to(sum_of(spec.rows));
        Ok(())
    }
}
