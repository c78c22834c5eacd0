//! Offline HTML pages of what the program knows: [`explain_page`] takes one image through a network, [`report_page`] tells how a
//! run went, [`runs_page`] compares several, [`sheet_page`] shows what a
//! network will see of its training images, and a [`Timeline`] how its view of one image changed as it was trained.
//!
//! A page is one file: pictures are in it, nothing is loaded, and every name that came from a file is escaped. It reads in
//! light and dark, on a phone and on a desk, by keyboard and by ear.
#![forbid(unsafe_code)]

mod explain;
mod html;
mod picture;
mod report;
mod run;
mod runs;
mod sheet;
mod svg;
mod timeline;

pub use explain::{ExplainOptions, Explanation, explain_page};
pub use html::grouped;
pub use report::report_page;
pub use run::{Epoch, MACHINE, Run};
pub use runs::{Group, Spread, runs_page, spread_text};
pub use sheet::sheet_page;
pub use timeline::{TIMELINE, Timeline};
