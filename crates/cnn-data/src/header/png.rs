//! The header of a PNG: the signature, and chunks of a length, a kind, that many bytes and a checksum, the first of them IHDR.

use super::Header;
use image::ImageFormat;

/// The first four bytes as a big-endian number, and what follows them.
fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(word, rest)| (u32::from_be_bytes(*word), rest))
}

/// The header; None if the bytes end before it does.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    const INDEXED: u8 = 3;
    let after_signature = bytes.get(8..).unwrap_or_default();
    let &[_, _, _, _, _, _, _, _, w0, w1, w2, w3, h0, h1, h2, h3, depth, colour, ..] = after_signature else {
        return Ok(None);
    };
    let [width, height] = [[w0, w1, w2, w3], [h0, h1, h2, h3]].map(u32::from_be_bytes);
    let colours = match colour {
        0 | 4 => 1,
        2 | INDEXED | 6 => 3,
        _ => return Err(format!("PNG colour type {colour}: must be 0, 2, 3, 4 or 6")),
    };
    let mut transparent = matches!(colour, 4 | 6);
    let mut chunks = after_signature;
    while let Some((length, rest)) = word(chunks)
        && let Some((kind, rest)) = rest.split_first_chunk()
    {
        match kind {
            b"PLTE" if colour == INDEXED && (length == 0 || length > 3 * 256 || !length.is_multiple_of(3)) => {
                return Err(format!("a palette of {length} bytes: must have 3 for each of 1 to 256 colours"));
            }
            b"tRNS" => transparent = true,
            b"IDAT" => break,
            _ => {}
        }
        // After the data comes a checksum of four bytes.
        chunks = rest.get(length as usize..).and_then(|rest| rest.get(4..)).unwrap_or_default();
    }
    let samples = colours + u64::from(transparent);
    let pixel = if depth == 16 { 2 * samples } else { samples };
    Ok(Some(Header { format: ImageFormat::Png, width, height, pixel, beside: 0, whole: 0 }))
}
