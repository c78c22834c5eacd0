//! The header of a JPEG: segments of FF, a marker, two bytes of length and the rest, one of which is the frame's.

use super::Header;
use image::ImageFormat;

/// The header; None if the bytes end before it does.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
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
    Ok(Some(Header { format: ImageFormat::Jpeg, width, height, pixel, beside, whole: 0 }))
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
