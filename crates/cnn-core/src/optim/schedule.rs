//! The learning rate as a function of the step: nothing to save, nothing to resume.

use std::f64::consts::PI;

/// How the learning rate falls from its peak.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// PyTorch's OneCycleLR (Smith & Topin 2018): half a cosine from peak / 25 up to the peak over `rise` of all steps,
    /// then half a cosine down to peak / 250,000.
    OneCycle {
        /// Part of all steps in which the rate rises.
        rise: f64,
    },
}

/// A learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
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
            Anneal::OneCycle { rise } => {
                let last = total.saturating_sub(1) as f64;
                // PyTorch counts the step of the peak from 0 as well: rise * total - 1.
                let top = (rise * total as f64 - 1.0).max(0.0);
                let (at, start, end) = (step as f64, peak / 25.0, peak / 250_000.0);
                if at <= top && top > 0.0 {
                    cosine(start, peak, at / top)
                } else {
                    cosine(peak, end, (at - top) / (last - top).max(1.0))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10, pct_start=0.3)
    #[test]
    fn one_cycle_is_pytorchs() {
        let schedule = Schedule { peak: 0.1, anneal: Anneal::OneCycle { rise: 0.3 }, warmup: 0, total: 10 };
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

    #[test]
    fn warm_up_reaches_the_peak_and_cosine_ends_near_zero() {
        let schedule = Schedule { peak: 1.0, anneal: Anneal::Cosine, warmup: 4, total: 104 };
        assert_eq!([0, 1, 2, 3, 4].map(|step| schedule.rate(step)), [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(schedule.rate(103) < 3e-4 && schedule.rate(1000) == 0.0);
    }
}
