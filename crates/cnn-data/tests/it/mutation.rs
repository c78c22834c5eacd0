//! Files cut short and with bits flipped: every reader answers with a set or an error, and never panics.
//!
//! The faults are the same in every run. What a reader cannot notice (a changed pixel) is a set; what it must notice
//! (a file that ends early) is an error.

use crate::write;
use cnn_core::rng::{Philox, Purpose};
use cnn_data::{OpenOptions, Pool, Preprocess, decode_bytes, open};
use std::fs;
use std::path::Path;

/// Opens `folder` with `file` cut to each of `lengths`, which must fail, and with bits flipped in its first `header`
/// bytes and elsewhere.
fn mutate(folder: &Path, file: &Path, lengths: impl Iterator<Item = usize>, header: usize) {
    let good = fs::read(file).unwrap();
    let options = OpenOptions::default().pool(Pool::new(1).unwrap());
    let try_open = |bytes: &[u8]| {
        fs::write(file, bytes).unwrap();
        open(folder.to_str().unwrap(), folder, &options)
    };
    for length in lengths.filter(|&length| length < good.len()) {
        assert!(try_open(&good[..length]).is_err(), "{} cut to {length} bytes", file.display());
    }
    let mut random = Philox::new(1, Purpose::Test, 0, 0).stream();
    let anywhere: Vec<usize> = (0..64).map(|_| random.below(8 * good.len() as u32) as usize).collect();
    for bit in (0..header * 8).chain(anywhere) {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Err(error) = try_open(&bytes) {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
    }
    fs::write(file, &good).unwrap();
}

#[test]
fn cifar() {
    let root = tempfile::tempdir().unwrap();
    write::cifar10(root.path(), 1);
    mutate(root.path(), &root.path().join("data_batch_2.bin"), (0..3073).step_by(97), 1);
    let root = tempfile::tempdir().unwrap();
    write::cifar100(root.path(), 2);
    mutate(root.path(), &root.path().join("train.bin"), (1..3074).chain(3075..6148).step_by(97), 2);
}

#[test]
fn cifar_archive() {
    let root = tempfile::tempdir().unwrap();
    let (folder, archive) = (root.path().join("cifar-10-batches-bin"), root.path().join("set.tar.gz"));
    write::cifar10(&folder, 1);
    write::archive(&folder, &archive);
    let length = fs::metadata(&archive).unwrap().len() as usize;
    mutate(&archive, &archive, (0..length).step_by(7), 12);
}

#[test]
fn idx() {
    let root = tempfile::tempdir().unwrap();
    write::mnist(root.path(), 12);
    for (file, header) in [("train-images-idx3-ubyte", 16), ("t10k-labels-idx1-ubyte", 8)] {
        let path = root.path().join(file);
        mutate(root.path(), &path, (0..256).step_by(5), header);
        let zipped = path.with_extension("gz");
        fs::write(&zipped, write::gzip(&fs::read(&path).unwrap())).unwrap();
        fs::remove_file(path).unwrap();
        mutate(root.path(), &zipped, (0..256).step_by(5), 18);
    }
}

#[test]
fn pictures() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.png", "a.jpg"] {
        let path = root.path().join(name);
        write::picture(&path, 24, 20, 9);
        let good = fs::read(&path).unwrap();
        let decode = |bytes: &[u8]| decode_bytes(&path, bytes, [8, 8, 3], &Preprocess::default());
        let whole = decode(&good).unwrap();
        for length in 0..good.len() {
            if let Ok(image) = decode(&good[..length]) {
                assert!(image == whole, "{name} cut to {length} of {} bytes is another picture", good.len());
            }
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match decode(&bytes) {
                Ok(image) => assert_eq!(image.len(), 8 * 8 * 3),
                Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
            }
        }
    }
}
