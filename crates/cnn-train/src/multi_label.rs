//! How a network does on images that may have none, one or several of the classes.

use serde::Serialize;

/// Figures of all classes together and of each. What is at least a half probable counts as said of an image; an average precision needs
/// no such bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MultiLabelFigures {
    /// Mean of the average precisions of the classes that an image has; none where no image has any.
    pub mean_average_precision: Option<f64>,
    /// F1 of all decisions together: 2 right / (said + there). None where nothing is there or said.
    pub f1_micro: Option<f64>,
    /// Mean of the F1 of the classes that an image has.
    pub f1_macro: Option<f64>,
    /// Of each class.
    pub classes: Vec<ClassFigures>,
    /// The logits, \[images, classes\], in the order of the set.
    #[serde(skip)]
    pub logits: Vec<f32>,
}

/// Figures of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClassFigures {
    /// Images that have it.
    pub images: u64,
    /// Images of which it was said.
    pub predicted: u64,
    /// Those of them that have it.
    pub correct: u64,
    /// The mean precision over recall, from the most probable image to the least: scikit-learn's `average_precision_score`. None
    /// where no image has the class.
    pub average_precision: Option<f64>,
}

impl ClassFigures {
    /// Of the images that have the class, the part of which it was said; none without such images.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.correct, self.images)
    }

    /// Of the images of which it was said, the part that has it; none without such images.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.correct, self.predicted)
    }

    /// The harmonic mean of both; none where the class is neither there nor said.
    pub fn f1(&self) -> Option<f64> {
        ratio(2 * self.correct, self.images + self.predicted)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl MultiLabelFigures {
    /// Of `logits` \[images, classes\] where `has` says which classes an image has.
    pub(crate) fn of(logits: Vec<f32>, has: &[bool], classes: usize) -> Self {
        let of_class = |class: usize| {
            let each = || logits.iter().zip(has).skip(class).step_by(classes.max(1));
            let scored: Vec<(f32, bool)> = each().map(|(&logit, &has)| (logit, has)).collect();
            let count = |is: fn(&(f32, bool)) -> bool| scored.iter().filter(|one| is(one)).count() as u64;
            ClassFigures {
                images: count(|one| one.1),
                predicted: count(|one| one.0 >= 0.0),
                correct: count(|one| one.0 >= 0.0 && one.1),
                average_precision: average_precision(scored),
            }
        };
        let of: Vec<ClassFigures> = (0..classes).map(of_class).collect();
        let there = || of.iter().filter(|class| class.images > 0);
        let sum = |part: fn(&ClassFigures) -> u64| of.iter().map(part).sum::<u64>();
        MultiLabelFigures {
            mean_average_precision: mean(&there().filter_map(|class| class.average_precision).collect::<Vec<_>>()),
            f1_micro: ratio(2 * sum(|class| class.correct), sum(|class| class.images + class.predicted)),
            f1_macro: mean(&there().filter_map(ClassFigures::f1).collect::<Vec<_>>()),
            classes: of,
            logits,
        }
    }

    /// How probable `class` is of image `image`: the sigmoid of its logit.
    pub fn probability(&self, image: usize, class: usize) -> f64 {
        sigmoid(f64::from(self.logits[image * self.classes.len() + class]))
    }
}

/// 1 / (1 + e^-x).
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The sum over all scores of the precision among those that are as high, times the part of the positives that is there: equal scores
/// come together.
fn average_precision(mut scored: Vec<(f32, bool)>) -> Option<f64> {
    let positives = scored.iter().filter(|one| one.1).count();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut found, mut sum) = (0, 0, 0.0);
    for equal in scored.chunk_by(|a, b| a.0 == b.0) {
        let more = equal.iter().filter(|one| one.1).count();
        (seen, found) = (seen + equal.len(), found + more);
        sum += more as f64 * (found as f64 / seen as f64);
    }
    (positives > 0).then(|| sum / positives as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    // sklearn.metrics: average_precision_score(has, scores), and f1_score(has, scores >= 0, average=...)
    #[test]
    fn figures_are_those_of_scikit_learn() {
        let scores = [0.1f32, -2.0, 0.4, 0.5, 0.35, 1.5, -0.8, 0.5];
        let has = [false, true, false, true, true, true, false, false];
        let figures = MultiLabelFigures::of(scores.to_vec(), &has, 2);
        let [a, b] = figures.classes[..] else { panic!("{figures:?}") };
        assert_eq!([a.images, a.predicted, a.correct], [1, 3, 1]);
        assert_eq!([b.images, b.predicted, b.correct], [3, 3, 2]);
        assert_eq!(a.average_precision, Some(0.5));
        // 1.5 is right; the two of 0.5 come together, and one is; the last, -2, is the fourth.
        let expected = (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0;
        assert!((b.average_precision.unwrap() - expected).abs() < 1e-12, "{b:?}");
        assert!((figures.mean_average_precision.unwrap() - (0.5 + expected) / 2.0).abs() < 1e-12);
        assert_eq!(figures.f1_micro, Some(6.0 / 10.0));
        assert_eq!(figures.f1_macro, Some((0.5 + 4.0 / 6.0) / 2.0));
        assert!((figures.probability(0, 0) - 1.0 / (1.0 + (-0.1f64).exp())).abs() < 1e-6);
    }

    #[test]
    fn a_class_that_no_image_has_is_in_no_mean() {
        let figures = MultiLabelFigures::of(vec![1.0, 1.0, -1.0, -1.0], &[true, false, false, false], 2);
        assert_eq!((figures.mean_average_precision, figures.f1_macro), (Some(1.0), Some(1.0)));
        assert_eq!((figures.classes[1].average_precision, figures.classes[1].recall()), (None, None));
        let none = MultiLabelFigures::of(vec![-1.0], &[false], 1);
        assert_eq!((none.mean_average_precision, none.f1_micro, none.f1_macro), (None, None, None));
    }
}
