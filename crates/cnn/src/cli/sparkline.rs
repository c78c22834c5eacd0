//! A curve in one line of text.

/// The numbers so far, as means of equal spans: when there are too many, every two become one.
#[derive(Debug)]
pub(crate) struct Sparkline {
    means: Vec<f64>,
    /// Numbers of a span, and the sum and count of the one that is not full.
    span: u32,
    sum: f64,
    count: u32,
}

/// Spans that are kept, twice as many as are ever drawn.
const MOST: usize = 64;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Default for Sparkline {
    fn default() -> Self {
        Sparkline { means: Vec::with_capacity(MOST), span: 1, sum: 0.0, count: 0 }
    }
}

impl Sparkline {
    /// Adds a number; one that is not finite is left out.
    pub(crate) fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        (self.sum, self.count) = (self.sum + value, self.count + 1);
        if self.count < self.span {
            return;
        }
        self.means.push(self.sum / f64::from(self.count));
        (self.sum, self.count) = (0.0, 0);
        if self.means.len() == MOST {
            self.means = self.means.chunks_exact(2).map(|two| (two[0] + two[1]) / 2.0).collect();
            self.span *= 2;
        }
    }

    /// The curve in at most `width` characters, from its least value to its greatest.
    pub(crate) fn draw(&self, width: usize) -> String {
        let width = width.min(self.means.len());
        let part = |i: usize| &self.means[i * self.means.len() / width..(i + 1) * self.means.len() / width];
        let means: Vec<f64> = (0..width).map(|i| part(i).iter().sum::<f64>() / part(i).len() as f64).collect();
        let least = means.iter().copied().fold(f64::INFINITY, f64::min);
        let range = means.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least;
        let height = |mean: f64| if range > 0.0 { ((mean - least) / range * 7.0).round() as usize } else { 0 };
        means.into_iter().map(|mean| STEPS[height(mean).min(7)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_from_the_lowest_step_to_the_highest() {
        let mut line = Sparkline::default();
        assert_eq!(line.draw(16), "");
        line.push(3.0);
        assert_eq!(line.draw(16), "▁");
        (0..8).rev().for_each(|i| line.push(f64::from(i)));
        line.push(f64::NAN);
        assert_eq!(line.draw(16), "▄█▇▆▅▄▃▂▁");
        assert_eq!(line.draw(0), "");
    }

    #[test]
    fn a_long_run_keeps_its_shape_in_little_memory() {
        let mut line = Sparkline::default();
        (0..100_000).for_each(|i| line.push(-f64::from(i)));
        assert!(line.means.len() < MOST);
        assert_eq!(line.draw(8), "█▇▆▅▄▃▂▁");
    }
}
