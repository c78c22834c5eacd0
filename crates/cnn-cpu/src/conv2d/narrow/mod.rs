//! Convolution in groups narrower than a vector, depthwise convolution among them: the lanes are channels that are written,
//! of several groups, all the way.
//!
//! ```text
//! for each task (some vectors of channels of an image, some rows):
//!     for each vector of channels:
//!         pack what its rows read: a plane for each channel of a group, every lane with that channel of its own group
//!         for each class of outputs, row, some pixels: sum over the taps and planes in registers
//! ```
//!
//! A vector's planes are few enough to stay in a cache near while they are read. Packing deals with stride, dilation, padding
//! and normalisations not yet written, as for the direct convolution; the kernels have a vector of weights where the direct
//! ones broadcast a pixel.

mod forward;
mod geometry;
mod weight;

use cnn_core::backend::Wide;
use cnn_core::{Conv2dSpec, Result};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::CpuElement;

pub(super) use forward::{data, forward};
pub(super) use weight::weight;

/// Whether a convolution is one of these: each group as many channels as it reads, a power of two that at least halves the
/// work of kernels whose vectors hold the channels of one group only. Pairs halve the work of such kernels too.
pub(super) fn fits(spec: &Conv2dSpec, lanes: usize, pairs: bool) -> bool {
    let (groups, width) = (spec.groups, spec.in_channels / spec.groups);
    let narrow = if pairs { lanes / 4 } else { lanes / 2 };
    // A kernel of one tap has too little to do with what is packed for it.
    let worthwhile = width.is_power_of_two() && width <= narrow && spec.kernel != [1, 1];
    groups > 1 && spec.in_channels == spec.out_channels && (width == 1 || worthwhile)
}

/// `weight` \[taps, channels of a group, channels\] for the gradient of the input: the roles of a group's channels exchanged.
pub(super) fn transposed<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Conv2dSpec,
    weight: &Wide<Cpu<T>>,
) -> Result<Buffer<T::Accum>> {
    let (channels, width) = (spec.in_channels, spec.in_channels / spec.groups);
    if width == 1 {
        return Ok(weight.clone());
    }
    let mut to = cpu.alloc(weight.len())?;
    let from = weight.as_slice().chunks_exact(width * channels);
    for (to, from) in to.make_mut()?.chunks_exact_mut(width * channels).zip(from) {
        for (i, to) in to.chunks_exact_mut(channels).enumerate() {
            for (c, to) in to.iter_mut().enumerate() {
                *to = from[c % width * channels + c / width * width + i];
            }
        }
    }
    Ok(to)
}
