//! Which kernels convolutions of taps one pixel apart are given to.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use cnn_core::{Error, Result};

/// Names one of [`Pixels`] for devices that are opened without another wish.
const VARIABLE: &str = "CNN_CUDA_PIXELS";

/// How convolutions of taps one pixel apart read their pixels. Sums are added in another order by each, and so are not the same
/// bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pixels {
    /// For each tap from the images.
    #[default]
    Gathered,
    /// From a piece of the images in shared memory, where that is estimated to be quicker.
    Halo,
    /// Likewise, multiplied by warpgroups where the GPU has them: of compute capability 9.0.
    Warpgroups,
}

impl Pixels {
    const ALL: [Pixels; 3] = [Pixels::Gathered, Pixels::Halo, Pixels::Warpgroups];

    /// What the variable says.
    ///
    /// # Errors
    /// It names none of them.
    pub(crate) fn of_the_environment() -> Result<Self> {
        match std::env::var_os(VARIABLE) {
            Some(name) => name.to_string_lossy().parse(),
            None => Ok(Pixels::default()),
        }
    }
}

impl Display for Pixels {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pixels::Gathered => "gathered",
            Pixels::Halo => "halo",
            Pixels::Warpgroups => "warpgroups",
        })
    }
}

impl FromStr for Pixels {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let rule = "must be gathered, halo or warpgroups";
        let named = Pixels::ALL.into_iter().find(|pixels| pixels.to_string() == name);
        named.ok_or_else(|| Error::invalid(VARIABLE, name, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name() {
        for pixels in Pixels::ALL {
            assert_eq!(pixels.to_string().parse::<Pixels>().unwrap(), pixels);
        }
        let error = "fast".parse::<Pixels>().unwrap_err().to_string();
        assert!(error.contains("CNN_CUDA_PIXELS") && error.contains("fast"), "{error}");
    }
}
