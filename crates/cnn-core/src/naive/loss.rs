//! Softmax and cross entropy.

use std::sync::Arc;

use num_traits::Zero;

use super::{Naive, rounded};
use crate::backend::CrossEntropy;
use crate::element::{Element, Real};

/// Index of the first largest value; NaN counts as larger than numbers. 0 for an empty row.
fn first_largest<A: Real>(row: &[A]) -> usize {
    (0..row.len())
        .fold(0, |best, i| if row[i] > row[best] || row[i].is_nan() && !row[best].is_nan() { i } else { best })
}

/// The logarithm of softmax of one row: `x - max - ln(sum(exp(x - max)))`.
fn log_softmax<A: Real>(row: &[A]) -> Vec<A> {
    let max = row[first_largest(row)];
    let sum: A = row.iter().map(|&x| (x - max).exp()).sum();
    row.iter().map(|&x| x - max - sum.ln()).collect()
}

/// exp(x) / sum exp(x) over each row.
pub(super) fn softmax<A: Real>(x: &[A], classes: usize) -> Vec<A> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(classes.max(1)) {
        let max = row[first_largest(row)];
        let exp: Vec<A> = row.iter().map(|&x| (x - max).exp()).collect();
        let sum: A = exp.iter().copied().sum();
        y.extend(exp.iter().map(|&e| e / sum));
    }
    y
}

/// `y * (dy - sum(y * dy))` over each row.
pub(super) fn softmax_backward<A: Real>(y: &[A], dy: &[A], classes: usize) -> Vec<A> {
    let mut dx = Vec::with_capacity(y.len());
    for (y, dy) in y.chunks_exact(classes.max(1)).zip(dy.chunks_exact(classes.max(1))) {
        let dot: A = y.iter().zip(dy).map(|(&y, &dy)| y * dy).sum();
        dx.extend(y.iter().zip(dy).map(|(&y, &dy)| y * (dy - dot)));
    }
    dx
}

/// The mean loss, its gradient and the hits. Without rows the mean is NaN.
pub(super) fn cross_entropy<E: Element>(
    logits: &[E::Accum],
    labels: &[u32],
    classes: usize,
    smoothing: f64,
) -> CrossEntropy<Naive<E>> {
    let rows = E::Accum::from_f64(labels.len() as f64);
    let off = E::Accum::from_f64(smoothing / classes as f64);
    let on = E::Accum::from_f64(1.0 - smoothing + smoothing / classes as f64);
    let (mut loss, mut correct) = (E::Accum::zero(), 0);
    let mut dlogits = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
        for (class, log_p) in log_softmax(row).into_iter().enumerate() {
            let target = if class == label as usize { on } else { off };
            // A class that is not wanted at all may have probability 0.
            if !target.is_zero() {
                loss += -target * log_p;
            }
            dlogits.push((num_traits::Float::exp(log_p) - target) / rows);
        }
        correct += u32::from(first_largest(row) == label as usize);
    }
    CrossEntropy { loss: Arc::new(vec![loss / rows]), dlogits: rounded(dlogits), correct: Arc::new(vec![correct]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoothed_loss_by_hand() {
        // Two classes, logits (ln 3, 0): p = (3/4, 1/4). Smoothing 0.2 wants (0.9, 0.1).
        let result = cross_entropy::<f64>(&[3f64.ln(), 0.0], &[0], 2, 0.2);
        assert!((result.loss[0] + 0.9 * 0.75f64.ln() + 0.1 * 0.25f64.ln()).abs() < 1e-15);
        assert!((result.dlogits[0] + 0.15).abs() < 1e-15 && (result.dlogits[1] - 0.15).abs() < 1e-15);
        assert_eq!(result.correct[0], 1);
    }

    // x = torch.tensor([[1.0, 2.0, -0.5], [0.25, -1.0, 3.0]], requires_grad=True)   # float64
    // loss = torch.nn.functional.cross_entropy(x, torch.tensor([1, 0]), label_smoothing=0.1); loss.backward()
    // print(loss, x.grad)
    #[test]
    fn a_smoothed_loss_like_pytorch() {
        let result = cross_entropy::<f64>(&[1.0, 2.0, -0.5, 0.25, -1.0, 3.0], &[1, 0], 3, 0.1);
        assert!((result.loss[0] - 1.633_620_949_961_724_7).abs() < 1e-15, "{:?}", result.loss);
        let expected = [
            0.110_191_424_150_845_96,
            -0.121_830_623_604_414_88,
            0.011_639_199_453_568_97,
            -0.437_131_787_870_411_57,
            -0.008_204_782_216_855_26,
            0.445_336_570_087_266_8,
        ];
        for (got, expected) in result.dlogits.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{:?}", result.dlogits);
        }
        assert_eq!(result.correct[0], 1);
    }

    #[test]
    fn the_first_of_equal_logits_is_the_answer() {
        assert_eq!(cross_entropy::<f32>(&[1.0, 1.0], &[0], 2, 0.0).correct[0], 1);
        assert_eq!(cross_entropy::<f32>(&[1.0, 1.0], &[1], 2, 0.0).correct[0], 0);
    }

    #[test]
    fn an_impossible_class_that_nobody_wants_costs_nothing() {
        let result = cross_entropy::<f32>(&[0.0, f32::NEG_INFINITY], &[0], 2, 0.0);
        assert_eq!(result.loss[0], 0.0);
    }
}
