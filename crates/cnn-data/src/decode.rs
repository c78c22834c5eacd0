//! One JPEG or PNG file to the bytes of one training image.
//!
//! A picture of another size is cut to the target's proportions around its centre and then resized (cubic,
//! antialiased); a picture of the target's size comes through byte for byte.

use crate::exif;
use crate::guard::guarded;
use crate::header::{Header, JPEG_END, has_end};
use crate::memory::Memory;
use crate::{Error, Result};
use image::imageops::{self, FilterType};
use image::{
    DynamicImage, GrayImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Luma, Pixel, RgbImage,
};
use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

pub use crate::header::{MAX_BYTES, MAX_MEMORY, MAX_SIDE};

/// The picture at `path` as `height` x `width` x `channels` bytes, 1 channel (grey) or 3 (RGB).
///
/// The format is told by the content, not by the name; the EXIF orientation is applied, transparency is dropped, 16 bits
/// become 8, and colours become grey by ITU-R BT.601 in Pillow's integers. A decoder that panics is an error too, and
/// silent: the first call puts a hook before the process's panic hook that lets every other panic pass.
///
/// # Errors
/// They name the file: unreadable, neither JPEG nor PNG, truncated or damaged, over [`MAX_SIDE`], [`MAX_BYTES`] or
/// [`MAX_MEMORY`] (told by its header, before anything is decoded), or a target that is empty or has other channels.
pub fn decode_image(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    decode(path, &read(path)?, [height, width, channels], None)
}

/// As [`decode_image`], of a file that is in memory; `path` is what messages call it.
pub fn decode_bytes(path: &Path, bytes: &[u8], height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    decode(path, bytes, [height, width, channels], None)
}

/// As [`decode_image`], when `memory` has room for what it takes.
pub(crate) fn decode_within(memory: &Memory, path: &Path, size: [usize; 3]) -> Result<Vec<u8>> {
    decode(path, &read(path)?, size, Some(memory))
}

fn decode(path: &Path, bytes: &[u8], size: [usize; 3], memory: Option<&Memory>) -> Result<Vec<u8>> {
    let [height, width, channels] = size;
    let [height, width] = check_target(height, width)?;
    if !matches!(channels, 1 | 3) {
        return Err(Error::invalid("channels", channels, "must be 1 (grey) or 3 (RGB)"));
    }
    let need = check(bytes).and_then(|header| header.memory(channels)).map_err(|reason| Error::image(path, reason))?;
    let _taken = memory.map(|memory| memory.take(need));
    // What the resizing takes cannot fail: the result, and as much again between its two passes.
    let takes = need + 2 * u64::from(height) * u64::from(width) * channels as u64;
    if Vec::<u8>::new().try_reserve_exact(usize::try_from(takes).unwrap_or(usize::MAX)).is_err() {
        return Err(Error::image(path, format!("decoding takes {takes} bytes, more than there is memory for")));
    }
    let decoded = guarded(|| {
        let picture = upright(bytes)?;
        Ok(if channels == 1 { fit(grey(picture), height, width) } else { fit(picture.into_rgb8(), height, width) })
    });
    let decoded = decoded.unwrap_or_else(|panic| Err(format!("damaged: the decoder stopped: {panic}")));
    decoded.map_err(|reason| Error::image(path, reason))
}

/// The bytes of the file at `path`, or one more than it may have.
fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::IsADirectory => Error::image(path, "is a folder: name the pictures in it"),
        _ => Error::io(path, source),
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than may be there shows that there are too many, without reading them.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Bytes at the start of a file in which its header is looked for first.
const HEAD: u64 = 256 << 10;

/// Looks at the header and, of a JPEG, the end of the file at `path`: most of what is wrong with pictures, at the cost of
/// opening them.
///
/// # Errors
/// As [`decode_image`], as far as it is seen.
pub(crate) fn check_file(path: &Path, channels: usize) -> Result<()> {
    let failed = |source| Error::io(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(HEAD).read_to_end(&mut head).map_err(failed)?;
    let refused = |reason| Error::image(path, reason);
    if length > HEAD && length <= MAX_BYTES {
        let mut end = [0; 2];
        file.seek(SeekFrom::End(-2)).and_then(|_| file.read_exact(&mut end)).map_err(failed)?;
        if let Some(header) = Header::read(&head).map_err(refused)?
            && (header.format != ImageFormat::Jpeg || end == JPEG_END)
        {
            return header.memory(channels).map(|_| ()).map_err(refused);
        }
        head = read(path)?;
    }
    check(&head).and_then(|header| header.memory(channels)).map(|_| ()).map_err(refused)
}

/// Sides that an image can be resized to.
pub(crate) fn check_target(height: usize, width: usize) -> Result<[u32; 2]> {
    if [height, width].iter().any(|&side| side == 0 || side > MAX_SIDE as usize) {
        let rule = format!("sides must be between 1 and {MAX_SIDE}");
        return Err(Error::invalid("image size", format!("{height}x{width}"), rule));
    }
    Ok([height as u32, width as u32])
}

/// The decoded picture, turned as its EXIF block says; or why there is none.
fn upright(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);

    let failed = |error: image::ImageError| error.to_string();
    let mut decoder = reader.into_decoder().map_err(failed)?;
    // A damaged EXIF block is no reason to refuse the picture.
    let orientation = decoder.exif_metadata().ok().flatten().and_then(|exif| exif::orientation(&exif));
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture)
}

/// The header of a file that is whole.
fn check(bytes: &[u8]) -> Result<Header, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("an image file may have {MAX_BYTES} bytes"));
    }
    let header = Header::read(bytes)?.ok_or("truncated: it ends in its header")?;
    // The decoder fills what is missing with grey and calls it a picture.
    if header.format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err("truncated: the JPEG has no end marker".to_owned());
    }
    Ok(header)
}

/// Grey of 8 bits; of colours, 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601) as Pillow rounds it.
fn grey(picture: DynamicImage) -> GrayImage {
    if !picture.color().has_color() {
        return picture.into_luma8();
    }
    let picture: RgbImage = picture.into_rgb8();
    let luma = |pixel: &[u8]| {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        Luma([((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8])
    };
    let mut grey = GrayImage::new(picture.width(), picture.height());
    grey.pixels_mut().zip(picture.as_raw().chunks_exact(3)).for_each(|(to, from)| *to = luma(from));
    grey
}

/// The largest centred part of `picture` with the target's proportions, at the target's size.
fn fit<P: Pixel<Subpixel = u8> + 'static>(picture: ImageBuffer<P, Vec<u8>>, height: u32, width: u32) -> Vec<u8> {
    let (from_width, from_height) = picture.dimensions();
    if (from_width, from_height) == (width, height) {
        return picture.into_raw();
    }
    let (wide, tall) = (u64::from(from_width) * u64::from(height), u64::from(from_height) * u64::from(width));
    let (crop_width, crop_height) = if wide > tall {
        ((tall / u64::from(height)).max(1) as u32, from_height)
    } else {
        (from_width, (wide / u64::from(width)).max(1) as u32)
    };
    let (x, y) = ((from_width - crop_width) / 2, (from_height - crop_height) / 2);
    let part = imageops::crop_imm(&picture, x, y, crop_width, crop_height);
    imageops::resize(&*part, width, height, FilterType::CatmullRom).into_raw()
}
