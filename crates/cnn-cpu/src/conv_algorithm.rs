//! The choice between algorithms for a convolution, by name.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::{Error, Result};

/// Which algorithm 3x3 convolutions run by. What they compute is the same, how it rounds is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvAlgorithm {
    /// `auto`: the backend's choice for the shape, by a table that was measured once: the same on every run.
    #[default]
    Auto,
    /// `direct`: direct convolution.
    Direct,
    /// `winograd`: Winograd's F(4x4, 3x3) wherever it can compute the convolution, also where `auto` would not choose it
    /// because it is slower there, or rounds more than it saves: in f32 the logits of small networks were up to 2e-5 off,
    /// relative to exact ones, where `auto` and `direct` stay within 1e-5; a value that is not finite spreads over its
    /// tile of 4x4 outputs.
    Winograd,
}

const ALL: [ConvAlgorithm; 3] = [ConvAlgorithm::Auto, ConvAlgorithm::Direct, ConvAlgorithm::Winograd];

impl ConvAlgorithm {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            ConvAlgorithm::Auto => "auto",
            ConvAlgorithm::Direct => "direct",
            ConvAlgorithm::Winograd => "winograd",
        }
    }
}

impl Display for ConvAlgorithm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ConvAlgorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or_else(|| {
            let rule = format!("must be one of {}", ALL.map(ConvAlgorithm::name).join(", "));
            Error::invalid("conv_algo", text, rule)
        })
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
            assert_eq!((algorithm.to_string().as_str(), algorithm.name()), (name, name));
            assert_eq!(name.parse::<ConvAlgorithm>().unwrap(), algorithm);
        }
        let error = "Direct".parse::<ConvAlgorithm>().unwrap_err().to_string();
        assert_eq!(error, "conv_algo Direct: must be one of auto, direct, winograd");
    }
}
