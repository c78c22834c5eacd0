//! Random zeros.

use crate::{Error, Result};

/// Random zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutSpec {
    /// How likely a draw is a zero.
    pub probability: f64,
    /// How many consecutive elements share a draw: 1 for each by itself, the elements of an image for whole images.
    pub shared_by: usize,
}

impl DropoutSpec {
    /// Each element has a draw of its own.
    pub const fn elements(probability: f64) -> Self {
        DropoutSpec { probability, shared_by: 1 }
    }

    /// Refuses zeros that cannot be drawn.
    ///
    /// # Errors
    /// A probability outside of \[0, 1), and draws that nobody has.
    pub fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.probability) {
            return Err(Error::invalid("dropout probability", self.probability, "must be at least 0 and below 1"));
        }
        if self.shared_by == 0 {
            return Err(Error::invalid("elements that share a draw", 0, "must be at least 1"));
        }
        Ok(())
    }
}
