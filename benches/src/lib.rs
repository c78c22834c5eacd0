//! What is measured, and how: shared by `cargo xtask bench` and the criterion benchmarks.
//!
//! Times are medians of repetitions after a warm-up. A machine that does other work at the same time makes any absolute
//! time meaningless, so every kernel's figure comes with the multiply-add peak measured beside it.
#![forbid(unsafe_code)]

pub mod layers;
pub mod models;
pub mod passes;
pub mod report;
pub mod timing;
