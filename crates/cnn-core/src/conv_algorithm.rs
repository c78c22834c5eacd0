//! The choice between algorithms for a convolution, by name.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// Which algorithm 3x3 convolutions run by. What they compute is the same, how it rounds is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvAlgorithm {
    /// `auto`: the backend's choice for the shape, by a table that was measured once: the same on every run.
    #[default]
    Auto,
    /// `direct`: direct convolution.
    Direct,
    /// `winograd`: Winograd's F(4x4, 3x3) wherever it can compute the convolution.
    Winograd,
}

const NAMED: [(&str, ConvAlgorithm); 3] =
    [("auto", ConvAlgorithm::Auto), ("direct", ConvAlgorithm::Direct), ("winograd", ConvAlgorithm::Winograd)];

impl Display for ConvAlgorithm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        NAMED.iter().filter(|(_, algorithm)| algorithm == self).try_for_each(|(name, _)| f.write_str(name))
    }
}

impl FromStr for ConvAlgorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        NAMED.iter().find(|(name, _)| *name == text).map(|(_, algorithm)| *algorithm).ok_or_else(|| {
            let rule = format!("must be one of {}", NAMED.map(|(name, _)| name).join(", "));
            Error::invalid("conv_algo", text, rule)
        })
    }
}

impl Serialize for ConvAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConvAlgorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_a_name_that_reads_back() {
        for (algorithm, name) in [ConvAlgorithm::Auto, ConvAlgorithm::Direct, ConvAlgorithm::Winograd]
            .into_iter()
            .zip(["auto", "direct", "winograd"])
        {
            assert_eq!(algorithm.to_string(), name);
            assert_eq!(name.parse::<ConvAlgorithm>().unwrap(), algorithm);
            let json = serde_json::to_string(&algorithm).unwrap();
            assert_eq!((json.as_str(), serde_json::from_str(&json).unwrap()), (&*format!("\"{name}\""), algorithm));
        }
        let error = "Direct".parse::<ConvAlgorithm>().unwrap_err().to_string();
        assert_eq!(error, "conv_algo Direct: must be one of auto, direct, winograd");
        let error = serde_json::from_str::<ConvAlgorithm>("\"fft\"").unwrap_err().to_string();
        assert!(error.contains("conv_algo fft: must be one of auto"), "{error}");
    }
}
