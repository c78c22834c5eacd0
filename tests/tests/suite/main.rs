//! The one test binary: a module for each suite.

mod architectures;
mod conformance;
mod frozen;
mod gradients;
mod parity;
mod planted;
mod precision;
