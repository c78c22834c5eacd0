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
        let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            _ => return Err("must be a number with its unit, such as 1GiB or 800MiB".to_owned()),
        };
        let count = number.parse::<f64>().map_err(|_| "must begin with a number, such as 1.5GiB".to_owned())?;
        let count = count * (1u64 << shift) as f64;
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
        assert_eq!(of("1.5MiB"), Ok(3 << 19));
        for wrong in ["", "1", "GiB", "-1GiB", "1GB2", "1..2M", "0M", "99999999999999G", "1e3M", "nan"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
