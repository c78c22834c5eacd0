//! What follows a sum of products while it is still in registers: `max(sum + bias + residual, 0)`.
//!
//! Every kernel that stores sums finishes them so: the register blocks of convolutions and matrix products with
//! unrolled loops of their own, the others with [`Finish::of`].

use cnn_core::Result;
use cnn_core::backend::{self, Activation};
use num_traits::{Float, Zero};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use cnn_core::backend::check;

/// The operands of a whole output \[pixels, channels\].
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a, T: CpuElement> {
    bias: Option<&'a [T::Accum]>,
    residual: Option<&'a [T]>,
    relu: bool,
}

/// The operands from one element of the output on.
#[derive(Clone, Copy)]
pub(crate) struct Finish<T: CpuElement> {
    /// Of the first channel.
    pub(crate) bias: Option<*const T::Accum>,
    /// As far from pixel to pixel as the output.
    pub(crate) residual: Option<*const T>,
    pub(crate) relu: bool,
}

/// The activation that is left for a pass over the stored output: each but ReLU, as inlined into every register block
/// it would take registers and code from the sums, and beside a convolution a pass over what it has just written is short.
pub(crate) fn late<T: CpuElement>(of: &backend::Epilogue<'_, Cpu<T>>) -> Option<Activation> {
    of.activation.filter(|&activation| activation != Activation::Relu)
}

impl<'a, T: CpuElement> Epilogue<'a, T> {
    /// Nothing follows.
    pub(crate) fn none() -> Self {
        Epilogue { bias: None, residual: None, relu: false }
    }

    /// What follows an output of `len` elements, but for an activation that is [`late`].
    ///
    /// # Errors
    /// Operands that are not those of such an output.
    pub(crate) fn new(of: &backend::Epilogue<'a, Cpu<T>>, len: usize, channels: usize) -> Result<Self> {
        let epilogue = Epilogue {
            bias: of.bias.map(Buffer::as_slice),
            residual: of.residual.map(Buffer::as_slice),
            relu: of.activation == Some(Activation::Relu),
        };
        if let Some(bias) = epilogue.bias {
            check::length("the bias", bias.len(), channels)?;
        }
        if let Some(residual) = epilogue.residual {
            check::length("the residual", residual.len(), len)?;
        }
        Ok(epilogue)
    }

    /// The same for an output of what is computed with, where that is how it is stored.
    pub(crate) fn wide(self) -> Option<Epilogue<'a, T::Accum>> {
        let residual = match self.residual {
            Some(residual) => Some(T::as_wide(residual)?),
            None => None,
        };
        Some(Epilogue { bias: self.bias, residual, relu: self.relu })
    }

    /// Whether the operands are those of an output of `len` elements.
    pub(crate) fn fits(&self, len: usize, channels: usize) -> bool {
        self.bias.is_none_or(|bias| bias.len() == channels) && self.residual.is_none_or(|r| r.len() == len)
    }

    /// What follows element `at`, which is in channel `channel`.
    #[inline(always)]
    pub(crate) fn at(&self, at: usize, channel: usize) -> Finish<T> {
        Finish {
            bias: self.bias.map(|bias| bias[channel..].as_ptr()),
            residual: self.residual.map(|residual| residual[at..].as_ptr()),
            relu: self.relu,
        }
    }
}

impl<T: CpuElement> Finish<T> {
    /// Nothing follows.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Finish { bias: None, residual: None, relu: false }
    }

    /// Adds to the output at `y`.
    #[inline(always)]
    pub(crate) fn accumulate(y: *const T) -> Self {
        Finish { residual: Some(y), ..Finish::none() }
    }

    /// The least value that is kept: 0 for a ReLU, else minus infinity.
    ///
    /// A field of this value would make the compiler load a register block's operands as one vector right after they were
    /// stored one by one, which waits for all the output stores before them (8% at 64 channels).
    #[inline(always)]
    pub(crate) fn floor<S: Simd>(&self, simd: S) -> V<T, S> {
        V::<T, S>::splat(simd, if self.relu { T::Accum::zero() } else { T::Accum::neg_infinity() })
    }

    /// `n` sums finished, `at` elements further on in the same channels.
    ///
    /// # Safety
    /// The output has these elements, and `n` is at most the lanes.
    #[inline(always)]
    pub(crate) unsafe fn of<S: Simd>(&self, simd: S, mut sum: V<T, S>, at: usize, n: usize) -> V<T, S> {
        // SAFETY: the operands have as many elements as the output, of which the caller promises these.
        unsafe {
            if let Some(bias) = self.bias {
                sum = sum.add(V::<T, S>::load_head(simd, bias, n));
            }
            if let Some(residual) = self.residual {
                sum = sum.add(T::load_head(simd, residual.add(at), n));
            }
        }
        sum.max(self.floor(simd))
    }
}

/// Adds up the parts of some rows of an output, and finishes and stores them: where the sums are not in registers, or
/// wider than what is stored.
pub(crate) struct Total<'a, T: CpuElement> {
    /// `[parts][rows][channels]`.
    pub(crate) sums: &'a [T::Accum],
    pub(crate) epilogue: Epilogue<'a, T>,
    /// The first element of `y` in the output, and how many elements that has.
    pub(crate) start: usize,
    pub(crate) of: usize,
    pub(crate) channels: usize,
    /// Whole rows.
    pub(crate) y: &'a mut [T],
}

impl<T: CpuElement> SimdKernel for Total<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Total { sums, epilogue, start, of, channels, y } = self;
        assert!(start.is_multiple_of(channels.max(1)) && start + y.len() <= of && epilogue.fits(of, channels));
        for (row, y) in y.chunks_exact_mut(channels.max(1)).enumerate() {
            let row = start + row * channels;
            for c in (0..channels).step_by(V::<T, S>::LANES) {
                let n = V::<T, S>::LANES.min(channels - c);
                let mut sum = V::<T, S>::zero(simd);
                for part in (row + c..sums.len()).step_by(of) {
                    sum = sum.add(V::<T, S>::read(simd, &sums[part..][..n]));
                }
                // SAFETY: the epilogue fits the output, of which n elements from here on are in this row.
                let sum = unsafe { epilogue.at(row + c, c).of(simd, sum, 0, n) };
                T::write::<S>(sum, &mut y[c..][..n]);
            }
        }
    }
}
