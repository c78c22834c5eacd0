//! Softmax and cross entropy.

use cnn_core::backend::{Accum, CrossEntropySpec};
use cnn_core::{Backend, Real, Result};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Case, Kind, Lab};

/// Logits of some rows.
#[derive(Clone, Debug)]
pub struct Loss {
    rows: usize,
    classes: usize,
    smoothing: f64,
    /// Part of each label that is its row's own.
    own: f64,
    /// Whether the classes have weights, by which the mean is taken too.
    weighted: bool,
    /// Added to all logits: exp of it overflows.
    offset: f64,
    seed: u32,
}

/// Losses of every size.
pub fn loss() -> impl Strategy<Value = Loss> {
    let rows = prop_oneof![4 => 1usize..=9, 1 => 10usize..=300];
    let classes = prop_oneof![1 => Just(1), 4 => 2usize..=20, 2 => select(vec![64, 100, 1000])];
    let own = select(vec![1.0, 1.0, 0.75, 0.25, 0.0]);
    let offset = select(vec![0.0, 0.0, 1000.0, -1000.0]);
    (rows, classes, select(vec![0.0, 0.1, 0.5]), own, any::<bool>(), offset, any::<u32>()).prop_map(
        |(rows, classes, smoothing, own, weighted, offset, seed)| Loss {
            rows,
            classes,
            smoothing,
            own,
            weighted,
            offset,
            seed,
        },
    )
}

/// No rows, one and several parts; classes around the widths of vectors; very many rows, and very many classes.
pub fn edges() -> Vec<Loss> {
    let shapes = [0, 1, 3, 700].into_iter().flat_map(|rows| [1, 2, 10, 16, 17, 33, 100].map(|classes| (rows, classes)));
    let loss = |rows, classes, smoothing, own, weighted| {
        let offset = 0.0;
        Loss { rows, classes, smoothing, own, weighted, offset, seed: 1 }
    };
    let kinds = [(0.0, 1.0, false), (0.1, 1.0, false), (0.1, 0.625, false), (0.0, 1.0, true), (0.1, 0.625, true)];
    let case = move |(rows, classes)| kinds.map(|(s, own, weighted)| loss(rows, classes, s, own, weighted));
    let many = [(8200, 2, false), (8200, 2, true), (3, 2500, false), (3, 2500, true)];
    let many = many.map(|(rows, classes, weighted)| loss(rows, classes, 0.1, 0.875, weighted));
    shapes.flat_map(case).chain(many).collect()
}

/// A row of logits that are not all finite, or all alike.
#[derive(Clone, Debug)]
pub struct SpecialRow {
    row: [f64; 3],
    label: u32,
    smoothing: f64,
}

/// All of them, with each label.
pub fn special_rows() -> Vec<SpecialRow> {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let rows = [[nan, 0.0, 1.0], [0.0, 1.0, nan], [-inf, 0.0, -inf], [inf, 0.0, 1.0], [-inf; 3], [1.0; 3]];
    let cases = |row| {
        let with = move |label| [0.0, 0.25].map(|smoothing| SpecialRow { row, label, smoothing });
        (0..3).flat_map(with)
    };
    rows.into_iter().flat_map(cases).collect()
}

impl Case for SpecialRow {
    fn seed(&self) -> u32 {
        0
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, logits) = (lab.backend(), lab.data(&self.row)?);
        let result = backend.cross_entropy(
            &CrossEntropySpec::new(3, self.smoothing),
            &logits,
            &backend.upload(&[self.label])?,
            None,
        )?;
        lab.report_wide("loss", &result.loss)?.close();
        lab.report_indices("correct", &result.correct)?;
        lab.report("softmax", &backend.softmax(&logits, 3)?)?.close();
        Ok(())
    }
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
        // Their mean is 1 or near that, so that bounds stay what they are.
        let weights: Vec<f64> = (0..self.classes).map(|_| f64::from(1 + lab.stream().below(7)) / 4.0).collect();
        let labelled = labels.iter().map(|&label| weights[label as usize]).sum::<f64>();
        let mean_weight = if self.weighted { labelled / self.rows.max(1) as f64 } else { 1.0 };
        let weights = backend.upload(&weights.into_iter().map(Real::from_f64).collect::<Vec<Accum<B>>>())?;
        let weights = self.weighted.then_some(&weights);
        let labels = backend.upload(&labels)?;
        let dy = lab.numbers(numel);
        let dy = lab.data(&dy)?;

        let spec =
            CrossEntropySpec { own: self.own, mean_weight, ..CrossEntropySpec::new(self.classes, self.smoothing) };
        let result = backend.cross_entropy(&spec, &logits, &labels, weights)?;
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
