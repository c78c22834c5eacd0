//! The pages from outside: their numbers are the network's, and a browser draws them.

mod browser;
mod explain;
mod report;
mod sheet;
mod support;
mod timeline;
