//! Normalised activations and their gradients written out, for those who do not compute them while they read.

use cnn_core::Result;
use cnn_core::backend::{Data, Gradient, Input, Norm, NormGradient, NormMask, Rectifier, check};

use super::SOURCE;
use crate::buffer::Buffer;
use crate::channels::Pass;
use crate::device::Cuda;
use crate::element::CudaElement;
use crate::launch::Launch;

pub(crate) fn normalise<T: CudaElement>(
    cuda: &Cuda<T>,
    norm: &Norm<Cuda<T>>,
    residual: Option<&Input<Cuda<T>>>,
) -> Result<Data<Cuda<T>>> {
    let (len, channels) = (norm.x.len(), norm.channels);
    let pass = Pass::elements::<T>(check::whole_rows("the activation", len, channels)?, channels);
    let kernel = pass.kernel(match residual {
        None => ["normalise", "normalise_any"],
        Some(_) => ["normalise_add", "normalise_add_any"],
    });
    let y = cuda.alloc(len)?;
    let launch = read_norm(cuda.kernel(SOURCE, kernel)?, norm, len, channels)?;
    let launch = match residual {
        None => launch,
        Some(Input::Norm(r)) => read_norm(launch, r, len, channels)?,
        Some(Input::Plain(r)) => {
            check::length("the residual", r.len(), len)?;
            // As a normalisation without coefficients and bounds.
            let coefficients: Option<&Buffer<f32>> = None;
            let [floor, ceiling] = Rectifier::Open.bounds::<f32>();
            launch.buffer(r).optional(coefficients).optional(coefficients).value(floor).value(ceiling)
        }
    };
    // SAFETY: the activations have the pass's rows and channels, the coefficients the channels; y is new.
    unsafe { pass.run(launch.buffer(&y)) }?;
    Ok(y)
}

/// Hands a normalisation of `len` elements in `channels` channels to a kernel.
fn read_norm<'a, T: CudaElement>(
    launch: Launch<'a>,
    norm: &Norm<Cuda<T>>,
    len: usize,
    channels: usize,
) -> Result<Launch<'a>> {
    check::length("the activation", norm.x.len(), len)?;
    check::length("the scale", norm.scale.len(), channels)?;
    check::length("the shift", norm.shift.len(), channels)?;
    let [floor, ceiling] = norm.rectifier.bounds::<f32>();
    Ok(launch.buffer(&norm.x).buffer(&norm.scale).buffer(&norm.shift).value(floor).value(ceiling))
}

/// Hands a mask to a kernel: its coefficients, and the greatest number that passes.
pub(super) fn read_mask<'a, T: CudaElement>(launch: Launch<'a>, mask: Option<&NormMask<Cuda<T>>>) -> Launch<'a> {
    // Without coefficients it is open everywhere.
    let mask = mask.filter(|mask| mask.rectifier != Rectifier::Open);
    let [_, greatest] = mask.map_or(Rectifier::Open, |mask| mask.rectifier).passes::<f32>();
    launch.optional(mask.map(|mask| &mask.scale)).optional(mask.map(|mask| &mask.shift)).value(greatest)
}

/// In place, where the gradient is not also somebody else's.
pub(crate) fn normalise_backward<T: CudaElement>(
    cuda: &Cuda<T>,
    gradient: NormGradient<Cuda<T>>,
) -> Result<Data<Cuda<T>>> {
    let NormGradient { mut dy, x, dy_scale, x_scale, shift, mask, channels } = gradient;
    let pass = Pass::elements::<T>(check::whole_rows("the gradient", dy.len(), channels)?, channels);
    check::length("the activation", x.len(), dy.len())?;
    let of_mask = mask.iter().flat_map(|mask| [&mask.scale, &mask.shift]);
    for list in [&dy_scale, &x_scale, &shift].into_iter().chain(of_mask) {
        check::length("a coefficient", list.len(), channels)?;
    }
    let dx = cuda.in_place(&mut dy)?;
    let launch = cuda.kernel(SOURCE, pass.kernel(["normalise_backward", "normalise_backward_any"]))?;
    let launch = launch.buffer(&dy).buffer(&x).buffer(&dy_scale).buffer(&x_scale).buffer(&shift);
    let launch = read_mask(launch, mask.as_ref());
    // SAFETY: the activations have the pass's rows and channels, the coefficients the channels; dx is new, or dy, which was
    // given away, and each of its elements is read before it is written, by the same thread.
    unsafe { pass.run(launch.buffer(&dx)) }?;
    Ok(dx)
}

/// Written: two kernels read it, and one of them would mask and scale each element once for every tap of its filter.
pub(crate) fn shared_gradient<T: CudaElement>(
    cuda: &Cuda<T>,
    gradient: NormGradient<Cuda<T>>,
) -> Result<Gradient<Cuda<T>>> {
    Ok(Gradient::Plain(normalise_backward(cuda, gradient)?))
}
