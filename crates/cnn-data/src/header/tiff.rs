//! The header of a TIFF's first page: its directory, which may be anywhere in the file.

use super::Header;
use crate::directory::Directory;
use image::ImageFormat;

const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const PHOTOMETRIC: u16 = 262;
const STRIPS: [u16; 2] = [273, 279];
const SAMPLES: u16 = 277;
const COLOURS: u16 = 320;
const TILES: [u16; 2] = [324, 325];
const SAMPLE_FORMAT: u16 = 339;

/// What the photometric interpretation is of colours in a palette, and of grey.
const INDEXED: u32 = 3;
const GREY: u8 = 1;

/// The header; None if the bytes end before the directory or its numbers do.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let Some(page) = Directory::first(bytes) else { return Ok(None) };
    let first = |tag: u16, otherwise: u32| Some(page.numbers(tag)?.next().unwrap_or(otherwise));
    let sides = first(WIDTH, 0).zip(first(HEIGHT, 0));
    let (Some((width, height)), Some(samples), Some(bits), Some(format), Some(whole)) =
        (sides, first(SAMPLES, 1), first(BITS, 1), first(SAMPLE_FORMAT, 1), end(&page))
    else {
        return Ok(None);
    };
    let indexed = first(PHOTOMETRIC, u32::from(GREY)).is_some_and(|photometric| photometric == INDEXED);
    if !matches!(bits, 1 | 8 | 16) || format != 1 || !(1..=5).contains(&samples) {
        let kind = if format == 1 { "whole" } else { "signed or broken" };
        let value = format!("a TIFF of {samples} {kind} numbers of {bits} bits a pixel");
        return Err(format!("{value}: must be 1 to 5, whole, of 1, 8 or 16 bits"));
    }
    if indexed && (bits > 8 || samples > 1) {
        let value = format!("a TIFF of {samples} indices of {bits} bits a pixel");
        return Err(format!("{value}: must be one of 1 or 8 bits"));
    }
    let pixel = u64::from(if indexed { 3 } else { samples }) * u64::from(bits.div_ceil(8));
    // It is decoded once before it is brought to its channels, by strips or tiles, which may be as large as it is; and one of
    // indices from a copy of the file.
    let beside = 2 * pixel * u64::from(width) * u64::from(height) + if indexed { bytes.len() as u64 } else { 0 };
    Ok(Some(Header { format: ImageFormat::Tiff, width, height, pixel, beside, whole }))
}

/// Bytes that the file has at least: to the end of its last strip or tile.
fn end(page: &Directory) -> Option<u64> {
    let mut end = 0;
    for [places, lengths] in [STRIPS, TILES] {
        let parts = page.numbers(places)?.zip(page.numbers(lengths)?);
        end = parts.map(|(place, length)| u64::from(place) + u64::from(length)).fold(end, u64::max);
    }
    Some(end)
}

/// A page of colours in a palette as a decoder reads it that knows none: the file with its indices called grey.
#[derive(Debug)]
pub(crate) struct Indexed {
    pub(crate) grey: Vec<u8>,
    /// Of every index, its colour.
    colours: Vec<[u8; 3]>,
    bits: u32,
}

impl Indexed {
    /// None for a file that is no TIFF, or whose first page has no palette.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let page = Directory::first(bytes)?;
        if page.numbers(PHOTOMETRIC)?.next()? != INDEXED {
            return None;
        }
        let bits = page.numbers(BITS)?.next().unwrap_or(1);
        // All reds, then all greens, then all blues, of 16 bits.
        let table: Vec<u8> = page.numbers(COLOURS)?.map(|value| (value >> 8) as u8).collect();
        let count = table.len() / 3;
        let colours = (0..count).map(|i| [table[i], table[count + i], table[2 * count + i]]).collect();
        let place = page.place(PHOTOMETRIC)?;
        let mut grey = bytes.to_vec();
        let value = &mut grey[place];
        value.fill(0);
        let last = if page.is_big_endian() { value.len() - 1 } else { 0 };
        value[last] = GREY;
        Some(Indexed { grey, colours, bits })
    }

    /// The colour of what was decoded to this grey; black for one that the palette does not have.
    pub(crate) fn colour(&self, grey: u8) -> [u8; 3] {
        let index = if self.bits == 1 { grey >> 7 } else { grey };
        self.colours.get(usize::from(index)).copied().unwrap_or([0; 3])
    }
}
