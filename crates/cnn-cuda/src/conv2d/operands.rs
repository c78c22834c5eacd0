//! What a convolution reads beside its weight, as the kernels take it.

use cnn_core::Result;
use cnn_core::backend::{Data, Epilogue, Input, check};

use crate::activation;
use crate::buffer::Buffer;
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Argument;
use crate::norm::{self, PartMoments};

/// As `Epilogue` in `kernels/epilogue.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct EpilogueArgument {
    bias: u64,
    residual: u64,
    mean: u64,
    squares: u64,
    activation: i32,
    _unused: i32,
}

// SAFETY: numbers without padding; the addresses are of buffers that outlive the launch's call.
unsafe impl Argument for EpilogueArgument {}

impl EpilogueArgument {
    /// # Errors
    /// Operands that are not those of such an output.
    pub(super) fn new<T: CudaElement>(of: &Epilogue<'_, Cuda<T>>, len: usize, channels: usize) -> Result<Self> {
        if let Some(bias) = of.bias {
            check::length("the bias", bias.len(), channels)?;
        }
        if let Some(residual) = of.residual {
            check::length("the residual", residual.len(), len)?;
        }
        Ok(EpilogueArgument {
            bias: of.bias.map_or(0, Buffer::at),
            residual: of.residual.map_or(0, Buffer::at),
            mean: 0,
            squares: 0,
            activation: activation::number(of.activation),
            _unused: 0,
        })
    }

    /// With the moments of each row of tiles.
    pub(super) fn moments(self, moments: Option<&PartMoments>) -> Self {
        match moments {
            Some(PartMoments { means, m2s, .. }) => EpilogueArgument { mean: means.at(), squares: m2s.at(), ..self },
            None => self,
        }
    }
}

/// An input of `len` elements in memory. A normalised one is written: the kernels read no other (see `Backend::reads_norms`).
///
/// # Errors
/// Another length, or other coefficients than those of `channels`.
pub(super) fn written_input<T: CudaElement>(
    cuda: &Cuda<T>,
    x: &Input<Cuda<T>>,
    len: usize,
    channels: usize,
) -> Result<Data<Cuda<T>>> {
    let data = match x {
        Input::Plain(data) => data.clone(),
        Input::Norm(norm) => {
            check::length("the scale", norm.scale.len(), channels)?;
            check::length("the shift", norm.shift.len(), channels)?;
            norm::normalise(cuda, norm, None)?
        }
    };
    check::length("the input", data.len(), len)?;
    Ok(data)
}
