//! Small data sets on disk, in every format.

use std::fs;
use std::io::Write;
use std::path::Path;

/// A CIFAR-10 folder: 5 x `records` training and `records` test images; record r of file f has label (f + r) % 10 and
/// pixels r, 100 + f, 200 as red, green, blue.
pub(crate) fn cifar10(folder: &Path, records: usize) {
    fs::create_dir_all(folder).unwrap();
    for (f, name) in cifar10_files().iter().enumerate() {
        fs::write(folder.join(name), cifar10_records(f, records)).unwrap();
    }
}

pub(crate) fn cifar10_files() -> [String; 6] {
    std::array::from_fn(|f| if f == 5 { "test_batch.bin".to_owned() } else { format!("data_batch_{}.bin", f + 1) })
}

pub(crate) fn cifar10_records(f: usize, records: usize) -> Vec<u8> {
    let record = |r: usize| {
        let planes = [r as u8, 100 + f as u8, 200].into_iter().flat_map(|value| [value; 1024]);
        [((f + r) % 10) as u8].into_iter().chain(planes)
    };
    (0..records).flat_map(record).collect()
}

/// A CIFAR-100 folder: records with coarse label 3 and fine label 7 r.
pub(crate) fn cifar100(folder: &Path, records: usize) {
    fs::create_dir_all(folder).unwrap();
    let bytes: Vec<u8> =
        (0..records).flat_map(|r| [3, (7 * r % 100) as u8].into_iter().chain([r as u8; 3072])).collect();
    for name in ["train.bin", "test.bin"] {
        fs::write(folder.join(name), &bytes).unwrap();
    }
}

/// An IDX file of images: image i has `pixels` bytes of value i.
pub(crate) fn idx_images(count: usize, height: usize, width: usize) -> Vec<u8> {
    let header = [0x803, count, height, width].into_iter().flat_map(|word| (word as u32).to_be_bytes());
    header.chain((0..count).flat_map(|i| vec![i as u8; height * width])).collect()
}

/// An IDX file of labels: i % 10.
pub(crate) fn idx_labels(count: usize) -> Vec<u8> {
    [0x801, count]
        .into_iter()
        .flat_map(|word| (word as u32).to_be_bytes())
        .chain((0..count).map(|i| (i % 10) as u8))
        .collect()
}

/// An MNIST-format folder of 4 x 5 images: `count` to train on, half to test on.
pub(crate) fn mnist(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for (prefix, count) in [("train", count), ("t10k", count / 2)] {
        fs::write(folder.join(format!("{prefix}-images-idx3-ubyte")), idx_images(count, 4, 5)).unwrap();
        fs::write(folder.join(format!("{prefix}-labels-idx1-ubyte")), idx_labels(count)).unwrap();
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A `.tar.gz` of the files in `folder`, under the folder's name.
pub(crate) fn archive(folder: &Path, to: &Path) {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(folder.file_name().unwrap(), folder).unwrap();
    fs::write(to, gzip(&builder.into_inner().unwrap())).unwrap();
}

/// A picture whose pixel (x, y) is (8 x, 8 y, `blue`).
pub(crate) fn picture(path: &Path, width: u32, height: u32, blue: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| image::Rgb([(8 * x) as u8, (8 * y) as u8, blue]);
    image::RgbImage::from_fn(width, height, pixel).save(path).unwrap();
}

/// A PNG of raw `rows` (without their filter bytes), with `extra` chunks before the pixels.
pub(crate) fn png(side: [u32; 2], depth: u8, colour: u8, rows: &[Vec<u8>], extra: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let [width, height] = side;
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat();
    let raw: Vec<u8> = rows.iter().flat_map(|row| [&[0], &row[..]].concat()).collect();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&raw).unwrap();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(data);
        png.extend([&(data.len() as u32).to_be_bytes()[..], kind, data, &sum.sum().to_be_bytes()].concat());
    };
    chunk(b"IHDR", &header);
    extra.iter().for_each(|(kind, data)| chunk(kind, data));
    chunk(b"IDAT", &zlib.finish().unwrap());
    chunk(b"IEND", &[]);
    png
}
