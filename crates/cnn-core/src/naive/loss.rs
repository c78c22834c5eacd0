//! Softmax and cross entropy, and the binary one.

use std::sync::Arc;

use super::{Naive, rounded};
use crate::backend::{CrossEntropy, CrossEntropySpec};
use crate::element::{Element, Real};

/// Index of the first largest value; NaN counts as larger than numbers. 0 for an empty row.
fn first_largest<A: Real>(row: &[A]) -> usize {
    (0..row.len())
        .fold(0, |best, i| if row[i] > row[best] || row[i].is_nan() && !row[best].is_nan() { i } else { best })
}

/// `x - max` of one row, and the sum of their exponentials.
fn shifted<A: Real>(row: &[A]) -> (Vec<f64>, f64) {
    let max = row[first_largest(row)].as_f64();
    let shifted: Vec<f64> = row.iter().map(|x| x.as_f64() - max).collect();
    let sum = shifted.iter().map(|x| x.exp()).sum();
    (shifted, sum)
}

/// exp(x) / sum exp(x) over each row.
pub(super) fn softmax<A: Real>(x: &[A], classes: usize) -> Vec<A> {
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(classes.max(1)) {
        let (shifted, sum) = shifted(row);
        y.extend(shifted.iter().map(|x| A::from_f64(x.exp() / sum)));
    }
    y
}

/// `y * (dy - sum(y * dy))` over each row.
pub(super) fn softmax_backward<A: Real>(y: &[A], dy: &[A], classes: usize) -> Vec<A> {
    let mut dx = Vec::with_capacity(y.len());
    for (y, dy) in y.chunks_exact(classes.max(1)).zip(dy.chunks_exact(classes.max(1))) {
        let dot: f64 = y.iter().zip(dy).map(|(y, dy)| y.as_f64() * dy.as_f64()).sum();
        dx.extend(y.iter().zip(dy).map(|(y, dy)| A::from_f64(y.as_f64() * (dy.as_f64() - dot))));
    }
    dx
}

/// The mean loss, its gradient and the hits. Without rows the mean is NaN.
///
/// The loss is `(1 - smoothing) * cost(label) + smoothing / classes * (sum of all costs)`, the first term in two parts where
/// labels are mixed, term by term as PyTorch has it: a class of probability 0 costs nothing where nobody wants it (no smoothing), and NaN where it is the label and
/// all is smoothed away (`0 * inf`). Each cost is times the weight of its class.
pub(super) fn cross_entropy<E: Element>(
    spec: &CrossEntropySpec,
    logits: &[E::Accum],
    labels: &[u32],
    weights: Option<&[E::Accum]>,
) -> CrossEntropy<Naive<E>> {
    let CrossEntropySpec { classes, smoothing, own, mean_weight } = *spec;
    let (count, off) = (labels.len() as f64 * mean_weight, smoothing / classes as f64);
    let weight = |class: usize| weights.map_or(1.0, |weights| weights[class].as_f64());
    let (mut loss, mut correct) = (0.0, 0);
    let mut dlogits = Vec::with_capacity(logits.len());
    for (n, (row, &label)) in logits.chunks_exact(classes.max(1)).zip(labels).enumerate() {
        let other = labels[(n + labels.len() - 1) % labels.len()];
        let (shifted, sum) = shifted(row);
        let log_p: Vec<f64> = shifted.iter().map(|x| x - sum.ln()).collect();
        let cost = |class: usize| -weight(class) * log_p[class];
        loss += (1.0 - smoothing) * own * cost(label as usize);
        if own < 1.0 {
            loss += (1.0 - smoothing) * (1.0 - own) * cost(other as usize);
        }
        if smoothing > 0.0 {
            loss += off * (0..classes).map(cost).sum::<f64>();
        }
        let target = |class: usize| {
            let at = |label: u32, part: f64| if class == label as usize { (1.0 - smoothing) * part } else { 0.0 };
            weight(class) * (at(label, own) + at(other, 1.0 - own) + off)
        };
        // 1 without weights.
        let all = if weights.is_some() { (0..classes).map(target).sum() } else { 1.0 };
        dlogits
            .extend((0..classes).map(|class| E::Accum::from_f64((all * log_p[class].exp() - target(class)) / count)));
        correct += u32::from(first_largest(row) == spec.larger(label, other) as usize);
    }
    let loss = E::Accum::from_f64(loss / count);
    CrossEntropy { loss: Arc::new(vec![loss]), dlogits: rounded(dlogits), correct: Arc::new(vec![correct]) }
}

/// The mean loss over all logits, its gradient and the rows of which everything is right. Without logits the mean is NaN.
///
/// With `yes = weight * target` and `no = 1 - target` a logit x costs `yes * softplus(-x) + no * softplus(x)`, and its gradient is
/// `(yes + no) * sigmoid(x) - yes`. Of softplus(x) = max(x, 0) + ln(1 + e^-|x|) the first part is x on one side of 0 only.
pub(super) fn binary_cross_entropy<E: Element>(
    classes: usize,
    logits: &[E::Accum],
    targets: &[E::Accum],
    weights: Option<&[E::Accum]>,
) -> CrossEntropy<Naive<E>> {
    let count = logits.len() as f64;
    let (mut loss, mut correct) = (0.0, 0);
    let mut dlogits = Vec::with_capacity(logits.len());
    for (row, targets) in logits.chunks_exact(classes.max(1)).zip(targets.chunks_exact(classes.max(1))) {
        let mut right = true;
        for (class, (x, target)) in row.iter().zip(targets).enumerate() {
            let (x, target) = (x.as_f64(), target.as_f64());
            let (yes, no) = (weights.map_or(1.0, |weights| weights[class].as_f64()) * target, 1.0 - target);
            let small = (-x.abs()).exp();
            let wrong_side = if x < 0.0 { yes } else { no };
            // 0 * infinity would be NaN.
            let far = if wrong_side == 0.0 && !x.is_nan() { 0.0 } else { wrong_side * x.abs() };
            loss += far + (yes + no) * small.ln_1p();
            let sigmoid = if x < 0.0 { small } else { 1.0 } / (1.0 + small);
            dlogits.push(E::Accum::from_f64(((yes + no) * sigmoid - yes) / count));
            right &= !x.is_nan() && (x >= 0.0) == (target >= 0.5);
        }
        correct += u32::from(right);
    }
    let loss = E::Accum::from_f64(loss / count);
    CrossEntropy { loss: Arc::new(vec![loss]), dlogits: rounded(dlogits), correct: Arc::new(vec![correct]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cross_entropy<E: Element>(
        logits: &[E::Accum],
        labels: &[u32],
        classes: usize,
        smoothing: f64,
    ) -> CrossEntropy<Naive<E>> {
        super::cross_entropy::<E>(&CrossEntropySpec::new(classes, smoothing), logits, labels, None)
    }

    #[test]
    fn a_smoothed_loss_by_hand() {
        // Two classes, logits (ln 3, 0): p = (3/4, 1/4). Smoothing 0.2 wants (0.9, 0.1).
        let result = cross_entropy::<f64>(&[3f64.ln(), 0.0], &[0], 2, 0.2);
        assert!((result.loss[0] + 0.9 * 0.75f64.ln() + 0.1 * 0.25f64.ln()).abs() < 1e-15);
        assert!((result.dlogits[0] + 0.15).abs() < 1e-15 && (result.dlogits[1] - 0.15).abs() < 1e-15);
        assert_eq!(result.correct[0], 1);
    }

    const LOGITS: [f64; 6] = [1.0, 2.0, -0.5, 0.25, -1.0, 3.0];

    // x = torch.tensor([[1.0, 2.0, -0.5], [0.25, -1.0, 3.0]], requires_grad=True)   # float64
    // loss = torch.nn.functional.cross_entropy(x, torch.tensor([1, 0]), label_smoothing=0.1); loss.backward()
    // print(loss, x.grad)
    #[test]
    fn a_smoothed_loss_like_pytorch() {
        let result = cross_entropy::<f64>(&LOGITS, &[1, 0], 3, 0.1);
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

    // x = torch.tensor([[1.0, 2.0, -0.5], [0.25, -1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    // target = 0.7 * one_hot([1, 0]) + 0.3 * one_hot([0, 1])
    // loss = torch.nn.functional.cross_entropy(x, target, label_smoothing=0.1); loss.backward(); print(loss, x.grad)
    const MIXED: (f64, [f64; 6]) = (
        1.9373709499617247,
        [
            -0.02480857584915408,
            0.01316937639558513,
            0.011639199453568973,
            -0.30213178787041156,
            -0.1432047822168553,
            0.4453365700872668,
        ],
    );

    #[test]
    fn a_mixed_loss_like_pytorch() {
        let spec = CrossEntropySpec { own: 0.7, ..CrossEntropySpec::new(3, 0.1) };
        let result = super::cross_entropy::<f64>(&spec, &LOGITS, &[1, 0], None);
        assert!((result.loss[0] - MIXED.0).abs() < 1e-15, "{:?}", result.loss);
        for (got, expected) in result.dlogits.iter().zip(MIXED.1) {
            assert!((got - expected).abs() < 1e-15, "{:?}", result.dlogits);
        }
        // What was mixed to less than a half is called by the other's label: that of row 0 is 0 then, of row 1 it is 1.
        let hits = |own, logits: &[f64; 6]| {
            super::cross_entropy::<f64>(&CrossEntropySpec { own, ..spec }, logits, &[1, 0], None).correct[0]
        };
        let logits = [9.0, 1.0, 0.0, 1.0, 9.0, 0.0];
        assert_eq!([hits(0.7, &logits), hits(0.5, &logits), hits(0.3, &logits)], [0, 0, 2]);
    }

    // weight = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64), labels [1, 0] and the target above:
    // torch.nn.functional.cross_entropy(x, labels or target, weight=weight, label_smoothing=0.1)
    const WEIGHTED: (f64, [f64; 6]) = (
        0.972596714182842,
        [
            0.18869479319230278,
            -0.2156191603507988,
            0.02692436715849622,
            -0.1730806224203893,
            -0.02277419981975342,
            0.1958548222401427,
        ],
    );
    const WEIGHTED_AND_MIXED: (f64, [f64; 6]) = (
        2.1183890695627148,
        [
            0.11699096470928586,
            -0.1391825478787106,
            0.02219158316942484,
            -0.13688915211300332,
            -0.29504068657251814,
            0.43192983868552143,
        ],
    );

    #[test]
    fn a_weighted_loss_like_pytorch() {
        let weights = [0.5, 2.0, 1.25];
        // A mean over the weights, of 2 and 0.5, where labels are classes; over the rows, where they are probabilities.
        let own = CrossEntropySpec { mean_weight: 1.25, ..CrossEntropySpec::new(3, 0.1) };
        let mixed = CrossEntropySpec { own: 0.7, ..CrossEntropySpec::new(3, 0.1) };
        for (spec, (loss, dlogits)) in [(own, WEIGHTED), (mixed, WEIGHTED_AND_MIXED)] {
            let result = super::cross_entropy::<f64>(&spec, &LOGITS, &[1, 0], Some(&weights));
            assert!((result.loss[0] - loss).abs() < 1e-15, "{:?}", result.loss);
            for (got, expected) in result.dlogits.iter().zip(dlogits) {
                assert!((got - expected).abs() < 1e-15, "{:?}", result.dlogits);
            }
        }
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

    // loss = torch.nn.functional.cross_entropy(torch.tensor([[-torch.inf, 0.0]]), torch.tensor([0]), label_smoothing=1.0)
    #[test]
    fn an_impossible_label_that_is_smoothed_away_is_not_a_number() {
        assert!(cross_entropy::<f64>(&[f64::NEG_INFINITY, 0.0], &[0], 2, 1.0).loss[0].is_nan());
        assert_eq!(cross_entropy::<f64>(&[f64::NEG_INFINITY, 0.0], &[1], 2, 1.0).loss[0], f64::INFINITY);
    }

    #[test]
    fn a_thousand_classes_lose_no_digits_in_f32() {
        let classes = 1000;
        let logits: Vec<f32> = (0..classes).map(|i| (i * 7919 % 613) as f32 / 100.0).collect();
        let wide: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        let (narrow, wide) =
            (cross_entropy::<f32>(&logits, &[3], classes, 0.1), cross_entropy::<f64>(&wide, &[3], classes, 0.1));
        assert_eq!(narrow.loss[0], wide.loss[0] as f32);
    }

    // x = torch.tensor([[1.0, 2.0, -0.5], [0.25, -1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    // target = torch.tensor([[1.0, 0.0, 0.25], [0.0, 1.0, 1.0]]), weight = torch.tensor([0.5, 2.0, 1.25])   # float64
    // loss = F.binary_cross_entropy_with_logits(x, target, pos_weight=weight or None); loss.backward(); print(loss, x.grad)
    #[test]
    fn a_binary_loss_like_pytorch() {
        let targets = [1.0, 0.0, 0.25, 0.0, 1.0, 1.0];
        for (weights, loss, dlogits) in [(None, PLAIN.0, PLAIN.1), (Some(&[0.5, 2.0, 1.25][..]), HEAVY.0, HEAVY.1)] {
            let result = binary_cross_entropy::<f64>(3, &LOGITS, &targets, weights);
            assert!((result.loss[0] - loss).abs() < 1e-15, "{:?}", result.loss);
            for (got, expected) in result.dlogits.iter().zip(dlogits) {
                assert!((got - expected).abs() < 1e-15, "{:?}", result.dlogits);
            }
            // The first row says yes to its second class, the second row to its first and no to its second.
            assert_eq!(result.correct[0], 0);
        }
    }

    const PLAIN: (f64, [f64; 6]) = (
        0.8711758569520184,
        [
            -0.04482357022833252,
            0.14679951299631372,
            0.021256778133024234,
            0.09369608348096635,
            -0.12184309643833414,
            -0.007904312196261106,
        ],
    );
    const HEAVY: (f64, [f64; 6]) = (
        1.076118772479319,
        [
            -0.02241178511416626,
            0.14679951299631372,
            0.01477282676633825,
            0.09369608348096635,
            -0.2436861928766683,
            -0.009880390245326387,
        ],
    );

    #[test]
    fn a_row_is_right_where_all_of_it_is() {
        let right = |x: [f64; 4], targets: [f64; 4]| binary_cross_entropy::<f64>(2, &x, &targets, None).correct[0];
        assert_eq!(right([1.0, -1.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]), 2);
        assert_eq!(right([1.0, -1.0, 1.0, -1.0], [1.0, 0.0, 1.0, 1.0]), 1);
        assert_eq!(right([0.0, -0.1, -0.1, 0.0], [0.5, 0.4, 0.4, 0.5]), 2);
        assert_eq!(right([f64::NAN, -1.0, -1.0, f64::NAN], [1.0, 0.0, 0.0, 0.0]), 0);
    }

    #[test]
    fn what_is_wanted_for_sure_costs_nothing() {
        let infinite = [f64::INFINITY, f64::NEG_INFINITY];
        let result = binary_cross_entropy::<f64>(2, &infinite, &[1.0, 0.0], None);
        assert_eq!((result.loss[0], &result.dlogits[..], result.correct[0]), (0.0, &[0.0, 0.0][..], 1));
        assert_eq!(binary_cross_entropy::<f64>(2, &infinite, &[0.0, 0.0], None).loss[0], f64::INFINITY);
        assert!(binary_cross_entropy::<f64>(2, &[f64::NAN, 0.0], &[1.0, 0.0], None).loss[0].is_nan());
    }
}
