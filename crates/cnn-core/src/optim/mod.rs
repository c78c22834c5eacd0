//! Optimisers, all parameters in one call to the backend, averages of weights, and learning-rate schedules.

mod average;
mod muon;
mod optimizer;
mod options;
mod outcome;
mod schedule;

pub use average::Average;
pub use optimizer::Optimizer;
pub use options::{Group, Method, OptimizerOptions};
pub use outcome::{Outcome, StepOutcome};
pub use schedule::{Anneal, Schedule};
