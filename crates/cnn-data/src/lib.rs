//! Data sets of labelled images: found, read, checked, split, shuffled and batched.
//!
//! [`open()`] turns a name or a path into a [`Dataset`]: CIFAR-10 and CIFAR-100, MNIST-format files, a folder of pictures
//! by class, or `shapes`, a set that is drawn on the spot. Its [`Report`] says what was used of a folder and what was not;
//! [`list()`] has it before anything is decoded. A source of images of a program's own implements [`Images`].
//!
//! A [`Loader`] walks one of its splits in an order that depends on the seed and the epoch only, and says with each image
//! how it is cropped, flipped and cut out ([`Augment`]); the pixels themselves stay bytes until a backend reads them.
//!
//! ```
//! # fn main() -> cnn_data::Result<()> {
//! use cnn_data::{Augment, Loader, LoaderOptions, OpenOptions, open};
//!
//! let data = open("shapes", "data".as_ref(), &OpenOptions::default())?;
//! let (train, validation) = data.train.split_validation(1000, 0)?;
//! let augment = Augment { crop_padding: 2, flip: true, ..Augment::NONE };
//! let options = LoaderOptions::new(128).shuffle(true).drop_last(true);
//! for batch in Loader::new(train, options)?.epoch(0, &augment) {
//!     let batch = batch?; // batch.labels, batch.views, batch.bytes; cnn_train::DeviceBatches makes it a tensor
//!     assert_eq!(batch.len(), 128);
//! }
//! assert_eq!(Loader::new(validation, LoaderOptions::new(128))?.batches(), 8); // the last one has 104
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod archive;
pub mod augment;
mod balanced;
mod cache;
mod cifar;
pub mod dataset;
pub mod decode;
mod digest;
mod directory;
pub mod distort;
#[cfg(feature = "download")]
pub mod download;
mod duplicates;
pub mod error;
mod exif;
mod folder;
mod format;
#[cfg(feature = "formats")]
mod formats;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod gzip;
mod header;
mod idx;
pub mod image_set;
pub mod images;
pub mod known;
mod labels;
pub mod listing;
pub mod loader;
mod luma;
mod memory;
mod mixing;
mod open;
pub mod options;
pub mod pool;
pub mod preprocess;
pub mod report;
mod shapes;
mod splits;
mod stratify;

pub use augment::Augment;
pub use dataset::Dataset;
pub use decode::{decode_bytes, decode_image};
pub use distort::{Distort, Policy};
pub use error::{Error, Result};
pub use image_set::ImageSet;
pub use images::Images;
pub use known::Known;
pub use listing::Listing;
pub use loader::{Batch, BatchBytes, Epoch, Loader, LoaderOptions};
pub use mixing::Mixing;
pub use open::{list, open};
pub use options::{Decoding, OpenOptions};
pub use pool::Pool;
pub use preprocess::{Filter, Fit, Preprocess};
pub use report::{CacheUse, Report};
