//! Binary cross entropy.

use cnn_core::backend::Accum;
use cnn_core::{Backend, Real, Result};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Case, Kind, Lab};

/// Logits of some rows, each with a target.
#[derive(Clone, Debug)]
pub struct BinaryLoss {
    rows: usize,
    classes: usize,
    /// Whether targets are between 0 and 1 too, as of images that were mixed.
    soft: bool,
    weighted: bool,
    /// By which the logits are large: e^x overflows.
    scale: f64,
    seed: u32,
}

/// Losses of every size.
pub fn binary_loss() -> impl Strategy<Value = BinaryLoss> {
    let rows = prop_oneof![4 => 1usize..=9, 1 => 10usize..=300];
    let classes = prop_oneof![2 => Just(1), 4 => 2usize..=20, 2 => select(vec![64, 100, 1000])];
    let scale = select(vec![1.0, 1.0, 1.0, 1000.0]);
    (rows, classes, any::<bool>(), any::<bool>(), scale, any::<u32>()).prop_map(
        |(rows, classes, soft, weighted, scale, seed)| BinaryLoss { rows, classes, soft, weighted, scale, seed },
    )
}

/// No rows, one and several parts; classes around the widths of vectors; very many rows, and very many classes.
pub fn edges() -> Vec<BinaryLoss> {
    let shapes = [0, 1, 3, 700].into_iter().flat_map(|rows| [1, 2, 10, 16, 17, 33, 100].map(|classes| (rows, classes)));
    let kinds = [(false, false), (true, false), (true, true)];
    let case = |(rows, classes), (soft, weighted)| BinaryLoss { rows, classes, soft, weighted, scale: 1.0, seed: 1 };
    let many = [(8200, 2), (3, 2500)];
    shapes.chain(many).flat_map(|shape| kinds.map(|kind| case(shape, kind))).collect()
}

/// A row of two logits that are not all finite, or zero.
#[derive(Clone, Debug)]
pub struct SpecialLogits {
    row: [f64; 2],
    targets: [f64; 2],
}

/// All of them, with all sorts of targets.
pub fn special_logits() -> Vec<SpecialLogits> {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0];
    let targets = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.25]];
    let row = |a| values.map(|b| [a, b]);
    values.into_iter().flat_map(row).flat_map(|row| targets.map(|targets| SpecialLogits { row, targets })).collect()
}

impl Case for SpecialLogits {
    fn seed(&self) -> u32 {
        0
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, logits) = (lab.backend(), lab.data(&self.row)?);
        let targets = backend.upload(&self.targets.map(<Accum<B> as Real>::from_f64))?;
        let result = backend.binary_cross_entropy(2, &logits, &targets, None)?;
        lab.report_wide("loss", &result.loss)?.close();
        lab.report("dlogits", &result.dlogits)?.close();
        lab.report_indices("correct", &result.correct)?;
        Ok(())
    }
}

impl Case for BinaryLoss {
    fn seed(&self) -> u32 {
        self.seed
    }

    fn run<B: Backend>(&self, lab: &mut Lab<'_, B>) -> Result<()> {
        let (backend, numel) = (lab.backend(), self.rows * self.classes);
        // Integers stay small, and are 0 often: which side that is on shows in what is right.
        let spread = if lab.kind() == Kind::Real { 8.0 * self.scale } else { self.scale };
        let logits: Vec<f64> = lab.numbers(numel).into_iter().map(|v| lab.round(spread * v)).collect();
        // Three of four are as the logits say, so that rows are right too.
        let target = |&x: &f64, lab: &mut Lab<'_, B>| {
            let yes = (x >= 0.0) != (lab.stream().below(4 * self.classes as u32) == 0);
            let part = if self.soft { f64::from(lab.stream().below(3)) / 4.0 } else { 0.0 };
            if yes { 1.0 - part } else { part }
        };
        let targets: Vec<f64> = logits.iter().map(|x| target(x, lab)).collect();
        let logits = lab.data(&logits)?;
        let targets = backend.upload(&targets.into_iter().map(Real::from_f64).collect::<Vec<Accum<B>>>())?;
        let weights: Vec<f64> = (0..self.classes).map(|_| f64::from(1 + lab.stream().below(7)) / 4.0).collect();
        let weights = backend.upload(&weights.into_iter().map(Real::from_f64).collect::<Vec<Accum<B>>>())?;
        let weights = self.weighted.then_some(&weights);

        let result = backend.binary_cross_entropy(self.classes, &logits, &targets, weights)?;
        lab.report_wide("loss", &result.loss)?.close().relative_to(1.0);
        lab.report("dlogits", &result.dlogits)?.close().relative_to(1.0 / (numel as f64).max(1.0));
        lab.report_indices("correct", &result.correct)?;
        Ok(())
    }
}
