//! Softmax and cross entropy.

use cnn_core::{Backend, Result};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Case, Kind, Lab};

/// Logits of some rows.
#[derive(Clone, Debug)]
pub struct Loss {
    rows: usize,
    classes: usize,
    smoothing: f64,
    /// Added to all logits: exp of it overflows.
    offset: f64,
    seed: u32,
}

/// Losses of every size.
pub fn loss() -> impl Strategy<Value = Loss> {
    let rows = prop_oneof![4 => 1usize..=9, 1 => 10usize..=300];
    let classes = prop_oneof![1 => Just(1), 4 => 2usize..=20, 2 => select(vec![64, 100, 1000])];
    (rows, classes, select(vec![0.0, 0.1, 0.5]), select(vec![0.0, 0.0, 1000.0, -1000.0]), any::<u32>())
        .prop_map(|(rows, classes, smoothing, offset, seed)| Loss { rows, classes, smoothing, offset, seed })
}

impl Case for Loss {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, numel) = (lab.backend(), self.rows * self.classes);
        // Integers stay small: their ties say which class counts as the answer.
        let spread = if lab.kind() == Kind::Real { 8.0 } else { 1.0 };
        let logits: Vec<f64> = lab.numbers(numel).into_iter().map(|v| lab.round(spread * v + self.offset)).collect();
        let logits = lab.data(&logits)?;
        let labels: Vec<u32> = (0..self.rows).map(|_| lab.stream().below(self.classes as u32)).collect();
        let labels = backend.upload(&labels)?;
        let dy = lab.numbers(numel);
        let dy = lab.data(&dy)?;

        let result = backend.cross_entropy(&logits, &labels, self.classes, self.smoothing)?;
        lab.report_wide("loss", &result.loss)?.close().relative_to(1.0);
        let dlogits = lab.report("dlogits", &result.dlogits)?.close();
        dlogits.relative_to(1.0 / (self.rows as f64 * (numel as f64).sqrt()));
        lab.report_indices("correct", &result.correct)?;

        let y = backend.softmax(&logits, self.classes)?;
        lab.report("softmax", &y)?.close();
        // With given probabilities: those of two backends are not the same to the last bit.
        let y = lab.positive(numel);
        let y = lab.data(&y)?;
        let dx = backend.softmax_backward(&y, dy, self.classes)?;
        lab.report("dx of softmax", &dx)?.relative_to((self.classes as f64).sqrt());
        Ok(())
    }
}
