//! What the first bytes of a JPEG or PNG say about the memory that decoding it takes.
//!
//! A few bytes can ask for gigabytes, so this is read before a decoder is made, and held against the limits.

use image::ImageFormat;

/// Largest height and width of a picture.
pub const MAX_SIDE: u32 = 16_384;
/// Most bytes that a picture may take, as a file and decoded.
pub const MAX_BYTES: u64 = 256 << 20;
/// Most bytes that decoding a picture may take in all: the picture, and a copy that is turned or has other channels.
pub const MAX_MEMORY: u64 = 2 * MAX_BYTES;

/// A picture that can be decoded within the limits, as far as its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) format: ImageFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bytes of a decoded pixel, before it is brought to 8 bits and the channels that are asked for.
    pixel: u64,
    /// Bytes that the decoder keeps beside the picture: a progressive JPEG's coefficients.
    beside: u64,
}

impl Header {
    /// The header of the picture that begins with `bytes`; None if they end before it does.
    ///
    /// # Errors
    /// Why it is refused: neither JPEG nor PNG, a broken header, a side over [`MAX_SIDE`].
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Header>, String> {
        let header = match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => jpeg(bytes)?,
            Ok(ImageFormat::Png) => png(bytes)?,
            _ => {
                let start = bytes[..bytes.len().min(8)].escape_ascii();
                return Err(format!("not a JPEG or PNG image (it starts with \"{start}\")"));
            }
        };
        match header {
            Some(Header { width, height, .. }) if width.max(height) > MAX_SIDE => {
                Err(format!("{width}x{height} pixels: sides may have {MAX_SIDE}"))
            }
            Some(Header { width, height, .. }) if width.min(height) == 0 => {
                Err(format!("{width}x{height} pixels: there must be some"))
            }
            header => Ok(header),
        }
    }

    /// Most bytes that decoding takes, to `channels` of 8 bits.
    ///
    /// # Errors
    /// More than [`MAX_BYTES`] for the picture or [`MAX_MEMORY`] in all.
    pub(crate) fn memory(&self, channels: usize) -> Result<u64, String> {
        let Header { width, height, .. } = *self;
        let pixels = u64::from(width) * u64::from(height);
        let picture = pixels * self.pixel;
        if picture > MAX_BYTES {
            return Err(format!("{width}x{height} pixels: decoded, an image may take {MAX_BYTES} bytes"));
        }
        // Its turned copy is made before its copy in other channels, and the first picture is gone by then.
        let copies = picture + picture.max(pixels * channels as u64);
        let memory = copies.max(picture + self.beside);
        if memory > MAX_MEMORY {
            return Err(format!(
                "{width}x{height} pixels: decoding takes {memory} bytes, an image may take {MAX_MEMORY}"
            ));
        }
        Ok(memory)
    }
}

/// The first four bytes as a big-endian number, and what follows them.
fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(word, rest)| (u32::from_be_bytes(*word), rest))
}

/// PNG: the signature, and chunks of a length, a kind, that many bytes and a checksum, the first of them IHDR.
fn png(bytes: &[u8]) -> Result<Option<Header>, String> {
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
    Ok(Some(Header { format: ImageFormat::Png, width, height, pixel, beside: 0 }))
}

/// JPEG: segments of FF, a marker, two bytes of length and the rest, one of which is the frame's.
fn jpeg(bytes: &[u8]) -> Result<Option<Header>, String> {
    let mut segments = Segments { rest: bytes };
    let (marker, frame) = loop {
        match segments.next() {
            // C4, C8 and CC are in the middle of the frames' numbers and something else.
            Some((marker @ 0xc0..=0xcf, segment)) if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => break (marker, segment),
            Some((0xd9 | 0xda, _)) => return Err("damaged: the JPEG has no frame header".to_owned()),
            Some(_) => {}
            None => return Ok(None),
        }
    };
    // Its length, bits of a sample, height, width, how many components; and of each its number, sampling and table.
    let &[_, _, _, h0, h1, w0, w1, count, ref components @ ..] = frame else { return Ok(None) };
    let Some(components) = components.get(..3 * usize::from(count)) else { return Ok(None) };
    let [height, width] = [[h0, h1], [w0, w1]].map(|side| u32::from(u16::from_be_bytes(side)));
    let sampling = components.chunks_exact(3).map(|component| [component[1] >> 4, component[1] & 15].map(u64::from));
    let [across, down] = sampling.clone().fold([1, 1], |most, one| [most[0].max(one[0]), most[1].max(one[1])]);
    let coefficients: u64 = sampling
        .map(|[h, v]| {
            let blocks = |side: u32, one: u64, most: u64| u64::from(side).div_ceil(8 * most) * one;
            128 * blocks(width, h, across) * blocks(height, v, down)
        })
        .sum();
    let progressive = matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce);
    let beside = if progressive { coefficients } else { 0 };
    // A picture of four inks is decoded to three colours.
    let pixel = u64::from(count.min(3));
    Ok(Some(Header { format: ImageFormat::Jpeg, width, height, pixel, beside }))
}

/// What a JPEG ends with, if nothing follows it.
pub(crate) const JPEG_END: [u8; 2] = [0xff, 0xd9];

/// Whether a JPEG has its end marker where its segments lead to it (a thumbnail inside one has an end marker too).
pub(crate) fn has_end(jpeg: &[u8]) -> bool {
    Segments { rest: jpeg }.any(|(marker, _)| marker == 0xd9)
}

/// The segments of a JPEG: each marker, with the bytes that follow it.
struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        // Between segments, and in the entropy-coded data after a scan's header, the next marker is the next FF that is
        // followed by neither 00 (a stuffed FF) nor FF (fill).
        loop {
            let start = self.rest.iter().position(|&byte| byte == 0xff)?;
            let marker = *self.rest.get(start + 1)?;
            let body = self.rest.get(start + 2..)?;
            let skip = match marker {
                0xff => 1,
                0x00 | 0x01 | 0xd0..=0xd9 => 2,
                _ => 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?])),
            };
            self.rest = self.rest.get(start + skip..).unwrap_or_default();
            if !matches!(marker, 0xff | 0x00 | 0x01 | 0xd0..=0xd8) {
                return Some((marker, body));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(marker: u8, side: u16, sampling: [u8; 3]) -> Vec<u8> {
        let [high, low] = side.to_be_bytes();
        let mut bytes = vec![0xff, 0xd8, 0xff, marker, 0, 17, 8, high, low, high, low, 3];
        sampling.iter().zip(1..).for_each(|(&sampling, number)| bytes.extend([number, sampling, 0]));
        bytes
    }

    #[test]
    fn a_progressive_jpeg_counts_its_coefficients() {
        let read = |marker, sampling| Header::read(&frame(marker, 800, sampling)).unwrap().unwrap();
        let pixels = 800 * 800;
        assert_eq!(read(0xc0, [0x11; 3]).memory(3), Ok(6 * pixels));
        assert_eq!(read(0xc2, [0x11; 3]).memory(3), Ok(9 * pixels));
        assert_eq!(read(0xc2, [0x22, 0x11, 0x11]).memory(3), Ok(6 * pixels), "half as many across and down: 3 bytes");
        assert!(Header::read(&frame(0xc2, 9000, [0x11; 3])).unwrap().unwrap().memory(3).is_err());
        assert!(Header::read(&frame(0xc0, 9000, [0x11; 3])).unwrap().unwrap().memory(3).is_ok());
        assert_eq!(Header::read(&frame(0xc0, 800, [0x11; 3])[..12]), Ok(None));
        assert!(
            Header::read(&frame(0xc0, 0, [0x11; 3])).is_err() && Header::read(&frame(0xc0, 20_000, [0x11; 3])).is_err()
        );
    }
}
