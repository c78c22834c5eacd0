//! Mixup and CutMix, as numbers: what a backend does to the images of a step is a [`Mix`], a function of (seed, step).

use cnn_core::image::Mix;
use cnn_core::rng::{Philox, Purpose, Stream};

/// How the images of a step are mixed. With both, a step has one of them, each as likely as the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixing {
    /// Mixup (H. Zhang et al., 2017): the part that an image keeps of itself is drawn from the beta distribution with both
    /// parameters of this value; 0 for none.
    pub mixup: f64,
    /// CutMix (S. Yun et al., 2019): a rectangle of the image before replaces what is there; the part that is left is drawn likewise,
    /// the rectangle's centre anywhere in the image.
    pub cutmix: f64,
}

impl Mixing {
    /// Images as they are.
    pub const NONE: Mixing = Mixing { mixup: 0.0, cutmix: 0.0 };

    /// How the images \[height, width, channels\] of `step` are mixed; none for not at all.
    pub fn draw(&self, seed: u64, step: u64, size: [usize; 3]) -> Option<Mix> {
        let mut stream = Philox::new(seed, Purpose::Mix, step as u32, (step >> 32) as u32).stream();
        let cuts = stream.uniform() < 0.5;
        let (mixup, cutmix) = (self.mixup > 0.0, self.cutmix > 0.0);
        match (mixup, cutmix) {
            (false, false) => None,
            (_, true) if cuts || !mixup => {
                let left = beta(&mut stream, self.cutmix);
                Some(Mix { size, own: 1.0, patch: patch(&mut stream, 1.0 - left, size) })
            }
            _ => Some(Mix { size, own: beta(&mut stream, self.mixup), patch: [0; 4] }),
        }
    }
}

/// Top, left, bottom and right of a rectangle with the image's proportions and `part` of its area, cut where it leaves the image.
fn patch(stream: &mut Stream, part: f64, [height, width, _]: [usize; 3]) -> [u16; 4] {
    let half = libm::sqrt(part) / 2.0;
    let mut interval = |side: usize| {
        let side = side.min(usize::from(u16::MAX));
        let (centre, reach) = (stream.below(side as u32) as usize, (half * side as f64) as usize);
        [centre.saturating_sub(reach) as u16, (centre + reach).min(side) as u16]
    };
    let [[top, bottom], [left, right]] = [interval(height), interval(width)];
    [top, left, bottom, right]
}

/// Of the beta distribution with both parameters `alpha`, above 0.
fn beta(stream: &mut Stream, alpha: f64) -> f64 {
    let [a, b] = [gamma(stream, alpha), gamma(stream, alpha)];
    // A small parameter makes numbers that are too small for f64: nearly all of one of the two images.
    if a + b > 0.0 { a / (a + b) } else { f64::from(stream.below(2)) }
}

/// Of the gamma distribution with shape `alpha`, above 0, and scale 1 (G. Marsaglia and W. Tsang, "A Simple Method for Generating
/// Gamma Variables", 2000).
fn gamma(stream: &mut Stream, alpha: f64) -> f64 {
    if alpha < 1.0 {
        let uniform = 1.0 - stream.uniform(); // above 0
        return gamma(stream, alpha + 1.0) * libm::pow(uniform, 1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = normal(stream);
        let v = 1.0 + c * x;
        let v = v * v * v;
        let uniform = 1.0 - stream.uniform();
        if v > 0.0 && libm::log(uniform) < x * x / 2.0 + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
}

/// Standard normal, by the Box-Muller transform in functions that are the same on every machine.
fn normal(stream: &mut Stream) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - stream.uniform()));
    radius * libm::cos(2.0 * std::f64::consts::PI * stream.uniform())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_moments_of_their_distribution() {
        for alpha in [0.2, 0.5, 1.0, 2.0, 8.0] {
            let mut stream = Philox::new(3, Purpose::Test, 0, 0).stream();
            let parts: Vec<f64> = (0..20_000).map(|_| beta(&mut stream, alpha)).collect();
            assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)));
            let mean = parts.iter().sum::<f64>() / parts.len() as f64;
            let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / parts.len() as f64;
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: mean {mean}");
            assert!((variance / expected - 1.0).abs() < 0.03, "{alpha}: variance {variance}, expected {expected}");
        }
        let mut stream = Philox::new(3, Purpose::Test, 0, 0).stream();
        let tiny: Vec<f64> = (0..100).map(|_| beta(&mut stream, 1e-9)).collect();
        assert!(tiny.iter().all(|&part| part == 0.0 || part == 1.0) && tiny.contains(&0.0) && tiny.contains(&1.0));
    }

    #[test]
    fn a_step_is_mixed_one_way_and_rectangles_stay_inside() {
        let draw = |mixup, cutmix, step| Mixing { mixup, cutmix }.draw(5, step, [20, 30, 3]);
        assert_eq!(draw(0.0, 0.0, 7), None);
        let both: Vec<Mix> = (0..2000).map(|step| draw(0.2, 1.0, step).unwrap()).collect();
        assert_eq!(both[3], draw(0.2, 1.0, 3).unwrap());
        assert!(both[3] != both[4]);
        let (cut, mixed): (Vec<&Mix>, Vec<&Mix>) = both.iter().partition(|mix| mix.own == 1.0);
        assert!((900..1100).contains(&cut.len()), "{} are cut", cut.len());
        assert!(mixed.iter().all(|mix| mix.patch == [0; 4]));
        for Mix { patch: [top, left, bottom, right], .. } in &cut {
            assert!(top <= bottom && *bottom <= 20 && left <= right && *right <= 30);
        }
        let left: f64 = cut.iter().map(|mix| mix.own_label()).sum::<f64>() / cut.len() as f64;
        // Half of the area on average, less what the edges cut off.
        assert!((0.5..0.75).contains(&left), "{left}");
        assert!((0..100).all(|step| draw(0.0, 1.0, step).unwrap().own == 1.0));
        assert!((0..100).all(|step| draw(1.0, 0.0, step).unwrap().patch == [0; 4]));
    }
}
