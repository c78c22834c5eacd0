//! One JPEG or PNG file to the bytes of one training image.
//!
//! A picture of another size is cut to the target's proportions around its centre and then resized (cubic,
//! antialiased); a picture of the target's size comes through byte for byte.

use crate::{Error, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Largest height and width of a picture.
pub const MAX_SIDE: u32 = 16_384;
/// Most bytes that a picture may take, as a file and decoded.
pub const MAX_BYTES: u64 = 256 << 20;

/// The picture at `path` as `height` x `width` x `channels` bytes, 1 channel (grey) or 3 (RGB).
///
/// The format is told by the content, not by the name; the EXIF orientation is applied, transparency is dropped, 16 bits
/// become 8. Errors name the file: unreadable, neither JPEG nor PNG, truncated or damaged, over [`MAX_SIDE`] or
/// [`MAX_BYTES`], or a target that is empty or has other channels.
pub fn decode_image(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let failed = |source| Error::io(path, source);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than may be there shows that there are too many, without reading them.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    decode_bytes(path, &bytes, height, width, channels)
}

/// As [`decode_image`], of a file that is in memory; `path` is what messages call it.
pub fn decode_bytes(path: &Path, bytes: &[u8], height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let [height, width] = check_target(height, width)?;
    match channels {
        1 => Ok(fit(&upright(path, bytes)?.into_luma8(), height, width)),
        3 => Ok(fit(&upright(path, bytes)?.into_rgb8(), height, width)),
        _ => Err(Error::invalid("channels", channels, "must be 1 (grey) or 3 (RGB)")),
    }
}

/// Sides that an image can be resized to.
pub(crate) fn check_target(height: usize, width: usize) -> Result<[u32; 2]> {
    if [height, width].iter().any(|&side| side == 0 || side > MAX_SIDE as usize) {
        let rule = format!("sides must be between 1 and {MAX_SIDE}");
        return Err(Error::invalid("image size", format!("{height}x{width}"), rule));
    }
    Ok([height as u32, width as u32])
}

/// The decoded picture, turned as its EXIF block says.
fn upright(path: &Path, bytes: &[u8]) -> Result<DynamicImage> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::image(path, format!("an image file may have {MAX_BYTES} bytes")));
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|source| Error::io(path, source))?;
    let format = reader.format();
    if !matches!(format, Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        let start = &bytes[..bytes.len().min(8)];
        return Err(Error::image(
            path,
            format!("not a JPEG or PNG image (it starts with \"{}\")", start.escape_ascii()),
        ));
    }
    // The decoder fills what is missing with grey and calls it a picture.
    if format == Some(ImageFormat::Jpeg) && !has_end(bytes) {
        return Err(Error::image(path, "truncated: the JPEG has no end marker"));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);

    let failed = |error: image::ImageError| Error::image(path, error);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    if decoder.total_bytes() > MAX_BYTES {
        let (width, height) = decoder.dimensions();
        return Err(Error::image(
            path,
            format!("{width}x{height} pixels: decoded, an image may take {MAX_BYTES} bytes"),
        ));
    }
    // A damaged EXIF block is no reason to refuse the picture.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture)
}

/// Whether a JPEG has its end marker where its segments lead to it (a thumbnail inside one has an end marker too).
fn has_end(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    // Between segments, and in the entropy-coded data after a scan's header, the next marker is the next FF that is
    // followed by neither 00 (a stuffed FF) nor FF (fill).
    while let Some(start) = rest.iter().position(|&byte| byte == 0xff) {
        let Some(&marker) = rest.get(start + 1) else { return false };
        let skip = match marker {
            0xd9 => return true,
            0xff => 1,
            0x00 | 0x01 | 0xd0..=0xd8 => 2,
            _ => match rest.get(start + 2..start + 4) {
                Some(length) => 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
        };
        rest = rest.get(start + skip..).unwrap_or_default();
    }
    false
}

/// The largest centred part of `picture` with the target's proportions, at the target's size.
fn fit<P: Pixel<Subpixel = u8> + 'static>(picture: &ImageBuffer<P, Vec<u8>>, height: u32, width: u32) -> Vec<u8> {
    let (from_width, from_height) = picture.dimensions();
    if (from_width, from_height) == (width, height) {
        return picture.as_raw().clone();
    }
    let (wide, tall) = (u64::from(from_width) * u64::from(height), u64::from(from_height) * u64::from(width));
    let (crop_width, crop_height) = if wide > tall {
        ((tall / u64::from(height)).max(1) as u32, from_height)
    } else {
        (from_width, (wide / u64::from(width)).max(1) as u32)
    };
    let (x, y) = ((from_width - crop_width) / 2, (from_height - crop_height) / 2);
    let part = imageops::crop_imm(picture, x, y, crop_width, crop_height);
    imageops::resize(&*part, width, height, FilterType::CatmullRom).into_raw()
}
