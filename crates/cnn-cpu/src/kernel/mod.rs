//! What the operations share below their loops: the register block, what follows a sum, what a rectifier lets back, and
//! moments of what was stored.

pub(crate) mod block;
pub(crate) mod epilogue;
pub(crate) mod mask;
pub(crate) mod moments;

/// What a tap of a convolution reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// Elements into the scratch.
    pub(crate) x: usize,
    /// Its index in the packed weights.
    pub(crate) w: usize,
    /// The rows and the columns of outputs for which it reads more than padding, from and to.
    pub(crate) rows: [usize; 2],
    pub(crate) columns: [usize; 2],
}

impl Tap {
    /// The one tap of a matrix product.
    pub(crate) const ONE: Tap = Tap { x: 0, w: 0, rows: [0, usize::MAX], columns: [0, usize::MAX] };
}
