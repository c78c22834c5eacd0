//! Optimisers, all parameters in one call to the backend, averages of weights, and learning-rate schedules.

mod average;
mod optimizer;
mod options;
mod schedule;

pub use average::Average;
pub use optimizer::Optimizer;
pub use options::{Group, Method, OptimizerOptions};
pub use schedule::{Anneal, Schedule};
