//! What a picture of each kind of pixels becomes is what Pillow makes of it, in colours and in grey. `tests/pillow/kinds.py` wrote
//! the pictures, and what Pillow makes of them.

use cnn_data::{Preprocess, decode_bytes, decode_image};
use std::fs;
use std::path::{Path, PathBuf};

fn kinds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pillow/kinds")
}

/// The pictures whose names have one of `endings`, sorted, each with its name.
fn pictures(endings: &[&str]) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(kinds()).unwrap().map(|entry| entry.unwrap().path());
    let ends = |path: &PathBuf| path.extension().is_some_and(|ending| endings.iter().any(|&wanted| ending == wanted));
    let mut named: Vec<_> =
        paths.filter(ends).map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect();
    named.sort();
    named
}

/// What Pillow makes of a picture and what it is decoded to, each as height, width, channels and bytes: in colours and in grey.
fn both(name: &str, path: &Path) -> [([usize; 3], Vec<u8>, Vec<u8>); 2] {
    let expected = image::open(kinds().join(format!("rgb/{name}.png"))).unwrap().into_rgb8();
    let (width, height) = expected.dimensions();
    let luma = |pixel: &[u8]| {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
    };
    let grey = expected.as_raw().chunks(3).map(luma).collect();
    [(3, expected.as_raw().clone()), (1, grey)].map(|(channels, expected)| {
        let image = [height as usize, width as usize, channels];
        let got = decode_image(path, image, &Preprocess::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(got.len(), expected.len(), "{name}");
        (image, expected, got)
    })
}

/// The pictures are decoded as by Pillow, byte for byte; those of 16 bits in a BMP, which are not rounded alike, within a step.
#[track_caller]
fn equal(endings: &[&str], count: usize) {
    let pictures = pictures(endings);
    assert_eq!(pictures.len(), count);
    for (name, path) in pictures {
        let allowed = u8::from(["rgb555.bmp", "rgb565.bmp"].contains(&name.as_str()));
        for (image, expected, got) in both(&name, &path) {
            let most = got.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(allowed), "{name}, {image:?}: {got:?} is not {expected:?}");
        }
    }
}

/// Decoders of lossy formats round otherwise, and interpolate chroma otherwise where the picture ends.
#[track_caller]
fn close(endings: &[&str], count: usize) {
    let pictures = pictures(endings);
    assert_eq!(pictures.len(), count);
    for (name, path) in pictures {
        for ([_, width, channels], expected, got) in both(&name, &path) {
            let steps = got.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
            let inside = |i: usize| !name.contains("420") || (i / channels) % width + 1 < width;
            let most = steps.clone().enumerate().filter(|&(i, _)| inside(i)).map(|(_, step)| step).max();
            let mean = steps.map(f64::from).sum::<f64>() / got.len() as f64;
            let allowed = if channels == 3 { 4 } else { 1 };
            assert!(most <= Some(allowed) && mean <= 0.5, "{name}, {channels} channels: {most:?}, mean {mean}");
        }
    }
}

#[test]
fn every_kind_of_png_is_what_pillow_makes_of_it() {
    equal(&["png"], 24);
}

#[test]
fn every_kind_of_jpeg_is_nearly_what_pillow_makes_of_it() {
    close(&["jpg", "jpeg"], 12);
}

#[cfg(feature = "formats")]
#[test]
fn every_kind_of_webp_gif_bmp_and_tiff_is_what_pillow_makes_of_it() {
    equal(&["webp"], 8);
    equal(&["gif"], 7);
    equal(&["bmp"], 10);
    equal(&["tif"], 19);
}

/// A file that is cut short is refused, or what is missing was not the picture's: never grey, black or the rest of another row.
#[test]
fn no_kind_is_filled_where_its_file_is_cut() {
    let endings: &[&str] =
        if cfg!(feature = "formats") { &["png", "jpg", "webp", "gif", "bmp", "tif"] } else { &["png", "jpg"] };
    for (name, path) in pictures(endings) {
        let whole = fs::read(&path).unwrap();
        let decode = |bytes: &[u8]| decode_bytes(&path, bytes, [16, 24, 3], &Preprocess::default());
        let picture = decode(&whole).unwrap();
        for length in 0..whole.len() {
            match decode(&whole[..length]) {
                Ok(cut) => {
                    assert!(cut == picture, "{name} cut to {length} of {} bytes is another picture", whole.len())
                }
                Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
            }
        }
    }
}

/// Whatever a bit is flipped to, there is a picture or an error.
#[test]
fn no_kind_panics_at_flipped_bits() {
    for (name, path) in pictures(&["png", "jpg", "webp", "gif", "bmp", "tif"]) {
        let whole = fs::read(&path).unwrap();
        for bit in (0..8 * whole.len().min(64)).chain((512..8 * whole.len()).step_by(11)) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match decode_bytes(&path, &bytes, [8, 8, 3], &Preprocess::default()) {
                Ok(image) => assert_eq!(image.len(), 8 * 8 * 3, "{name}"),
                Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
            }
        }
    }
}
