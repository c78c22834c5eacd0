//! Data sets as their users meet them: written to a folder, opened, walked; and every way in which files go wrong.
//!
//! Messages are compared as text, because the text is what the user gets.

mod cache;
#[cfg(feature = "download")]
mod download;
mod folders;
mod formats;
mod kinds;
mod labels;
mod loader;
mod mutation;
mod pictures;
mod pillow;
mod several;
mod shapes;
mod values;
mod write;
