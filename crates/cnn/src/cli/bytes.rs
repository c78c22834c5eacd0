//! Numbers of bytes as people write them.

use std::str::FromStr;

/// A number of bytes, as `--memory` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim_start().to_ascii_lowercase().as_str() {
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "k" | "kib" => (1u64 << 10) as f64,
            "m" | "mib" => (1u64 << 20) as f64,
            "g" | "gib" => (1u64 << 30) as f64,
            "t" | "tib" => (1u64 << 40) as f64,
            _ => {
                return Err(
                    "must be a number with a unit, KiB, MiB, GiB, TiB, KB, MB, GB or TB: such as 1.5GiB".to_owned()
                );
            }
        };
        let count = number.parse::<f64>().map_err(|_| "must begin with a number, such as 1.5GiB".to_owned())?;
        let count = count * unit;
        // Beyond 2^53 a number of bytes cannot be told from the next.
        if !(1.0..9e15).contains(&count) {
            return Err("must be at least a byte, and less than 8 PiB".to_owned());
        }
        Ok(Bytes(count as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        let of = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        for gibibyte in ["1GiB", "1g", "1024 MiB", "1048576k"] {
            assert_eq!(of(gibibyte), Ok(1 << 30), "{gibibyte}");
        }
        assert_eq!([of("1.5MiB"), of("1.5 MB"), of("2TB")], [Ok(3 << 19), Ok(1_500_000), Ok(2_000_000_000_000)]);
        for wrong in ["", "1", "GiB", "-1GiB", "1GB2", "1..2M", "0M", "99999999999999G", "1e3M", "nan"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
