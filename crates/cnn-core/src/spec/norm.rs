//! Normalisations.

/// Batch normalisation over all but the innermost dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSpec {
    /// Elements per channel: N * H * W.
    pub rows: usize,
    /// C.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Layer normalisation over the innermost dimension. How many rows there are is not part of the problem.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormSpec {
    /// C, the numbers of a row.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}
