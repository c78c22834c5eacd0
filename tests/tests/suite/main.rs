//! The one test binary: a module for each suite.

mod conformance;
mod parity;
mod planted;
