//! The parsers of file formats, called on bytes: what the fuzz targets of this repository run.

use crate::archive::{STREAM_CAP, members_of};
use crate::header::Header;
use crate::preprocess::{Fit, Preprocess};
use crate::{Error, Result, cifar, decode, idx, labels};
use std::path::Path;

fn bytes_path() -> &'static Path {
    Path::new("bytes")
}

/// An IDX file of images, uncompressed.
pub fn idx_images(bytes: &[u8]) -> Result<[usize; 3]> {
    Ok(idx::read_from(bytes, bytes_path(), idx::IMAGES)?.0)
}

/// An IDX file of labels, uncompressed.
pub fn idx_labels(bytes: &[u8]) -> Result<usize> {
    let ([count], _) = idx::read_from(bytes, bytes_path(), idx::LABELS)?;
    Ok(count)
}

/// A CIFAR-10 or, if `fine`, CIFAR-100 file; the number of its records.
pub fn cifar(bytes: &[u8], fine: bool) -> Result<usize> {
    cifar::records(bytes, fine)
}

/// A `.tar.gz` with a CIFAR set; the number of its training images.
pub fn archive(bytes: &[u8]) -> Result<usize> {
    let members = members_of(bytes, bytes_path(), &cifar::wanted(), STREAM_CAP)?;
    Ok(cifar::from_members(bytes_path(), members)?.train.len())
}

/// A file of labels, as a table and as lines of JSON; the number of its rows.
pub fn labels(bytes: &[u8]) -> Result<[usize; 2]> {
    let count = |written| {
        let rows = labels::rows(bytes, written, None).map_err(|(line, rule)| Error::invalid("labels", line, rule));
        rows.map(|rows| rows.rows.len())
    };
    match [labels::Written::Table, labels::Written::Lines].map(count) {
        [Err(error), Err(_)] => Err(error),
        counts => Ok(counts.map(|count| count.unwrap_or(0))),
    }
}

/// A picture file, decoded to 8x8 in colour and in grey. A file of a few bytes may say that it is 94 million pixels, as
/// it may; decoding them takes some seconds, and a minute in an instrumented build. So those above a million are left out:
/// what only they could do is a matter of the limits, which are tested by their headers.
pub fn picture(bytes: &[u8]) -> Result<()> {
    const MOST_PIXELS: u64 = 1 << 20;
    if let Ok(Some(Header { width, height, .. })) = Header::read(bytes)
        && u64::from(width) * u64::from(height) > MOST_PIXELS
    {
        return Ok(());
    }
    for (channels, fit) in [(3, Fit::Crop), (3, Fit::Pad), (1, Fit::Squash)] {
        decode::decode_bytes(bytes_path(), bytes, [8, 8, channels], &Preprocess { fit, ..Preprocess::default() })?;
    }
    Ok(())
}
