//! Offline HTML pages of what the program knows: [`explain_page`] takes one image through a network.
//!
//! A page is one file: pictures are in it, nothing is loaded, and every name that came from a file is escaped. It reads in
//! light and dark, on a phone and on a desk, by keyboard and by ear.
#![forbid(unsafe_code)]

mod explain;
mod html;
mod picture;

pub use explain::{ExplainOptions, Explanation, explain_page};
