//! Suites that run against every backend: the same generated cases, compared with plain loops.
//!
//! A [`Case`] is one problem of one operation; it runs on any [`Backend`](cnn_core::Backend) and reports what came out.
//! [`check`] generates cases, [`check_all`] takes those of a list of edges, and compares a backend's reports with those of [`Naive`](cnn_core::Naive): of `Naive<f64>`
//! within a tolerance on real values, of `Naive` over the backend's own element bit for bit on small integers (whose
//! sums are exact in any order). It returns an error rather than panic, so that the planted faults of [`faulty`] can
//! show that it finds what it should.

pub mod cases;
mod check;
mod compare;
pub mod faulty;
mod lab;

pub use check::{Case, Effort, check, check_all};
pub use compare::{Bound, compare, same_bits};
pub use lab::{Kind, Lab, Output, Rule};
