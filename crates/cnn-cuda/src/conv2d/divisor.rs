//! Division by a number that does not change, as a multiplication.

use crate::launch::Argument;

/// As `Divisor` in `kernels/divisor.cuh`: numbers below 2^31 are divided by `value`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Divisor {
    value: u32,
    magic: u32,
    shift: u32,
}

// SAFETY: numbers of one size.
unsafe impl Argument for Divisor {}

impl Divisor {
    /// By a number from 1 to 2^30; 0 is taken for 1, as nothing is divided by it then.
    pub(crate) fn by(value: usize) -> Self {
        let value = value.max(1) as u64;
        let log = value.next_power_of_two().trailing_zeros();
        let shift = 31 + log;
        let magic = (1u64 << shift).div_ceil(value);
        Divisor { value: value as u32, magic: u32::try_from(magic).expect("at most 2^31"), shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_exact() {
        let divisors = (1..300)
            .chain((1..31).flat_map(|log| [(1 << log) - 1, 1 << log, (1 << log) + 1]))
            .filter(|&d| d > 0 && d <= 1 << 30);
        for value in divisors {
            let divisor = Divisor::by(value);
            let quotient = |x: u64| (x * u64::from(divisor.magic)) >> divisor.shift;
            let value = value as u64;
            let multiples = [1, 2, 3, 7, 100, (1 << 31) / value].map(|n| n * value);
            for x in multiples.into_iter().flat_map(|x| [x.saturating_sub(1), x, x + 1]).chain([0, (1 << 31) - 1]) {
                if x < 1 << 31 {
                    assert_eq!(quotient(x), x / value, "{x} / {value}");
                }
            }
        }
    }
}
