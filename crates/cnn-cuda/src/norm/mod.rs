//! Batch normalisation as single fused passes.
//!
//! Statistics are f32; the arithmetic on a few numbers a channel is f64.

mod apply;
mod backward;
mod coefficients;
mod moments;

pub(crate) use apply::{normalise, normalise_backward, shared_gradient};
pub(crate) use backward::batch_norm_backward;
pub(crate) use coefficients::{SOURCE as COEFFICIENTS, batch_norm_eval, batch_norm_train};
pub use moments::PartMoments;
pub(crate) use moments::{SOURCE as MOMENTS, channel_moments};

use crate::compiler::{Source, source};

pub(crate) const SOURCE: Source = source!("norm");
