//! Philox4x32-10, the only source of randomness.
//!
//! The generator is a function, not a state: block `i` of the sequence named by (seed, purpose, a, b) is always the same
//! four words, so a dropout mask, an augmentation or a shuffle can be recomputed anywhere, in any order, on any device.
//! Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

/// What a random sequence is for. Sequences of different purposes never share a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial values of parameters; `a` counts those drawn before.
    Init = 1,
    /// Order of samples; `a` is the epoch, `b` 0, or from 1 the class within which they are ordered.
    Shuffle = 2,
    /// Crop, flip and cutout; `a` is the epoch, `b` the sample.
    Augment = 3,
    /// Dropout masks; `a` is the step, `b` the number of the op within the pass.
    Dropout = 4,
    /// Generated images; `a` is the sample.
    Shapes = 5,
    /// Which samples are held out for validation.
    Split = 6,
    /// Test data.
    Test = 7,
    /// How images of a step are mixed; `a` and `b` are the halves of its number.
    Mix = 8,
    /// Colours and shapes of training images; `a` is the epoch, `b` the sample.
    Distort = 9,
}

/// A random sequence: addressable by block, or read in order through [`Philox::stream`].
#[derive(Clone, Copy, Debug)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 3],
}

impl Philox {
    /// The sequence of `seed` and `purpose` with the two numbers that `purpose` documents.
    pub fn new(seed: u64, purpose: Purpose, a: u32, b: u32) -> Self {
        Philox { key: [seed as u32, (seed >> 32) as u32], counter: [a, b, purpose as u32] }
    }

    /// The generator's key, for devices that compute blocks themselves: block `i` is
    /// `philox4x32_10([i, counter..], key)`.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// What follows the number of a block in the generator's counter.
    pub fn counter(&self) -> [u32; 3] {
        self.counter
    }

    /// Words `4 * i .. 4 * i + 4` of the sequence.
    #[inline]
    pub fn block(&self, i: u32) -> [u32; 4] {
        let [a, b, purpose] = self.counter;
        philox4x32_10([i, a, b, purpose], self.key)
    }

    /// The sequence read from its beginning.
    pub fn stream(self) -> Stream {
        Stream { source: self, block: [0; 4], next: 0 }
    }
}

/// The ten rounds of Philox4x32 on one counter.
#[inline]
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let product0 = u64::from(counter[0]) * 0xD251_1F53;
        let product1 = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (product1 >> 32) as u32 ^ counter[1] ^ key[0],
            product1 as u32,
            (product0 >> 32) as u32 ^ counter[3] ^ key[1],
            product0 as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// A random word as a number in [0, 1), exact in f32.
#[inline]
pub fn unit_f32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// A [`Philox`] sequence read word by word.
#[derive(Clone, Debug)]
pub struct Stream {
    source: Philox,
    block: [u32; 4],
    next: u64,
}

impl Stream {
    /// The next word.
    pub fn next_u32(&mut self) -> u32 {
        let lane = (self.next % 4) as usize;
        if lane == 0 {
            self.block = self.source.block((self.next / 4) as u32);
        }
        self.next += 1;
        self.block[lane]
    }

    /// The next two words as one number.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in [0, 1) with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in `0..n` (0 when `n` is 0), without bias.
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        // Lemire's multiplication with rejection of the short first interval.
        let short = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= short {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal, by the Box-Muller transform (one value of each pair is dropped, so that every call reads the
    /// same number of words).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }

    /// Fisher-Yates shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that come with the authors' Random123 library (`kat_vectors`).
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox4x32_10([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut stream = Philox::new(1, Purpose::Test, 0, 0).stream();
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[stream.below(7) as usize] += 1);
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
    }

    #[test]
    fn normal_has_unit_variance() {
        let mut stream = Philox::new(2, Purpose::Test, 0, 0).stream();
        let values: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean} variance {variance}");
    }
}
