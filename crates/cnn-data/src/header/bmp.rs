//! The header of a BMP: where its rows begin, their sides, and how they are written.

use super::Header;
use image::ImageFormat;

/// The header; None if the bytes end before it does.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    const OLDEST: u32 = 12;
    const PLAIN: u32 = 0;
    const MASKED: u32 = 3;

    let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let short = |at: usize| bytes.get(at..at + 2).and_then(|word| word.try_into().ok()).map(u16::from_le_bytes);
    let (Some(start), Some(length)) = (word(10), word(14)) else { return Ok(None) };
    let (sides, bits, written) = if length == OLDEST {
        (short(18).zip(short(20)).map(|(w, h)| [u32::from(w), u32::from(h)]), short(24), Some(PLAIN))
    } else {
        // A height below zero is that of a picture whose first row is the upper one.
        (word(18).zip(word(22)).map(|(w, h)| [w, (h as i32).unsigned_abs()]), short(28), word(30))
    };
    let (Some([width, height]), Some(bits), Some(written)) = (sides, bits, written) else { return Ok(None) };
    let row = (u64::from(width) * u64::from(bits)).div_ceil(32) * 4;
    // Of rows written as runs it is not known how long they are.
    let rows = if matches!(written, PLAIN | MASKED) { row * u64::from(height) } else { 0 };
    let pixel = if bits == 32 { 4 } else { 3 };
    let whole = u64::from(start) + rows;
    Ok(Some(Header { format: ImageFormat::Bmp, width, height, pixel, beside: row, whole }))
}
