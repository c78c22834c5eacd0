//! How a camera was held: the orientation in a picture's EXIF block, a small TIFF file.

use crate::directory::Directory;
use image::metadata::Orientation;

const ORIENTATION: u16 = 0x0112;
/// What some programs write before the block, as it is in a JPEG.
const PREFIX: &[u8] = b"Exif\0\0";

/// What the block says, written as SHORT, as the standard wants it, or as LONG, as some cameras do; None when it says
/// nothing that can be followed.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let exif = exif.strip_prefix(PREFIX).unwrap_or(exif);
    let mut numbers = Directory::first(exif)?.numbers(ORIENTATION)?;
    match (numbers.next(), numbers.next()) {
        (Some(way), None) => Orientation::from_exif(u8::try_from(way).ok()?),
        _ => None,
    }
}
