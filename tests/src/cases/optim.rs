//! Blends of parameters, and some steps of an optimiser over several parameters, one of them with a gradient that is not finite.

use cnn_core::backend::{AdamParam, AdamStep, SgdParam, SgdStep, Wide};
use cnn_core::{Backend, Result};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Case, Lab};

/// Parameters and how they are trained.
#[derive(Clone, Debug)]
pub struct Optimiser {
    lens: Vec<usize>,
    weight_decay: f64,
    max_norm: f64,
    momentum: f64,
    nesterov: bool,
    decoupled: bool,
    /// What the loss of the last step is.
    last_loss: f64,
    /// An element of the last step's gradients that is not finite.
    broken: bool,
    seed: u32,
}

/// Optimisers of every setting.
pub fn optimiser() -> impl Strategy<Value = Optimiser> {
    let len = prop_oneof![2 => Just(0), 20 => 1usize..=100, 8 => 101usize..=5000, 1 => 40_000usize..=70_000];
    let lens = proptest::collection::vec(len, 1..=6);
    let numbers = (select(vec![0.0, 0.05]), select(vec![f64::INFINITY, 0.5, 3.0]), select(vec![0.0, 0.9]));
    let switches = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.2));
    let last_loss = prop_oneof![3 => Just(1.0), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)];
    (lens, numbers, switches, last_loss, any::<u32>()).prop_map(
        |(lens, (weight_decay, max_norm, momentum), (nesterov, decoupled, broken), last_loss, seed)| Optimiser {
            lens,
            weight_decay,
            max_norm,
            momentum,
            nesterov,
            decoupled,
            last_loss,
            broken,
            seed,
        },
    )
}

/// Parameters small, large and many, every optimiser, and steps that are not taken.
pub fn edges() -> Vec<Optimiser> {
    let case = |(i, (momentum, nesterov, max_norm, last_loss)): (usize, (f64, bool, f64, f64))| Optimiser {
        lens: vec![1, 0, 40_000, 16, 17, 16_385],
        weight_decay: 0.01 * i as f64,
        max_norm,
        momentum,
        nesterov,
        decoupled: i % 2 == 0,
        last_loss,
        broken: i == 3,
        seed: i as u32,
    };
    const NEVER: f64 = f64::INFINITY;
    let cases = [
        (0.9, false, NEVER, 0.0),
        (0.9, true, 100.0, 0.0),
        (0.0, false, 1000.0, 0.0),
        (0.0, false, NEVER, 0.0),
        (0.9, true, NEVER, f64::NAN),
    ];
    let mut cases: Vec<_> = cases.into_iter().enumerate().map(case).collect();
    // More parameters than a kernel may take at once.
    cases.push(Optimiser { lens: (0..150).map(|i| i * 37 % 19).collect(), ..cases[1].clone() });
    cases
}

const STEPS: u64 = 3;

impl Optimiser {
    /// One buffer for each parameter.
    fn draw<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<Vec<Wide<B>>> {
        let draw = |&len: &usize| {
            let values = lab.numbers(len);
            lab.wide(&values)
        };
        self.lens.iter().map(draw).collect()
    }

    fn zeros<B: Backend>(&self, lab: &Lab<'_, B>) -> Result<Vec<Wide<B>>> {
        self.lens.iter().map(|&len| lab.wide(&vec![0.0; len])).collect()
    }

    /// The gradients of step `t` and the loss.
    fn step<B: Backend>(&self, lab: &mut Lab<'_, B>, t: u64) -> Result<(Vec<Wide<B>>, Wide<B>)> {
        let mut gradients = self.draw(lab)?;
        if self.broken && t == STEPS {
            let mut values = vec![0.5; self.lens[0]];
            values.iter_mut().last().into_iter().for_each(|last| *last = f64::NEG_INFINITY);
            gradients[0] = lab.wide(&values)?;
        }
        let loss = lab.wide(&[if t == STEPS { self.last_loss } else { 1.0 }])?;
        Ok((gradients, loss))
    }

    fn blend<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (mut into, from) = (self.draw(lab)?, self.draw(lab)?);
        let before = into.clone(); // shared: must stay
        for (into, from) in into.iter_mut().zip(&from) {
            lab.backend().blend(into, self.momentum, from, -0.5)?;
            lab.report_wide("blended", into)?.close().relative_to(1.0);
            lab.backend().blend(into, 1.0, from, 1.0)?;
            lab.report_wide("added", into)?.close().relative_to(1.0);
        }
        for of in before.iter().chain(&from) {
            lab.report_wide("what was only read", of)?.exact();
        }
        Ok(())
    }

    fn sgd<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (mut values, mut velocities) = (self.draw(lab)?, self.zeros(lab)?);
        let Optimiser { momentum, nesterov, max_norm, weight_decay, .. } = *self;
        for t in 1..=STEPS {
            let (gradients, loss) = self.step(lab, t)?;
            let health =
                lab.backend().gradient_health(Some(&loss), &gradients.iter().collect::<Vec<_>>(), f64::INFINITY)?;
            lab.report_wide("norm", &health.norm)?.close();
            lab.report_indices("finite", &health.finite)?;
            let mut parameters: Vec<_> = (values.iter_mut().zip(&gradients).zip(&mut velocities).enumerate())
                .map(|(i, ((value, gradient), velocity))| {
                    let lr_scale = 1.0 + i as f64;
                    SgdParam { value, gradient, velocity, lr_scale, weight_decay }
                })
                .collect();
            lab.backend().sgd(&SgdStep { lr: 0.1, momentum, nesterov, max_norm }, &mut parameters, &health)?;
        }
        for (value, velocity) in values.iter().zip(&velocities) {
            lab.report_wide("value after sgd", value)?.close().relative_to(1.0);
            lab.report_wide("velocity", velocity)?.close().relative_to(0.1);
        }
        Ok(())
    }

    fn adam<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (mut values, mut m, mut v) = (self.draw(lab)?, self.zeros(lab)?, self.zeros(lab)?);
        // Each parameter has taken another number of steps before.
        let mut steps = (0..self.lens.len() as u32).map(|i| lab.backend().fill(1, i)).collect::<Result<Vec<_>>>()?;
        let Optimiser { decoupled, max_norm, weight_decay, .. } = *self;
        for t in 1..=STEPS {
            let (gradients, loss) = self.step(lab, t)?;
            let health =
                lab.backend().gradient_health(Some(&loss), &gradients.iter().collect::<Vec<_>>(), f64::INFINITY)?;
            let mut parameters: Vec<_> = (values.iter_mut().zip(&gradients))
                .zip(m.iter_mut().zip(&mut v).zip(&mut steps))
                .enumerate()
                .map(|(i, ((value, gradient), ((m, v), steps)))| {
                    let lr_scale = 1.0 + i as f64;
                    AdamParam { value, gradient, m, v, steps, lr_scale, weight_decay }
                })
                .collect();
            // A large eps: with a small one a gradient of 1e-8 moves its weight as far as one of 1.
            let step = AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-2, decoupled, max_norm };
            lab.backend().adam(&step, &mut parameters, &health)?;
        }
        for (value, (m, v)) in values.iter().zip(m.iter().zip(&v)) {
            lab.report_wide("value after adam", value)?.close().relative_to(1.0);
            lab.report_wide("first moment", m)?.close().relative_to(1e-2);
            lab.report_wide("second moment", v)?.close();
        }
        for steps in &steps {
            lab.report_indices("steps", steps)?;
        }
        Ok(())
    }
}

impl Case for Optimiser {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        self.sgd(lab)?;
        self.adam(lab)?;
        self.blend(lab)
    }
}
