//! How a camera was held: the orientation in a picture's EXIF block, a small TIFF file.

use image::metadata::Orientation;

const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// What the block says, written as SHORT, as the standard wants it, or as LONG, as some cameras do; None when it says
/// nothing that can be followed.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let little = match exif.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| -> Option<u32> {
        let bytes = exif.get(at..at.checked_add(size)?)?;
        let join = |number: u32, &byte: &u8| number << 8 | u32::from(byte);
        Some(if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    };
    let table = number(4, 4)? as usize;
    for entry in 0..number(table, 2)? as usize {
        // A tag, the kind of its values, how many, and the value itself if it has room in four bytes.
        let at = table.checked_add(2 + 12 * entry)?;
        let [tag, kind] = [number(at, 2)?, number(at + 2, 2)?].map(|word| word as u16);
        if tag == ORIENTATION && matches!(kind, SHORT | LONG) && number(at + 4, 4)? == 1 {
            let value = number(at + 8, if kind == SHORT { 2 } else { 4 })?;
            return Orientation::from_exif(u8::try_from(value).ok()?);
        }
    }
    None
}
