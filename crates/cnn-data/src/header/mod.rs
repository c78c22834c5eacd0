//! What the first bytes of a picture say about the memory that decoding it takes; a file for each format.
//!
//! A few bytes can ask for gigabytes, so this is read before a decoder is made, and held against the limits.

#[cfg(feature = "formats")]
mod bmp;
#[cfg(feature = "formats")]
pub(crate) mod gif;
pub(crate) mod jpeg;
mod png;
#[cfg(feature = "formats")]
pub(crate) mod tiff;
#[cfg(feature = "formats")]
mod webp;

use crate::format;
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
    /// Bytes that a whole file has at least, as far as the header tells.
    whole: u64,
}

impl Header {
    /// The header of the picture that begins with `bytes`; None if they end before it does.
    ///
    /// # Errors
    /// Why it is refused: a format that is not read, a broken header, a side over [`MAX_SIDE`].
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Header>, String> {
        let header = match format::of(bytes) {
            Some(ImageFormat::Jpeg) => jpeg::header(bytes)?,
            Some(ImageFormat::Png) => png::header(bytes)?,
            #[cfg(feature = "formats")]
            Some(ImageFormat::WebP) => webp::header(bytes)?,
            #[cfg(feature = "formats")]
            Some(ImageFormat::Gif) => gif::header(bytes)?,
            #[cfg(feature = "formats")]
            Some(ImageFormat::Bmp) => bmp::header(bytes)?,
            #[cfg(feature = "formats")]
            Some(ImageFormat::Tiff) => tiff::header(bytes)?,
            Some(format) => {
                let rule = "this program was built to read JPEG and PNG alone; built with `--features formats` it reads that too";
                return Err(format!("a {} image: {rule}", format::name(format)));
            }
            None => {
                let start = bytes[..bytes.len().min(8)].escape_ascii();
                return Err(format!("not a {} image (it starts with \"{start}\")", format::READ));
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

    /// Whether a file of `length` bytes is all there, as far as its header tells.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check_length(&self, length: u64) -> Result<(), String> {
        if length < self.whole {
            return Err(format!("truncated: it has {length} of {} bytes", self.whole));
        }
        Ok(())
    }
}
