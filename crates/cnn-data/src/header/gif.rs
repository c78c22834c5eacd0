//! The header of a GIF: the sides of its screen, and where on it the first frame is.

use super::Header;
use image::ImageFormat;

/// The first frame, and what is seen around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The colour of the screen where the frame is not: the transparent one or, of a frame without, the palette's first, as Pillow
    /// has it.
    pub(crate) around: [u8; 3],
}

/// The header; None if the bytes end before the first frame's does.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let Some(frame) = first_frame(bytes)? else { return Ok(None) };
    let Some(&[w0, w1, h0, h1]) = bytes.get(6..10) else { return Ok(None) };
    let [width, height] = [[w0, w1], [h0, h1]].map(|side| u32::from(u16::from_le_bytes(side)));
    // The indices of a frame's colours, and those in four channels before they are put on the screen.
    let beside = 5 * u64::from(frame.width) * u64::from(frame.height);
    Ok(Some(Header { format: ImageFormat::Gif, width, height, pixel: 4, beside, whole: 0 }))
}

/// The first frame; None if the bytes end before its palette does.
///
/// # Errors
/// What is no block of a GIF, or no frame before its end.
pub(crate) fn first_frame(bytes: &[u8]) -> Result<Option<Frame>, String> {
    const EXTENSION: u8 = 0x21;
    const CONTROL: u8 = 0xf9;
    const IMAGE: u8 = 0x2c;
    const END: u8 = 0x3b;

    // A palette of 2 to 256 colours where a flag says that there is one, and what follows it.
    let palette = |flags: u8, rest: &[u8]| -> Option<(Vec<u8>, usize)> {
        let length = if flags & 0x80 == 0 { 0 } else { 3 * (2 << (flags & 7)) };
        Some((rest.get(..length)?.to_vec(), length))
    };
    let Some((&[.., flags, _, _], mut rest)) = bytes.split_first_chunk::<13>() else { return Ok(None) };
    let Some((global, length)) = palette(flags, rest) else { return Ok(None) };
    rest = rest.get(length..).unwrap_or_default();
    let mut transparent = None;
    loop {
        match rest {
            [] => return Ok(None),
            [EXTENSION, kind, blocks @ ..] => {
                if let (CONTROL, [4, flags, _, _, index, ..]) = (*kind, blocks) {
                    transparent = (flags & 1 == 1).then_some(usize::from(*index));
                }
                let Some(after) = after_blocks(blocks) else { return Ok(None) };
                rest = after;
            }
            [IMAGE, frame @ ..] => {
                let Some((&[l0, l1, t0, t1, w0, w1, h0, h1, flags], after)) = frame.split_first_chunk() else {
                    return Ok(None);
                };
                let Some((own, _)) = palette(flags, after) else { return Ok(None) };
                let [left, top, width, height] =
                    [[l0, l1], [t0, t1], [w0, w1], [h0, h1]].map(|word| u32::from(u16::from_le_bytes(word)));
                let colours = if own.is_empty() { global } else { own };
                let around =
                    colours.chunks_exact(3).nth(transparent.unwrap_or(0)).map_or([0; 3], |c| [c[0], c[1], c[2]]);
                return Ok(Some(Frame { left, top, width, height, around }));
            }
            [END, ..] => return Err("damaged: the GIF has no picture".to_owned()),
            [EXTENSION] => return Ok(None),
            [other, ..] => return Err(format!("damaged: the GIF has a block {other}: must be 33, 44 or 59")),
        }
    }
}

/// What follows blocks of a length and as many bytes, the last of them empty.
fn after_blocks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, after) = rest.split_first()?;
        rest = after.get(usize::from(length)..)?;
        if length == 0 {
            return Some(rest);
        }
    }
}
