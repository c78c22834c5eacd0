//! What a picture's bytes become: the values of Pillow, worked out there once.

use crate::write::png;
use cnn_data::{Preprocess, decode_bytes};
use std::path::Path;

/// `bytes` decoded to 8 x 8.
#[track_caller]
fn decode(bytes: &[u8], channels: usize) -> Vec<u8> {
    decode_bytes(Path::new("picture"), bytes, [8, 8, channels], &Preprocess::default()).unwrap()
}

fn solid(colour: [u8; 3]) -> Vec<u8> {
    png([8, 8], 8, 2, &vec![colour.repeat(8); 8], &[])
}

#[test]
fn grey_of_colours_is_bt_601() {
    // Image.new("RGB", (8, 8), colour).convert("L")
    for (colour, grey) in [
        ([255, 0, 0], 76),
        ([0, 255, 0], 150),
        ([0, 0, 255], 29),
        ([255, 0, 255], 105),
        ([255, 255, 255], 255),
        ([1, 1, 1], 1),
        ([50, 100, 150], 91),
    ] {
        assert_eq!(decode(&solid(colour), 1), [grey; 64], "{colour:?}");
    }
}

#[test]
fn sixteen_bits_become_eight_and_every_kind_of_png_its_channels() {
    let near = |found: &[u8], expected: [u8; 8]| found.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) <= 1);
    let deep: [u16; 8] = [0, 127, 128, 257, 32768, 40000, 65280, 65535];
    let expected = [0, 0, 0, 1, 128, 156, 254, 255];
    let grey: Vec<u8> = deep.iter().flat_map(|value| value.to_be_bytes()).collect();
    assert!(near(&decode(&png([8, 8], 16, 0, &vec![grey; 8], &[]), 1)[..8], expected));
    let colour: Vec<u8> = deep.iter().flat_map(|&value| [value, value, 0].map(u16::to_be_bytes)).flatten().collect();
    let colours = decode(&png([8, 8], 16, 2, &vec![colour; 8], &[]), 3);
    for channel in [0, 1] {
        let row: Vec<u8> = colours[..24].iter().skip(channel).step_by(3).copied().collect();
        assert!(near(&row, expected), "{row:?}");
    }

    let palette: &[(&[u8; 4], &[u8])] = &[(b"PLTE", &[255, 0, 0, 0, 255, 0, 0, 0, 255]), (b"tRNS", &[0, 128])];
    let [red, green, blue] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];
    let first: Vec<u8> = [red, green, blue, red, green, blue, red, green].concat();
    let rows: Vec<Vec<u8>> = (0..8).map(|y| (0..8).map(|x| (x + y) % 3).collect()).collect();
    assert_eq!(decode(&png([8, 8], 8, 3, &rows, palette), 3)[..24], first);
    let packed = vec![vec![0b0001_1000, 0b0110_0001]; 8];
    let repeated: Vec<u8> = [red, green, blue, red, green, blue, red, green].concat();
    assert_eq!(decode(&png([8, 8], 2, 3, &packed, palette), 3)[..24], repeated);

    let one_bit = png([8, 8], 1, 0, &vec![vec![0b1010_1010]; 8], &[]);
    assert_eq!(decode(&one_bit, 1)[..8], [255, 0, 255, 0, 255, 0, 255, 0]);
    let grey_alpha = png([8, 8], 8, 4, &vec![[200, 0].repeat(8); 8], &[]);
    assert_eq!((decode(&grey_alpha, 1), decode(&grey_alpha, 3)), (vec![200; 64], vec![200; 192]));
    let keyed = png([8, 8], 8, 2, &vec![[10, 20, 30].repeat(8); 8], &[(b"tRNS", &[0, 10, 0, 20, 0, 30])]);
    assert_eq!(decode(&keyed, 3)[..3], [10, 20, 30]);
    // Transparency is dropped: what is under it is seen.
    let hidden = png([8, 8], 8, 6, &vec![[255, 0, 255, 0].repeat(8); 8], &[]);
    assert_eq!(decode(&hidden, 3)[..3], [255, 0, 255]);
}

/// An EXIF block that says `orientation`, as a value of `kind` (3 SHORT, 4 LONG).
fn exif(orientation: u16, kind: u16, little: bool) -> Vec<u8> {
    let word = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
    let long = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
    let value = if kind == 3 { [word(orientation), word(0)].concat() } else { long(orientation.into()).to_vec() };
    let magic = if little { b"II*\0" } else { b"MM\0*" };
    [&magic[..], &long(8), &word(1), &word(0x112), &word(kind), &long(1), &value, &long(0)].concat()
}

#[test]
fn every_orientation_is_applied_however_it_is_written() {
    // Four quarters; the corners after ImageOps.exif_transpose.
    let rows: Vec<Vec<u8>> = (0..8).map(|y| [[200, 100][y / 4], [150, 50][y / 4]].map(|v| [v; 4]).concat()).collect();
    let corners = |exif: &[u8]| {
        let image = decode(&png([8, 8], 8, 0, &rows, &[(b"eXIf", exif)]), 1);
        [image[9], image[14], image[49], image[54]]
    };
    for (orientation, expected) in [
        (0, [200, 150, 100, 50]),
        (1, [200, 150, 100, 50]),
        (2, [150, 200, 50, 100]),
        (3, [50, 100, 150, 200]),
        (4, [100, 50, 200, 150]),
        (5, [200, 100, 150, 50]),
        (6, [100, 200, 50, 150]),
        (7, [50, 150, 100, 200]),
        (8, [150, 50, 200, 100]),
        (9, [200, 150, 100, 50]),
        (262, [200, 150, 100, 50]),
    ] {
        for (kind, little) in [(3, true), (3, false), (4, true), (4, false)] {
            assert_eq!(corners(&exif(orientation, kind, little)), expected, "{orientation}, kind {kind}, {little}");
        }
    }
    let whole = exif(6, 3, false);
    for broken in (0..20).map(|length| &whole[..length]).chain([&b"MM\0*\xff\xff\xff\xff"[..]]) {
        assert_eq!(corners(broken), [200, 150, 100, 50], "{broken:?}");
    }
}
