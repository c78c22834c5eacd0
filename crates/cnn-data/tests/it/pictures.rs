//! Folders of pictures, and the decoding of one.

use crate::write::{picture, png};
use cnn_data::{Dataset, OpenOptions, Preprocess, Result, decode_bytes, decode_image, open};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn open_with(path: &Path, options: &OpenOptions) -> Result<Dataset> {
    open(path.to_str().unwrap(), Path::new("none"), options)
}

#[track_caller]
fn fails<T>(result: Result<T>, parts: &[&str]) {
    let message = result.map(|_| ()).expect_err("must fail").to_string();
    assert!(parts.iter().all(|part| message.contains(part)) && message.lines().count() == 1, "{message}");
}

#[test]
fn train_and_test_folders_are_taken_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    for (i, file) in ["train/dog/1.png", "train/dog/2.PNG", "train/cat/1.jpeg", "train/cat/2.jpg", "test/cat/9.png"]
        .iter()
        .enumerate()
    {
        picture(&root.path().join(file), 32, 32, i as u8);
    }
    fs::write(root.path().join("train/dog/notes.txt"), "not a picture").unwrap();
    fs::write(root.path().join("train/dog/.hidden.png"), "not a picture").unwrap();
    fails(
        open_with(root.path(), &OpenOptions::default()),
        &["train", "class \"dog\"", "test has no pictures of that class"],
    );
    picture(&root.path().join("test/dog/9.png"), 32, 32, 7);

    let kept = open_with(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(kept.train.labels(), [0, 0, 1, 1]);
    assert_eq!(**kept.train.classes(), ["cat", "dog"]);
    assert!(kept.train.is_resident() && kept.train.name(3).ends_with("2.PNG"), "{}", kept.train.name(3));
    let exact: Vec<u8> = (0..1024u32).flat_map(|i| [(8 * (i % 32)) as u8, (8 * (i / 32)) as u8, 0]).collect();
    assert_eq!(*kept.train.image(2).unwrap(), exact, "a picture of the right size comes through byte for byte");

    let lazy = open_with(root.path(), &OpenOptions::default().resident_limit(0)).unwrap();
    assert!(!lazy.train.is_resident() && lazy.train.resident_bytes().is_none());
    assert_eq!((lazy.mean, lazy.std), (kept.mean, kept.std));
    for i in 0..4 {
        assert_eq!(lazy.train.image(i).unwrap(), kept.train.image(i).unwrap());
    }
}

#[test]
fn a_split_of_our_own_is_stable_when_pictures_are_added() {
    let root = tempfile::tempdir().unwrap();
    let add = |class: &str, numbers: std::ops::Range<usize>| {
        numbers.for_each(|i| picture(&root.path().join(format!("{class}/{i}.png")), 2, 2, i as u8));
    };
    let options = OpenOptions::default().size([2, 2]);
    let tested = |data: &Dataset| (0..data.test.len()).map(|i| data.test.name(i)).collect::<BTreeSet<_>>();
    add("large", 0..150);
    add("pair", 0..2);
    let before = open_with(root.path(), &options).unwrap();
    assert_eq!(before.train.len() + before.test.len(), 152);
    assert_eq!(before.test.class_sizes(), [15, 1], "a pair is on both sides");
    add("large", 150..300);
    let after = open_with(root.path(), &options).unwrap();
    assert_eq!(after.test.class_sizes(), [30, 1]);
    // Twice as many pictures, and where the hashes are cut has hardly moved.
    let trained: BTreeSet<_> = (0..before.train.len()).map(|i| before.train.name(i)).collect();
    let moved = [tested(&before).difference(&tested(&after)).count(), trained.intersection(&tested(&after)).count()];
    assert!(moved.iter().sum::<usize>() <= 5, "{moved:?}");
}

#[test]
fn a_folder_that_cannot_be_used_says_why() {
    let root = tempfile::tempdir().unwrap();
    picture(&root.path().join("cat/1.png"), 4, 4, 0);
    let options = OpenOptions::default();
    fails(open_with(root.path(), &options), &["1 to train on, 0 to test on"]);
    picture(&root.path().join("cat/2.png"), 4, 4, 0);
    open_with(root.path(), &options).unwrap();
    fails(open_with(root.path(), &options.clone().size([0, 4])), &["image size: 0x4"]);
    fails(open_with(root.path(), &options.clone().size([4, usize::MAX])), &["16384"]);
    fs::write(root.path().join("cat/3.jpg"), "hello, I am a text").unwrap();
    let parts = ["cat/3.jpg: not a JPEG", "image (it starts with \"hello, I\")"];
    fails(open_with(root.path(), &options), &parts);
}

#[test]
fn other_sizes_are_cut_around_their_centre_and_resized() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("wide.png");
    // Of the middle, which is of one colour, a part is left that is far from the others.
    let colours = [[255, 0, 0], [10, 200, 30], [0, 0, 255]];
    let colour = |at: u32| image::Rgb(colours[usize::from(at >= 100) + usize::from(at >= 600)]);
    image::RgbImage::from_fn(700, 100, |x, _| colour(x)).save(&path).unwrap();
    for side in [1, 7, 32, 100, 150] {
        let image = decode_image(&path, [side, side, 3], &Preprocess::default()).unwrap();
        assert!(image.len() == side * side * 3 && image.chunks(3).all(|pixel| pixel == colours[1]), "{side}");
    }
    let path = root.path().join("tall.png");
    image::RgbImage::from_fn(100, 700, |_, y| colour(y)).save(&path).unwrap();
    assert!(
        decode_image(&path, [50, 50, 3], &Preprocess::default()).unwrap().chunks(3).all(|pixel| pixel == colours[1])
    );
    assert_eq!(decode_image(&path, [5, 40, 3], &Preprocess::default()).unwrap().len(), 5 * 40 * 3);
    assert_eq!(decode_image(&path, [8, 8, 1], &Preprocess::default()).unwrap().len(), 64);
    // Halving a checkerboard gives its mean: the filter sees every pixel.
    let path = root.path().join("check.png");
    image::GrayImage::from_fn(64, 64, |x, y| image::Luma([if (x + y) % 2 == 0 { 0 } else { 255 }]))
        .save(&path)
        .unwrap();
    let halved = decode_image(&path, [8, 8, 1], &Preprocess::default()).unwrap();
    assert!(halved.iter().all(|&value| (120..=135).contains(&value)), "{halved:?}");
}

#[test]
fn every_kind_of_png_and_jpeg_becomes_the_channels_that_are_asked_for() {
    use image::{DynamicImage, GenericImageView};
    let root = tempfile::tempdir().unwrap();
    let rgb = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(8, 8, image::Rgb([50, 100, 150])));
    for (name, picture) in [
        ("grey.png", DynamicImage::ImageLuma8(rgb.to_luma8())),
        ("alpha.png", DynamicImage::ImageRgba8(rgb.to_rgba8())),
        ("deep.png", DynamicImage::ImageRgb16(rgb.to_rgb16())),
        ("grey.jpg", DynamicImage::ImageLuma8(rgb.to_luma8())),
        ("colour.jpg", rgb.clone()),
    ] {
        let path = root.path().join(name);
        picture.save(&path).unwrap();
        let expected = if name.starts_with("grey") { [picture.get_pixel(0, 0)[0]; 3] } else { [50, 100, 150] };
        let image = decode_image(&path, [8, 8, 3], &Preprocess::default()).unwrap();
        let near = |pixel: &[u8]| pixel.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) <= 2);
        assert!(image.chunks(3).all(near), "{name}: {:?}, expected {expected:?}", &image[..3]);
    }
    let path = root.path().join("alpha.png");
    fails(decode_image(&path, [8, 8, 2], &Preprocess::default()), &["channels: 2: must be 1 (grey) or 3 (RGB)"]);
    fails(decode_image(&root.path().join("none.png"), [8, 8, 3], &Preprocess::default()), &["none.png: "]);
}

#[test]
fn image_bombs_are_refused_before_they_are_decoded() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("bomb.png");
    picture(&path, 8, 8, 0);
    let good = fs::read(&path).unwrap();
    for (side, part) in [(20_000u32, "bomb.png"), (16_000, "bomb.png")] {
        let mut bytes = good.clone();
        bytes[16..20].copy_from_slice(&side.to_be_bytes());
        bytes[20..24].copy_from_slice(&side.to_be_bytes());
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        fs::write(&path, bytes).unwrap();
        fails(decode_image(&path, [8, 8, 3], &Preprocess::default()), &[part]);
    }
}

/// Bytes of little size that ask for much memory are refused by their header, so the test needs none of it.
#[test]
fn what_decoding_takes_counts_the_other_channels_and_a_jpeg_s_coefficients() {
    // 16384 x 16384 of one bit: 256 MiB of grey, which three channels make 1 GiB.
    let row = png([16_384, 16_384], 1, 0, &[vec![0; 2048]], &[]);
    fails(
        decode_bytes(Path::new("grey.png"), &row, [8, 8, 3], &Preprocess::default()),
        &["grey.png: 16384x16384 pixels: decoding takes 1073741824"],
    );
    // A progressive JPEG keeps its coefficients, of two bytes, until it has seen all of it.
    let side = 9_000u16.to_be_bytes();
    let frame = [0, 17, 8, side[0], side[1], side[0], side[1], 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0];
    let jpeg = [&[0xff, 0xd8, 0xff, 0xc2][..], &frame, &[0xff, 0xd9]].concat();
    fails(
        decode_bytes(Path::new("p.jpg"), &jpeg, [8, 8, 3], &Preprocess::default()),
        &["p.jpg: 9000x9000 pixels: decoding takes 729000000"],
    );
}

/// As above, of formats whose headers say more than one thing that takes memory.
#[cfg(feature = "formats")]
#[test]
fn headers_of_more_formats_are_held_against_the_limits() {
    let refused = |file: &str, bytes: &[u8], part: &str| {
        fails(decode_bytes(Path::new(file), bytes, [8, 8, 3], &Preprocess::default()), &[file, part]);
    };
    let word = |word: u16| word.to_le_bytes();
    let long = |long: u32| long.to_le_bytes();
    // Frames and screens, which may each be too large.
    let gif = |screen: u16, frame: u16| {
        let [screen, frame] = [screen, frame].map(|side| [word(side), word(side)].concat());
        [&b"GIF89a"[..], &screen, &[0x80, 0, 0, 0, 0, 0, 9, 9, 9, 0x2c, 0, 0, 0, 0], &frame, &[0, 2, 1, 0x44]].concat()
    };
    refused("a.gif", &gif(20_000, 1), "20000x20000 pixels: sides may have 16384");
    refused("a.gif", &gif(10_000, 1), "10000x10000 pixels: decoded, an image may take");
    refused("a.gif", &gif(8, 65_535), "8x8 pixels: decoding takes 21474181381 bytes");
    refused("a.gif", b"GIF89a\x08\0\x08\0\0\0\0;", "damaged: the GIF has no picture");
    refused("a.gif", b"GIF89a\x08\0\x08\0\0\0\0\x21\xf9\x04\0\0", "truncated: it ends in its header");

    let webp = |kind: &[u8], body: &[u8]| [&b"RIFF\x1a\0\0\0WEBP"[..], kind, &long(10), body, &[0; 4]].concat();
    let side = 13_999u32.to_le_bytes();
    let extended = |flags: u8| [&[flags, 0, 0, 0][..], &side[..3], &side[..3]].concat();
    refused("a.webp", &webp(b"VP8X", &extended(0)), "14000x14000 pixels: decoded, an image may take");
    let small = 5_999u32.to_le_bytes();
    let animated = webp(b"VP8X", &[&[0x12, 0, 0, 0][..], &small[..3], &small[..3]].concat());
    refused("a.webp", &animated, "6000x6000 pixels: decoding takes 720000000 bytes");
    refused("a.webp", &webp(b"VP9 ", &[0; 10]), "damaged: the WebP begins with a chunk \"VP9 \"");
    refused("a.webp", &webp(b"VP8X", &[0; 10])[..32], "truncated: it has 32 of 34 bytes");

    let bmp = |width: u32, height: i32, written: u32| {
        let info = [&long(40)[..], &long(width), &height.to_le_bytes(), &word(1), &word(24)].concat();
        let info = [&info[..], &long(written), &[0; 20]].concat();
        [&b"BM"[..], &long(0), &long(0), &long(54), &info].concat()
    };
    refused("a.bmp", &bmp(16_384, -16_384, 1), "16384x16384 pixels: decoded, an image may take");
    refused("a.bmp", &bmp(8, i32::MIN, 0), "8x2147483648 pixels: sides may have 16384");
    refused("a.bmp", &bmp(8, -8, 0), "truncated: it has 54 of 246 bytes");

    let tiff = |entries: &[(u16, u32)]| {
        let entry = |&(tag, value): &(u16, u32)| [&word(tag)[..], &word(4), &long(1), &long(value)].concat();
        let table = entries.iter().flat_map(entry).collect::<Vec<u8>>();
        [&b"II*\0"[..], &long(8), &word(entries.len() as u16), &table, &long(0)].concat()
    };
    refused("a.tif", &tiff(&[(256, 9000), (257, 9000), (258, 16), (277, 3)]), "9000x9000 pixels: decoded, an image");
    refused(
        "a.tif",
        &tiff(&[(256, 9000), (257, 9000), (258, 8), (277, 3)]),
        "9000x9000 pixels: decoding takes 729000000",
    );
    refused("a.tif", &tiff(&[(256, 8), (258, 8)]), "8x0 pixels: there must be some");
    refused("a.tif", &tiff(&[(256, 8), (257, 8), (258, 32)]), "1 whole numbers of 32 bits a pixel: must be 1 to 5");
    refused("a.tif", &tiff(&[(256, 8), (257, 8), (258, 8), (273, 8), (279, 640)]), "truncated: it has 74 of 648 bytes");
    refused("a.tif", &tiff(&[(256, 8), (257, 8)])[..20], "truncated: it ends in its header");
}

#[test]
fn a_palette_of_broken_length_is_an_error_that_names_the_file() {
    for depth in [1, 2, 4, 8] {
        for length in [0, 1, 4, 767, 771] {
            let bytes = png([1, 1], depth, 3, &[vec![0]], &[(b"PLTE", &vec![7; length])]);
            let rule = format!("p.png: a palette of {length} bytes: must have 3 for each of 1 to 256 colours");
            fails(decode_bytes(Path::new("p.png"), &bytes, [8, 8, 3], &Preprocess::default()), &[&rule]);
        }
    }
}

/// The checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
