//! What pictures in TIFF and GIF need that their decoders do not do.

use crate::header::gif::{Frame, first_frame};
use crate::header::tiff::Indexed;
use crate::{exif, format};
use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, RgbaImage};

/// A picture as it is stored, and how it is turned.
type Stored = (DynamicImage, Option<Orientation>);

/// What `decode` makes of a file, with the colours of a TIFF's palette, its orientation, and a GIF's screen around its first frame.
pub(crate) fn decoded(bytes: &[u8], decode: fn(&[u8]) -> Result<Stored, String>) -> Result<Stored, String> {
    match format::of(bytes) {
        Some(ImageFormat::Tiff) => {
            let picture = match Indexed::of(bytes) {
                Some(indexed) => coloured(decode(&indexed.grey)?.0, &indexed),
                None => decode(bytes)?.0,
            };
            // The file is what an EXIF block is.
            Ok((picture, exif::orientation(bytes)))
        }
        Some(ImageFormat::Gif) => {
            let mut picture = decode(bytes)?.0.into_rgba8();
            if let Some(frame) = first_frame(bytes)? {
                surround(&mut picture, &frame);
            }
            Ok((picture.into(), None))
        }
        _ => decode(bytes),
    }
}

fn coloured(indices: DynamicImage, palette: &Indexed) -> DynamicImage {
    let indices = indices.into_luma8();
    let (width, height) = indices.dimensions();
    let colour = |x, y| Rgb(palette.colour(indices.get_pixel(x, y)[0]));
    RgbImage::from_fn(width, height, colour).into()
}

/// Gives the screen around the frame its colour: the decoder leaves it black.
fn surround(screen: &mut RgbaImage, frame: &Frame) {
    let [red, green, blue] = frame.around;
    let [right, bottom] = [frame.left + frame.width, frame.top + frame.height];
    for (x, y, pixel) in screen.enumerate_pixels_mut() {
        if !(frame.left..right).contains(&x) || !(frame.top..bottom).contains(&y) {
            pixel.0 = [red, green, blue, 0];
        }
    }
}
