//! The grey of a colour, as Pillow has it.

/// Grey of a pixel of one or three channels: of colours, 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601) in Pillow's integers.
pub(crate) fn luma(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue] => {
            let [red, green, blue] = [red, green, blue].map(u32::from);
            ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
        }
        _ => pixel.first().copied().unwrap_or(0),
    }
}
