//! What pictures become is what Pillow makes of them, to a step of a byte. `tests/pillow/pillow.py` wrote down what that is.

use std::fs;
use std::path::{Path, PathBuf};

use cnn_core::image::half;
use cnn_data::{Filter, Fit, Preprocess, decode_image};
use image::{Rgb, RgbImage};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pillow")
}

/// The picture that the script makes too.
pub(crate) fn picture([height, width]: [usize; 2]) -> RgbImage {
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb([3 * x + 5 * y, x * y / 3, (x * x + 7 * y * y) / 40].map(|value| (value % 256) as u8))
    })
}

/// The largest difference of bytes, which are as many.
fn difference(got: &[u8], expected: &[u8]) -> u8 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// The numbers of a name such as `90x120`, or of one number twice.
fn sides(text: &str) -> [usize; 2] {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    [height, width].map(|side| side.parse().unwrap())
}

#[test]
fn resized_and_cut_as_by_torchvision() {
    let root = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let words: Vec<&str> = name.split('_').collect();
        let (fit, size, resize, cut, filter) = match words[..] {
            ["crop", size, side, cut, filter] => (Fit::Crop, size, side, cut, filter),
            ["squash", size, side, filter] => (Fit::Squash, size, side, side, filter),
            _ => continue,
        };
        let filter = if filter == "bilinear" { Filter::Bilinear } else { Filter::Bicubic };
        let ([height, width], [rows, columns]) = (sides(cut), sides(resize));
        let picture_path = root.path().join(format!("{size}.png"));
        picture(sides(size)).save(&picture_path).unwrap();
        let preprocess = Preprocess { resize: Some([rows, columns]), fit, filter };
        let stored = decode_image(&picture_path, [height, width, 3], &preprocess).unwrap();
        let [top, left] = [half(rows - height), half(columns - width)];
        let row = |y: usize| &stored[((top + y) * columns + left) * 3..][..width * 3];
        let got: Vec<u8> = (0..height).flat_map(row).copied().collect();
        let expected = image::open(&path).unwrap().into_rgb8();
        assert!(difference(&got, expected.as_raw()) <= 1, "{name}: {}", difference(&got, expected.as_raw()));
        seen += 1;
    }
    assert_eq!(seen, 12);
}
