//! What the kernels, a training step and inference cost on this machine: the measuring code of `cnn bench`, of
//! `cargo xtask bench` and of the criterion benchmarks.
//!
//! Times are medians of repetitions after a warm-up. A machine that does other work at the same time makes any absolute
//! time meaningless, so every kernel's figure comes with the limit measured beside it: the multiply-add peak, or the
//! memory's bandwidth.
#![forbid(unsafe_code)]

pub mod kernels;
pub mod layers;
pub mod machine;
pub mod memory;
pub mod networks;
pub mod report;
pub mod timing;

pub use machine::Machine;
pub use report::{Area, Row, Setting};
pub use timing::Repeat;
