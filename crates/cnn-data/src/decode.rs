//! One picture file to the bytes of one training image: [`Preprocess`] says how a picture of another size is brought to the
//! image's; one of that size comes through byte for byte.

use crate::exif;
#[cfg(feature = "formats")]
use crate::formats;
use crate::guard::guarded;
use crate::header::Header;
use crate::header::jpeg::{JPEG_END, has_end};
use crate::luma::luma;
use crate::memory::Memory;
use crate::preprocess::{Preprocess, check_target};
use crate::{Error, Result};
use image::metadata::Orientation;
use image::{
    DynamicImage, GrayImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Luma, Pixel, RgbImage,
};
use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

pub use crate::header::{MAX_BYTES, MAX_MEMORY, MAX_SIDE};

/// The picture at `path` as the bytes in which it is kept for a network whose images are height, width and channels `image`, 1
/// channel (grey) or 3 (RGB): [`Preprocess::stored`] rows and columns.
///
/// The format is told by the content, not by the name; the EXIF orientation is applied, transparency is dropped, of 16 bits the
/// upper 8 are kept, inks become colours, and colours become grey by ITU-R BT.601 in Pillow's integers. These are the pixels that
/// Pillow's `exif_transpose` and `convert` give: of a PNG byte for byte, but for 16 bits of grey, which Pillow clips at 255 so that
/// nearly all of it is white; of a JPEG within 4 steps of a byte, by 0.5 in the mean at most, and by more in the last row and
/// column of one with chroma at half the resolution, if its sides are no multiples of 16 (chroma is interpolated otherwise there).
///
/// With the feature `formats`, WebP, GIF, BMP and TIFF are read too: of an animation the first frame, of several pages the first
/// one. These are Pillow's pixels byte for byte, but for a BMP of 16 bits a pixel, which is rounded by a step otherwise.
///
/// A decoder that panics is an error too, and silent: the first call puts a hook before the process's panic hook that lets every
/// other panic pass.
///
/// # Errors
/// They name the file: unreadable, of a format that is not read, truncated or damaged, over [`MAX_SIDE`], [`MAX_BYTES`] or
/// [`MAX_MEMORY`] (told by its header, before anything is decoded), or a target that is empty or has other channels.
pub fn decode_image(path: &Path, image: [usize; 3], preprocess: &Preprocess) -> Result<Vec<u8>> {
    decode(path, &read(path)?, image, preprocess, None)
}

/// As [`decode_image`], of a file that is in memory; `path` is what messages call it.
pub fn decode_bytes(path: &Path, bytes: &[u8], image: [usize; 3], preprocess: &Preprocess) -> Result<Vec<u8>> {
    decode(path, bytes, image, preprocess, None)
}

/// As [`decode_image`], when `memory` has room for what it takes.
pub(crate) fn decode_within(
    memory: &Memory,
    path: &Path,
    image: [usize; 3],
    preprocess: &Preprocess,
) -> Result<Vec<u8>> {
    decode(path, &read(path)?, image, preprocess, Some(memory))
}

fn decode(
    path: &Path,
    bytes: &[u8],
    image: [usize; 3],
    preprocess: &Preprocess,
    memory: Option<&Memory>,
) -> Result<Vec<u8>> {
    let [height, width, channels] = image;
    check_target([height, width])?;
    preprocess.check()?;
    if !matches!(channels, 1 | 3) {
        return Err(Error::invalid("channels", channels, "must be 1 (grey) or 3 (RGB)"));
    }
    let refused = |reason| Error::image(path, reason);
    let header = check(bytes).map_err(refused)?;
    let need = header.memory(channels).map_err(refused)?;
    let _taken = memory.map(|memory| memory.take(need));
    // What the resizing takes cannot fail: the result twice, for one that is padded, and what is between its two passes, in three
    // channels; and of grey the picture in as many.
    let [rows, columns, _] = preprocess.stored(image).map(|side| side as u64);
    let [from_width, from_height] = [header.width, header.height].map(u64::from);
    let picture = if channels == 1 { from_width * from_height } else { 0 };
    let takes = need + 3 * (2 * rows * columns + rows.max(columns) * from_width.max(from_height) + picture);
    if Vec::<u8>::new().try_reserve_exact(usize::try_from(takes).unwrap_or(usize::MAX)).is_err() {
        return Err(Error::image(path, format!("decoding takes {takes} bytes, more than there is memory for")));
    }
    let decoded = guarded(|| {
        let picture = upright(bytes)?;
        let size = [picture.height() as usize, picture.width() as usize, channels];
        let bytes = if channels == 1 { grey(picture).into_raw() } else { picture.into_rgb8().into_raw() };
        preprocess.apply(bytes, size, [height, width])
    });
    let decoded = decoded.unwrap_or_else(|panic| Err(format!("damaged: the decoder stopped: {panic}")));
    decoded.map_err(refused)
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

/// The file at `path`, its length, and its first bytes.
fn begun(path: &Path) -> io::Result<(File, u64, Vec<u8>)> {
    let mut file = File::open(path)?;
    let (length, mut head) = (file.metadata()?.len(), Vec::new());
    Read::by_ref(&mut file).take(HEAD).read_to_end(&mut head)?;
    Ok((file, length, head))
}

/// Bytes that decoding the file at `path` takes, and the file itself; None where that cannot be told.
pub(crate) fn decoding_bytes(path: &Path, channels: usize) -> Option<u64> {
    let (_, length, head) = begun(path).ok()?;
    let header = match Header::read(&head).ok()? {
        None if length <= MAX_BYTES => Header::read(&read(path).ok()?).ok()?,
        header => header,
    };
    Some(header?.memory(channels).ok()? + length)
}

/// Looks at the header and, of a JPEG, the end of the file at `path`: most of what is wrong with pictures, at the cost of
/// opening them.
///
/// # Errors
/// As [`decode_image`], as far as it is seen.
pub(crate) fn check_file(path: &Path, channels: usize) -> Result<()> {
    let failed = |source| Error::io(path, source);
    let (mut file, length, mut head) = begun(path).map_err(failed)?;
    let refused = |reason| Error::image(path, reason);
    if length > HEAD && length <= MAX_BYTES {
        let mut end = [0; 2];
        file.seek(SeekFrom::End(-2)).and_then(|_| file.read_exact(&mut end)).map_err(failed)?;
        if let Some(header) = Header::read(&head).map_err(refused)?
            && (header.format != ImageFormat::Jpeg || end == JPEG_END)
        {
            return header.check_length(length).and_then(|()| header.memory(channels)).map(|_| ()).map_err(refused);
        }
        head = read(path)?;
    }
    check(&head).and_then(|header| header.memory(channels)).map(|_| ()).map_err(refused)
}

/// The decoded picture, turned as its EXIF block says; or why there is none.
fn upright(bytes: &[u8]) -> Result<DynamicImage, String> {
    #[cfg(feature = "formats")]
    let (mut picture, orientation) = formats::decoded(bytes, decoded)?;
    #[cfg(not(feature = "formats"))]
    let (mut picture, orientation) = decoded(bytes)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture)
}

/// The decoded picture, in 8 bits, and how its EXIF block says that it is turned.
fn decoded(bytes: &[u8]) -> Result<(DynamicImage, Option<Orientation>), String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);

    let failed = |error: image::ImageError| error.to_string();
    let mut decoder = reader.into_decoder().map_err(failed)?;
    // A damaged EXIF block is no reason to refuse the picture.
    let orientation = decoder.exif_metadata().ok().flatten().and_then(|exif| exif::orientation(&exif));
    Ok((eight_bits(DynamicImage::from_decoder(decoder).map_err(failed)?), orientation))
}

/// The upper 8 bits of 16, as Pillow takes them; `image` would round, which differs in half of the values.
fn eight_bits(picture: DynamicImage) -> DynamicImage {
    fn upper<P, Q>(picture: ImageBuffer<P, Vec<u16>>) -> ImageBuffer<Q, Vec<u8>>
    where
        P: Pixel<Subpixel = u16>,
        Q: Pixel<Subpixel = u8>,
    {
        let (width, height) = picture.dimensions();
        let bytes = picture.into_raw().into_iter().map(|value| (value >> 8) as u8).collect();
        ImageBuffer::from_raw(width, height, bytes).expect("a byte for each value")
    }
    match picture {
        DynamicImage::ImageLuma16(picture) => DynamicImage::ImageLuma8(upper(picture)),
        DynamicImage::ImageLumaA16(picture) => DynamicImage::ImageLumaA8(upper(picture)),
        DynamicImage::ImageRgb16(picture) => DynamicImage::ImageRgb8(upper(picture)),
        DynamicImage::ImageRgba16(picture) => DynamicImage::ImageRgba8(upper(picture)),
        picture => picture,
    }
}

/// The header of a file that is whole.
fn check(bytes: &[u8]) -> Result<Header, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("an image file may have {MAX_BYTES} bytes"));
    }
    let header = Header::read(bytes)?.ok_or("truncated: it ends in its header")?;
    header.check_length(bytes.len() as u64)?;
    // The decoder fills what is missing with grey and calls it a picture.
    if header.format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err("truncated: the JPEG has no end marker".to_owned());
    }
    Ok(header)
}

/// Grey of 8 bits, see [`luma`].
fn grey(picture: DynamicImage) -> GrayImage {
    if !picture.color().has_color() {
        return picture.into_luma8();
    }
    let picture: RgbImage = picture.into_rgb8();
    let mut grey = GrayImage::new(picture.width(), picture.height());
    let pixels = grey.pixels_mut().zip(picture.as_raw().chunks_exact(3));
    pixels.for_each(|(to, from)| *to = Luma([luma(from)]));
    grey
}
