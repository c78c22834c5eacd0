//! The learning rate as a function of the step: nothing to save, nothing to resume.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate falls from its peak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Anneal {
    /// Not at all.
    Constant,
    /// Multiplied by `gamma` after every `every` steps.
    Step {
        /// Steps between two drops.
        every: u64,
        /// Factor of a drop.
        gamma: f64,
    },
    /// Half a cosine down to 0 at the last step (Loshchilov & Hutter 2017, without restarts).
    Cosine,
    /// PyTorch's OneCycleLR (Smith & Topin 2018), also of a few steps: half a cosine from peak / 25 up to the peak over `pct_start` of all steps,
    /// then half a cosine down to peak / 250,000.
    OneCycle {
        /// Part of all steps in which the rate rises.
        #[serde(alias = "rise")]
        pct_start: f64,
    },
    /// In a straight line from `start` times the peak up to it over `pct_start` of all steps, then in a straight line down to
    /// `end` times it, which the step after the last would have.
    Triangle {
        /// Part of the peak before the first step.
        start: f64,
        /// Part of all steps in which the rate rises.
        pct_start: f64,
        /// Part of the peak that is left behind the last step.
        end: f64,
    },
}

/// A learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// How it falls.
    pub anneal: Anneal,
    /// Steps of linear rise from 0 before anything else (step `i` of `n` has `(i + 1) / n` of the peak).
    pub warmup: u64,
    /// All steps, warm-up included.
    pub total: u64,
}

impl Schedule {
    /// The learning rate of a step, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let Schedule { peak, anneal, warmup, total } = *self;
        if step < warmup {
            return peak * (step + 1) as f64 / warmup as f64;
        }
        let (step, total) = (step - warmup, total.saturating_sub(warmup));
        let cosine = |from: f64, to: f64, at: f64| to + (from - to) * (1.0 + (PI * at.clamp(0.0, 1.0)).cos()) / 2.0;
        match anneal {
            Anneal::Constant => peak,
            Anneal::Step { every, gamma } => peak * gamma.powf((step / every.max(1)) as f64),
            Anneal::Cosine => cosine(peak, 0.0, step as f64 / total.max(1) as f64),
            Anneal::Triangle { start, pct_start, end } => {
                let top = (pct_start * total as f64).floor();
                let (at, total) = (step as f64, total as f64);
                let line = |from: f64, to: f64, part: f64| from + (to - from) * part.clamp(0.0, 1.0);
                match at < top {
                    true => peak * line(start, 1.0, at / top),
                    false => peak * line(1.0, end, (at - top) / (total - top).max(1.0)),
                }
            }
            Anneal::OneCycle { pct_start } => {
                let last = total.saturating_sub(1) as f64;
                // PyTorch counts the step of the peak from 0 as well: pct_start * total - 1, which need be no step of the run and
                // may be before its first one.
                let top = pct_start * total as f64 - 1.0;
                let (at, start, end) = (step as f64, peak / 25.0, peak / 250_000.0);
                match at <= top {
                    true if top > 0.0 => cosine(start, peak, at / top),
                    true => peak, // the run begins there; PyTorch divides by zero
                    false => cosine(peak, end, (at - top) / (last - top)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy.interp(range(10), [0, 2, 10], [0.2, 1, 0.07])
    #[test]
    fn a_triangle_is_two_lines() {
        let anneal = Anneal::Triangle { start: 0.2, pct_start: 0.23, end: 0.07 };
        let schedule = Schedule { peak: 2.0, anneal, warmup: 0, total: 10 };
        let expected = [0.2, 0.6, 1.0, 0.88375, 0.7675, 0.65125, 0.535, 0.41875, 0.3025, 0.18625];
        for (step, expected) in expected.into_iter().enumerate() {
            assert!((schedule.rate(step as u64) - 2.0 * expected).abs() < 1e-12, "step {step}");
        }
        let falling = Schedule { anneal: Anneal::Triangle { start: 9.0, pct_start: 0.0, end: 0.0 }, ..schedule };
        assert_eq!([0, 5, 10, 99].map(|step| falling.rate(step)), [2.0, 1.0, 0.0, 0.0]);
        let short = Schedule { total: 0, ..schedule };
        assert!(short.rate(0).is_finite());
    }

    /// torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10, pct_start=0.3)
    #[test]
    fn one_cycle_is_pytorchs() {
        let schedule = Schedule { peak: 0.1, anneal: Anneal::OneCycle { pct_start: 0.3 }, warmup: 0, total: 10 };
        let expected = [
            0.004,
            0.052,
            0.1,
            0.09504846320134737,
            0.0811745653949763,
            0.06112620219362893,
            0.03887419780637107,
            0.018825834605023698,
            0.004951936798652631,
            4.0e-07,
        ];
        for (step, expected) in expected.into_iter().enumerate() {
            let rate = schedule.rate(step as u64);
            assert!((rate - expected).abs() < 1e-12, "step {step}: {rate}, expected {expected}");
        }
    }

    /// torch.optim.lr_scheduler.OneCycleLR with max_lr=0.1, but for those that it divides by zero in.
    #[test]
    fn one_cycle_is_pytorchs_where_a_phase_is_short() {
        for (total, pct_start, expected) in [
            (1, 0.3, &[4e-7][..]),
            (2, 0.3, &[0.081_174_565_394_976_3, 4e-7]),
            (3, 0.3, &[0.099_441_488_235_152_8, 0.046_263_726_857_385_8, 4e-7]),
            (3, 0.9, &[0.004, 0.065_135_791_298_163_5, 4e-7]),
            (2, 0.5, &[0.1, 4e-7]), // ZeroDivisionError
            (1, 1.0, &[0.1]),       // ZeroDivisionError
        ] {
            let schedule = Schedule { peak: 0.1, anneal: Anneal::OneCycle { pct_start }, warmup: 0, total };
            for (step, &expected) in expected.iter().enumerate() {
                let rate = schedule.rate(step as u64);
                assert!((rate - expected).abs() < 1e-7, "{total} steps, pct_start {pct_start}: step {step} has {rate}");
            }
        }
        let rate = |pct_start, step| {
            Schedule { peak: 0.1, anneal: Anneal::OneCycle { pct_start }, warmup: 0, total: 10 }.rate(step)
        };
        assert!((rate(0.0, 0) - 0.097_552_8).abs() < 1e-7 && rate(0.1, 0) == 0.1);
        for (total, pct_start) in
            (1..40).flat_map(|total| (0..=40).map(move |pct_start| (total, f64::from(pct_start) / 40.0)))
        {
            let schedule = Schedule { peak: 0.1, anneal: Anneal::OneCycle { pct_start }, warmup: 0, total };
            let rates: Vec<f64> = (0..total + 3).map(|step| schedule.rate(step)).collect();
            assert!(
                rates.iter().all(|rate| (0.0..=0.1).contains(rate)),
                "{total} steps, pct_start {pct_start}: {rates:?}"
            );
            // With a pct_start of 1 the run ends at its peak, as PyTorch's.
            let end = if pct_start == 1.0 { 0.1 } else { 4e-7 };
            let last = rates[total as usize - 1];
            assert!(total == 1 || (last - end).abs() < 1e-12, "{total} steps, pct_start {pct_start}: ends at {last}");
        }
    }

    #[test]
    fn warm_up_reaches_the_peak_and_cosine_ends_near_zero() {
        let schedule = Schedule { peak: 1.0, anneal: Anneal::Cosine, warmup: 4, total: 104 };
        assert_eq!([0, 1, 2, 3, 4].map(|step| schedule.rate(step)), [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(schedule.rate(103) < 3e-4 && schedule.rate(1000) == 0.0);
    }
}
