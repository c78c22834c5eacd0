//! Convolution of taps one pixel apart, on tensor cores, by the kernels of `kernels/halo.cuh`.

mod line;
mod tiled;
mod weight;

pub(super) use line::Direction;
pub(super) use tiled::Halo;
pub(crate) use tiled::SOURCE as HALO;
pub(super) use weight::HaloWeight;
pub(crate) use weight::SOURCE as HALO_WEIGHT;
