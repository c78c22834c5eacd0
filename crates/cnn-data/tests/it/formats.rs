//! CIFAR and MNIST-format files: what is read, and what each fault is called.

use crate::write;
use cnn_data::{Dataset, OpenOptions, Result, open};
use std::fs;
use std::path::Path;

fn open_path(path: &Path) -> Result<Dataset> {
    open(path.to_str().unwrap(), Path::new("none"), &OpenOptions::default())
}

/// Opening `path` fails with a message of one line that has every one of `parts`.
#[track_caller]
fn fails(path: &Path, parts: &[&str]) {
    let message = open_path(path).expect_err("must fail").to_string();
    assert!(parts.iter().all(|part| message.contains(part)) && message.lines().count() == 1, "{message}");
}

#[test]
fn cifar10_is_read_in_order_with_the_channel_innermost() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("cifar-10-batches-bin");
    write::cifar10(&folder, 3);
    let data = open("cifar10", root.path(), &OpenOptions::default()).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.name.as_str()), (15, 3, "cifar10"));
    assert_eq!(data.train.labels(), [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6]);
    let image = data.train.image(7).unwrap(); // file 2, record 1
    assert!(image.chunks(3).all(|pixel| pixel == [1, 102, 200]));
    assert!(data.train.name(7).ends_with("data_batch_3.bin: record 1"), "{}", data.train.name(7));
    assert_eq!(data.train.classes()[3], "cat");
    assert!((data.mean[2] - 200.0 / 255.0).abs() < 1e-6 && (data.mean[0] - 1.0 / 255.0).abs() < 1e-6);
    assert!((data.std[1] - 2.0f32.sqrt() / 255.0).abs() < 1e-6, "{:?}", data.std);
    assert_eq!(data.std[2], 1.0 / 255.0, "a channel of one value can still be divided by");

    fs::write(folder.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    assert_eq!(open_path(&folder).unwrap().train.classes()[3], "d");
}

#[test]
fn archives_are_the_same_as_their_folders() {
    let root = tempfile::tempdir().unwrap();
    for (name, archive, folder) in [
        ("cifar10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
        ("cifar100", "cifar-100-binary.tar.gz", "cifar-100-binary"),
    ] {
        let folder = root.path().join(folder);
        if name == "cifar10" {
            write::cifar10(&folder, 2)
        } else {
            write::cifar100(&folder, 4)
        }
        let from_folder = open(name, root.path(), &OpenOptions::default()).unwrap();
        write::archive(&folder, &root.path().join(archive));
        fs::remove_dir_all(&folder).unwrap();
        let from_archive = open(name, root.path(), &OpenOptions::default()).unwrap();
        for (a, b) in [(&from_folder.train, &from_archive.train), (&from_folder.test, &from_archive.test)] {
            assert_eq!((a.labels(), a.classes(), a.resident_bytes()), (b.labels(), b.classes(), b.resident_bytes()));
        }
        assert!(from_archive.test.name(0).contains(".tar.gz:cifar-"), "{}", from_archive.test.name(0));
        assert_eq!(open_path(&root.path().join(archive)).unwrap().name, name, "told by content");
    }
    fs::write(root.path().join("other.tar.gz"), write::gzip(&[0; 1024])).unwrap();
    fails(&root.path().join("other.tar.gz"), &["no cifar-10-batches-bin/data_batch_1.bin", "not a CIFAR archive"]);
    for (name, bytes) in [("photo.jpg", &b"\xff\xd8\xff\xe0"[..]), ("labels.txt", b"file,label\n"), ("empty", b"")] {
        fs::write(root.path().join(name), bytes).unwrap();
        fails(&root.path().join(name), &[name, "a file that holds no data set: must be a table of pictures (.csv, "]);
    }
}

#[test]
fn cifar100_classes_are_the_fine_labels() {
    let root = tempfile::tempdir().unwrap();
    write::cifar100(root.path(), 5);
    let data = open_path(root.path()).unwrap();
    assert_eq!(data.train.labels(), [0, 7, 14, 21, 28]);
    assert_eq!((data.train.classes().len(), data.train.classes()[99].as_str()), (100, "worm"));
    let file = root.path().join("test.bin");
    let mut bytes = fs::read(&file).unwrap();
    bytes[3074] = 20;
    fs::write(&file, &bytes).unwrap();
    fails(root.path(), &["test.bin: record 1: coarse label 20: must be below 20"]);
}

#[test]
fn faults_of_cifar_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("data_batch_3.bin");
    write::cifar10(root.path(), 10);
    let good = fs::read(&file).unwrap();

    fs::write(&file, &good[..30_720]).unwrap();
    let rule = "must be a multiple of 3073 (1 label byte + 3072 pixels); the file is truncated";
    fails(root.path(), &[&format!("data_batch_3.bin: 30720 bytes: {rule}")]);
    fs::write(&file, []).unwrap();
    fails(root.path(), &["data_batch_3.bin: 0 bytes"]);
    let mut bad = good.clone();
    bad[4 * 3073] = 10;
    fs::write(&file, bad).unwrap();
    fails(root.path(), &["data_batch_3.bin: record 4: label 10: must be below 10"]);
    fs::remove_file(&file).unwrap();
    fails(root.path(), &["data_batch_3.bin: missing: cifar10 is made of data_batch_1.bin", "test_batch.bin"]);
    fs::write(&file, good).unwrap();
    fs::write(root.path().join("batches.meta.txt"), "cat\ndog\n").unwrap();
    fails(root.path(), &["batches.meta.txt: 2 class names: must be 10"]);
    fs::write(root.path().join("batches.meta.txt"), "cat\ncat\n").unwrap();
    fails(root.path(), &["batches.meta.txt: \"cat\": a class name must be there once"]);
}

#[test]
fn mnist_is_read_raw_or_gzipped() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("mnist");
    write::mnist(&folder, 12);
    let raw = open("mnist", root.path(), &OpenOptions::default()).unwrap();
    assert_eq!((raw.train.len(), raw.test.len()), (12, 6));
    assert_eq!(raw.train.size(), [4, 5, 1]);
    assert_eq!((raw.train.label(11), raw.train.image(11).unwrap().into_owned()), (1, vec![11; 20]));
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs::write(path.with_extension("gz"), write::gzip(&fs::read(&path).unwrap())).unwrap();
        fs::remove_file(path).unwrap();
    }
    let zipped = open("mnist", root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(zipped.train.resident_bytes(), raw.train.resident_bytes());
    let names: Vec<String> = (0..26).map(|i| char::from(b'a' + i).to_string()).collect();
    fs::write(folder.join("classes.txt"), names.join("\n")).unwrap();
    assert_eq!(open_path(&folder).unwrap().test.classes().len(), 26);
}

#[test]
fn faults_of_idx_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    let (images, labels) = (root.path().join("train-images-idx3-ubyte"), root.path().join("train-labels-idx1-ubyte"));
    let with = |path: &Path, bytes: &[u8], parts: &[&str]| {
        write::mnist(root.path(), 12);
        fs::write(path, bytes).unwrap();
        fails(root.path(), parts);
    };
    let good = write::idx_images(12, 4, 5);
    with(&images, &write::idx_labels(12), &["train-images-idx3-ubyte: magic number 0x00000801: must be 0x00000803"]);
    with(&images, &good[..200], &["184 bytes after the header: shape [12, 4, 5] needs 240"]);
    with(&images, &[&good[..], &[0]].concat(), &["more bytes after the header"]);
    with(&images, &good[..9], &["train-images-idx3-ubyte: "]);
    with(&images, &write::idx_images(11, 4, 5), &["12 labels", "has 11 images"]);
    let mut huge = good.clone();
    huge[4..16].fill(0xff);
    with(&images, &huge, &["shape [4294967295, 4294967295, 4294967295]: must have between 1 and 1073741824 bytes"]);
    huge[4..16].fill(0);
    with(&images, &huge, &["shape [0, 0, 0]"]);
    let mut bad = write::idx_labels(12);
    bad[8 + 5] = 10;
    with(&labels, &bad, &["train-labels-idx1-ubyte: record 5: label 10: must be below 10"]);
    with(&root.path().join("t10k-images-idx3-ubyte"), &write::idx_images(6, 5, 4), &["test images of [5, 4, 1]"]);
}

#[test]
fn what_is_not_there_says_how_to_get_it() {
    let root = tempfile::tempdir().unwrap();
    for (name, parts) in [
        ("cifar10", ["data_batch_1.bin", "cifar-10-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/"]),
        ("cifar100", ["train.bin", "cifar-100-binary.tar.gz", "https://www.cs.toronto.edu/~kriz/"]),
        ("mnist", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz", "https://storage.googleapis.com/"]),
        ("no/such/place", ["not found: looked for no/such/place", "shapes, cifar10, cifar100, mnist", "path"]),
    ] {
        let error = open(name, root.path(), &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, cnn_data::Error::Missing { .. }), "{error}");
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
    fails(root.path(), &["no data set: must have CIFAR or MNIST files, or train/CLASS/*.jpg"]);
}

#[test]
fn gzip_files_of_several_members_are_read_to_the_end() {
    let root = tempfile::tempdir().unwrap();
    let (plain, zipped) = (root.path().join("plain"), root.path().join("zipped"));
    let halves = |bytes: &[u8]| {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        [write::gzip(first), write::gzip(second)].concat()
    };
    write::mnist(&plain, 12);
    fs::create_dir(&zipped).unwrap();
    for entry in fs::read_dir(&plain).unwrap() {
        let path = entry.unwrap().path();
        let file = format!("{}.gz", path.file_name().unwrap().to_str().unwrap());
        fs::write(zipped.join(file), halves(&fs::read(&path).unwrap())).unwrap();
    }
    let [plain, zipped] = [plain, zipped].map(|path| open_path(&path).unwrap());
    assert_eq!((zipped.train.len(), zipped.test.len()), (12, 6));
    assert_eq!(zipped.train.resident_bytes(), plain.train.resident_bytes());
    assert_eq!(zipped.test.labels(), plain.test.labels());

    let folder = root.path().join("cifar-10-batches-bin");
    write::cifar10(&folder, 10);
    let archive = root.path().join("cifar.tar.gz");
    write::archive(&folder, &archive);
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&fs::read(&archive).unwrap()[..]), &mut tar).unwrap();
    fs::write(&archive, halves(&tar)).unwrap();
    let data = open_path(&archive).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (50, 10));
}
