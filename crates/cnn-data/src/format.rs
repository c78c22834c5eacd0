//! Which format a picture is in, told by its content, and which formats this build reads.

use image::ImageFormat;

/// The formats that are read, as messages have them.
#[cfg(not(feature = "formats"))]
pub(crate) const READ: &str = "JPEG or PNG";
/// The formats that are read, as messages have them.
#[cfg(feature = "formats")]
pub(crate) const READ: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// Endings of the names of files that are decoded.
pub(crate) const PICTURES: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];
/// Endings of those that are decoded by a program that is built to, and by any other if they hold what it reads.
pub(crate) const MORE_PICTURES: [&str; 5] = ["webp", "gif", "bmp", "tif", "tiff"];

/// The format of a file that begins with `bytes`, if it is one that this crate reads when it is built with all its features.
pub(crate) fn of(bytes: &[u8]) -> Option<ImageFormat> {
    match image::guess_format(bytes).ok()? {
        // Two letters are little to go by; behind them is the length of a header, which has few values.
        ImageFormat::Bmp
            if !matches!(bytes.get(14..18), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]) | None) =>
        {
            None
        }
        format @ (ImageFormat::Jpeg
        | ImageFormat::Png
        | ImageFormat::WebP
        | ImageFormat::Gif
        | ImageFormat::Bmp
        | ImageFormat::Tiff) => Some(format),
        _ => None,
    }
}

/// Whether this build reads `format`, one of those of [`of`].
pub(crate) fn is_read(format: ImageFormat) -> bool {
    cfg!(feature = "formats") || matches!(format, ImageFormat::Jpeg | ImageFormat::Png)
}

/// What a format of [`of`] is called.
pub(crate) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        _ => "TIFF",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_bmp() {
        let start = |size: u8| [b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0", &[size, 0, 0, 0][..]].concat();
        assert_eq!(of(&start(40)), Some(ImageFormat::Bmp));
        assert_eq!(of(&start(41)), None);
        assert_eq!(of(b"BMW and other makes of cars"), None);
        assert_eq!(of(b"RIFF\0\0\0\0WEBPVP8 "), Some(ImageFormat::WebP));
        assert_eq!(of(b"RIFF\0\0\0\0WAVEfmt "), None);
    }
}
