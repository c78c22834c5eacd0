//! The rates of the recipe beside those at which the loss falls and explodes.

use cnn::train::{RateRange, Trainer};
use cnn_measure::Machine;

use super::Finding;
use crate::cli::failure::Failure;
use crate::cli::sparkline::Sparkline;

/// The rates that are tried, and how many.
const SWEEP: (f64, f64, usize) = (1e-5, 10.0, 100);
/// Steps of the recipe's own schedule that are made at most, to see whether it bears its highest rate.
const RISE: usize = 300;
/// Parts of the best rate of the sweep that are tried where the recipe's own is too high. A one-cycle schedule bears about that
/// rate (L. Smith and N. Topin, "Super-Convergence", 2017), a constant one a third or a quarter of it (L. Smith, "Cyclical
/// Learning Rates for Training Neural Networks", 2015, section 3.3).
const PARTS: [f64; 4] = [1.0, 1.0 / 3.0, 0.1, 0.01];
/// Times below the rate at which the loss falls fastest at which a highest rate is slow.
const SLOW: f64 = 10.0;

/// What was tried.
pub(super) struct Rates {
    pub(super) range: RateRange,
    /// The rate at which the loss exploded on the recipe's own way, if the sweep cast doubt on it and it did.
    pub(super) on_the_way: Option<f64>,
    /// Whether that way was tried.
    tried: bool,
    /// A highest rate that the schedule bears, where it does not bear its own.
    pub(super) suggested: Option<f64>,
}

impl Rates {
    /// Sweeps the rates; if the loss explodes at or below `highest`, or that is past the sweep's end, the recipe's own way is
    /// tried: from a low rate and in more steps a network bears more.
    pub(super) fn found<B: Machine>(
        trainer: &impl Fn() -> cnn::train::Result<Trainer<B>>,
        highest: f64,
    ) -> Result<Self, Failure> {
        let (low, high, steps) = SWEEP;
        let range = trainer()?.rate_range(low, high, steps)?;
        let mut rates = Rates { range, on_the_way: None, tried: false, suggested: None };
        let explodes_at = |lr: f64, start: f64| -> Result<Option<f64>, Failure> {
            Ok(trainer()?.explodes_on_the_way(lr, start, RISE)?)
        };
        let Some(start) = rates.range.start.filter(|_| rates.doubted(highest)) else { return Ok(rates) };
        rates.on_the_way = explodes_at(highest, start)?;
        rates.tried = true;
        if let (Some(_), Some(best)) = (rates.on_the_way, rates.best()) {
            for lr in PARTS.map(|part| two_digits(part * best)) {
                if lr < highest && explodes_at(lr, start)?.is_none() {
                    rates.suggested = Some(lr);
                    break;
                }
            }
        }
        Ok(rates)
    }

    /// The best rate of the sweep: that of the least loss or, if it never clearly fell, a tenth of that at which it exploded.
    fn best(&self) -> Option<f64> {
        self.range.lowest.or(self.range.explodes.map(|rate| rate / 10.0))
    }

    fn doubted(&self, highest: f64) -> bool {
        let last = self.range.trials.last().map_or(0.0, |trial| trial.0);
        highest >= self.range.explodes.unwrap_or(last)
    }

    /// The rates of the recipe, the first and the highest, in the light of that.
    pub(super) fn judged(&self, first: f64, highest: f64) -> Finding {
        let what = "rates";
        let RateRange { trials, smooth, fastest, lowest, explodes, .. } = &self.range;
        let (Some(&(low, _)), Some(&(high, _))) = (trials.first(), trials.last()) else {
            let words = "the loss was not finite at the lowest rate: look at the images (cnn data DATA) and try --precision f32";
            return Finding { what, good: false, words: words.to_owned() };
        };
        let mut curve = Sparkline::default();
        smooth.iter().for_each(|&loss| curve.push(loss));
        let tried = format!("smoothed loss at rates from {} to {}: {}", short(low), short(high), curve.draw(32));
        let mut found = match (lowest, fastest) {
            (Some(lowest), Some(fastest)) => {
                format!("it falls fastest at {} and is lowest at {}", short(*fastest), short(*lowest))
            }
            (Some(lowest), None) => format!("it is lowest at {}", short(*lowest)),
            _ => format!("it does not clearly fall in {} steps, which are few", trials.len()),
        };
        if let Some(explodes) = explodes {
            found += &format!("; from {} on it is more than at the start", short(*explodes));
        }
        // What was tried on the recipe's own way tells more.
        if let Some(lowest) = lowest.filter(|_| !self.tried) {
            let range = [lowest / 3.0, lowest].map(short);
            found += &format!("\nrecommended for --lr, the highest rate: {} to {}", range[0], range[1]);
        }
        let asked = if first < highest {
            format!("the recipe goes from {} up to {}", short(first), short(highest))
        } else {
            format!("the recipe begins at {}", short(first))
        };
        let (good, verdict) = match (self.on_the_way, self.suggested) {
            (Some(at), Some(lr)) => {
                let advice = format!("try --lr {}, which its schedule bears", short(lr));
                (false, format!("{asked}, and on that way the loss explodes at {}: {advice}", short(at)))
            }
            (Some(at), None) => {
                let advice = format!("try a far lower --lr than {}", short(at));
                (false, format!("{asked}, and on that way the loss explodes at {}: {advice}", short(at)))
            }
            _ if self.tried => {
                (true, format!("{asked}, slowly: its first steps were tried and the loss does not explode"))
            }
            _ if fastest.is_some_and(|fastest| highest < fastest / SLOW) => {
                let lr = short(lowest.unwrap_or(highest) / 3.0);
                (false, format!("{asked}, far below: it will learn slowly: try --lr {lr}"))
            }
            _ => (true, asked),
        };
        Finding { what, good, words: format!("{tried}\n{found}\n{verdict}") }
    }
}

/// What [`short`] shows.
fn two_digits(rate: f64) -> f64 {
    short(rate).parse().unwrap_or(rate)
}

/// A rate in two digits.
pub(super) fn short(rate: f64) -> String {
    let digits = (1 - rate.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{rate:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        let texts = [0.05, 0.0123, 1e-5, 10.0, 1.5, 0.1, 123.0].map(short);
        assert_eq!(texts, ["0.05", "0.012", "0.00001", "10", "1.5", "0.1", "123"]);
    }

    #[test]
    fn a_rate_that_is_too_high_or_low_is_said() {
        let trials: Vec<(f64, f64)> = (0..60).map(|i| (1e-4 * 1.2f64.powi(i), f64::from((i - 40).abs()))).collect();
        let smooth: Vec<f64> = trials.iter().map(|trial| trial.1).collect();
        let range: RateRange = serde_json::from_value(serde_json::json!({
            "trials": trials, "smooth": smooth, "start": 40.0, "lowest": 0.1, "fastest": 0.01, "explodes": 1.0, "diverged": true
        }))
        .unwrap();
        let mut rates = Rates { range, on_the_way: None, tried: false, suggested: None };
        assert!(!rates.doubted(0.9) && rates.doubted(1.0) && rates.doubted(50.0));
        let verdict = |rates: &Rates, first, highest| {
            let Finding { good, words, .. } = rates.judged(first, highest);
            assert!(words.contains("lowest at 0.1; from 1 on it"), "{words}");
            assert_eq!(words.contains("--lr, the highest rate: 0.033 to 0.1"), !rates.tried, "{words}");
            (good, words.lines().last().unwrap_or_default().to_owned())
        };
        assert_eq!(verdict(&rates, 0.002, 0.05), (true, "the recipe goes from 0.002 up to 0.05".to_owned()));
        let slow = verdict(&rates, 1e-5, 1e-4);
        assert!(!slow.0 && slow.1.ends_with("learn slowly: try --lr 0.033"), "{slow:?}");
        rates.tried = true;
        let born = verdict(&rates, 0.2, 5.0);
        assert!(born.0 && born.1.contains("does not explode"), "{born:?}");
        rates.on_the_way = Some(3.0);
        let wild = verdict(&rates, 0.2, 5.0);
        assert!(!wild.0 && wild.1.ends_with("explodes at 3: try a far lower --lr than 3"), "{wild:?}");
        rates.suggested = Some(0.1);
        let wild = verdict(&rates, 0.2, 5.0);
        assert!(!wild.0 && wild.1.ends_with("explodes at 3: try --lr 0.1, which its schedule bears"), "{wild:?}");
        rates.range.trials.clear();
        assert!(!rates.judged(0.1, 0.2).good);
    }
}
