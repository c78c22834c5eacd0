//! The header of a WebP: a RIFF file whose first chunk says what it is, a lossy or lossless picture or one with more chunks.

use super::Header;
use image::ImageFormat;

/// The header; None if the bytes end before it does.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let Some((&[_, _, _, _, r0, r1, r2, r3, _, _, _, _, ref kind @ ..], body)) = bytes.split_first_chunk::<16>() else {
        return Ok(None);
    };
    // A chunk's length, and what is in it.
    let Some(&[_, _, _, _, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9]) = body.first_chunk() else { return Ok(None) };
    // Bytes beside the picture, of a pixel: planes of luminance and chrominance, what is lossless in four channels, with the tables
    // that it is made by, opacity, and of an animation the frame.
    let (width, height, transparent, beside) = match kind {
        b"VP8 " => {
            let [width, height] = [[b6, b7], [b8, b9]].map(|side| u32::from(u16::from_le_bytes(side) & 0x3fff));
            (width, height, false, 2)
        }
        b"VP8L" => {
            let bits = u32::from_le_bytes([b1, b2, b3, b4]);
            (1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff), bits >> 28 & 1 == 1, 6)
        }
        b"VP8X" => {
            let [width, height] = [[b4, b5, b6, 0], [b7, b8, b9, 0]].map(|side| 1 + u32::from_le_bytes(side));
            let (animated, transparent) = (b0 & 0x02 != 0, b0 & 0x10 != 0);
            (width, height, transparent, if animated { 16 } else { 8 })
        }
        _ => return Err(format!("damaged: the WebP begins with a chunk \"{}\"", kind.escape_ascii())),
    };
    let (pixel, pixels) = (if transparent { 4 } else { 3 }, u64::from(width) * u64::from(height));
    let whole = 8 + u64::from(u32::from_le_bytes([r0, r1, r2, r3]));
    Ok(Some(Header { format: ImageFormat::WebP, width, height, pixel, beside: beside * pixels, whole }))
}
