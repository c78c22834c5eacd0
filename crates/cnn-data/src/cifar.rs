//! CIFAR-10 and CIFAR-100 in their binary layout: a folder, or the official archive read as a stream.
//!
//! A record is one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100, where the fine label is the class),
//! then 3072 pixel bytes as planes: all of red, green, blue, each row by row. Here the channel is innermost.

use crate::archive::{self, Members};
use crate::image_set::{ImageSet, class_names};
use crate::images::Origin;
use crate::listing::Listing;
use crate::options::OpenOptions;
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// What a compressed file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const CHANNELS: usize = 3;

/// What differs between the two sets.
struct Layout {
    name: &'static str,
    /// The folder that the official archive unpacks to.
    folder: &'static str,
    /// Each label byte's name and how many values it may have; the last one is the class.
    labels: &'static [(&'static str, u8)],
    train: &'static [&'static str],
    test: &'static str,
    /// The file that names the classes, and their names without it.
    names: &'static str,
    classes: &'static [&'static str],
    /// Records that a file of the official archive may have.
    most_records: usize,
}

static CIFAR10: Layout = Layout {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    labels: &[("label", 10)],
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    names: "batches.meta.txt",
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    most_records: 10_000,
};

static CIFAR100: Layout = Layout {
    name: "cifar100",
    folder: "cifar-100-binary",
    labels: &[("coarse label", 20), ("fine label", 100)],
    train: &["train.bin"],
    test: "test.bin",
    names: "fine_label_names.txt",
    classes: &CIFAR100_CLASSES,
    most_records: 50_000,
};

#[rustfmt::skip]
static CIFAR100_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
];

/// The set whose files are in `path`.
pub(crate) fn folder(path: &Path, _name: &str, _options: &OpenOptions) -> Result<Option<Listing>> {
    let has = |file: &str| path.join(file).is_file();
    let layout = if has(CIFAR10.train[0]) {
        &CIFAR10
    } else if has(CIFAR100.train[0]) && has(CIFAR100.test) {
        &CIFAR100
    } else {
        return Ok(None);
    };
    let load = |file: &str| {
        let path = path.join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io(path, source)),
        }
    };
    layout.read("folder of CIFAR files", load, |file| path.join(file).display().to_string()).map(Some)
}

/// The set in the archive at `path`, the official one or one of the same layout; every compressed file is taken for one.
pub(crate) fn archive(path: &Path, _name: &str, _options: &OpenOptions) -> Result<Option<Listing>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut start = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(GZIP.len() as u64).read_to_end(&mut start));
    opened.map_err(|error| Error::io(path, error))?;
    if start != GZIP {
        let rule =
            "must be a table of pictures (.csv, .tsv, .jsonl, .ndjson) or CIFAR's .tar.gz; other sets are folders";
        return Err(Error::invalid(path.display(), "a file that holds no data set", rule));
    }
    from_members(path, archive::members(path, &wanted())?).map(Some)
}

/// The members of both sets' archives, with the most bytes that each may have.
pub(crate) fn wanted() -> Vec<(String, u64)> {
    [&CIFAR10, &CIFAR100].into_iter().flat_map(Layout::members).collect()
}

/// The set that the members of the archive at `path` are.
pub(crate) fn from_members(path: &Path, mut found: Members) -> Result<Listing> {
    let layout = [&CIFAR10, &CIFAR100].into_iter().find(|layout| found.contains_key(&layout.member(layout.train[0])));
    let Some(layout) = layout else {
        let looked_for = [&CIFAR10, &CIFAR100].map(|layout| layout.member(layout.train[0])).join(" and no ");
        let rule = "not a CIFAR archive in the binary layout";
        return Err(Error::invalid(path.display(), format!("no {looked_for}"), rule));
    };
    let load = |file: &str| Ok(found.remove(&layout.member(file)));
    layout.read("CIFAR archive", load, |file| archive::member(path, &layout.member(file)))
}

/// A file of records of the smaller set or, if `fine`, the larger one.
pub(crate) fn records(bytes: &[u8], fine: bool) -> Result<usize> {
    let mut records = Records::default();
    (if fine { &CIFAR100 } else { &CIFAR10 }).append("bytes", bytes, &mut records)?;
    Ok(records.labels.len())
}

impl Layout {
    fn member(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    /// The archive's members with the most bytes that each may have.
    fn members(&self) -> Vec<(String, u64)> {
        let records = self.train.iter().chain([&self.test]).map(|file| (self.member(file), self.most_bytes()));
        records.chain([(self.member(self.names), 1 << 16)]).collect()
    }

    fn most_bytes(&self) -> u64 {
        (self.most_records * self.record()) as u64
    }

    fn record(&self) -> usize {
        self.labels.len() + CHANNELS * PIXELS
    }

    /// The set, from whatever `load`s its files and says what they are `called`.
    fn read(
        &self,
        format: &str,
        mut load: impl FnMut(&str) -> Result<Option<Vec<u8>>>,
        called: impl Fn(&str) -> String,
    ) -> Result<Listing> {
        let classes = match load(self.names)? {
            Some(text) => self.check_count(&called(self.names), class_names(&called(self.names), &text)?)?,
            None => self.classes.iter().map(|&name| name.to_owned()).collect(),
        };
        let mut split = |files: &[&str]| {
            let mut records = Records::default();
            for file in files {
                let Some(bytes) = load(file)? else {
                    let all = [self.train, &[self.test]].concat().join(", ");
                    return Err(Error::invalid(called(file), "missing", format!("{} is made of {all}", self.name)));
                };
                records.parts.push((called(file), records.labels.len()));
                self.append(&called(file), &bytes, &mut records)?;
            }
            let (origin, size) = (Origin::Records(records.parts), [SIDE, SIDE, CHANNELS]);
            ImageSet::stored_as(origin, size, &classes, records.labels, records.images)
        };
        let (train, test) = (split(self.train)?, split(&[self.test])?);
        Ok(Listing::new(self.name, format, train, test))
    }

    fn check_count(&self, file: &str, names: Vec<String>) -> Result<Vec<String>> {
        if names.len() != self.classes.len() {
            let (value, rule) = (format!("{} class names", names.len()), format!("must be {}", self.classes.len()));
            return Err(Error::invalid(file, value, rule));
        }
        Ok(names)
    }

    fn append(&self, file: &str, bytes: &[u8], out: &mut Records) -> Result<()> {
        let labels = self.labels.len();
        if bytes.is_empty() || !bytes.len().is_multiple_of(self.record()) {
            let plural = if labels == 1 { "byte" } else { "bytes" };
            let rule = format!(
                "must be a multiple of {} ({labels} label {plural} + 3072 pixels); the file is truncated",
                self.record()
            );
            return Err(Error::invalid(file, format!("{} bytes", bytes.len()), rule));
        }
        let first = out.images.len();
        out.images.resize(first + bytes.len() / self.record() * CHANNELS * PIXELS, 0);
        let images = out.images[first..].chunks_exact_mut(CHANNELS * PIXELS);
        for (record, (bytes, image)) in bytes.chunks_exact(self.record()).zip(images).enumerate() {
            let (label, planes) = bytes.split_at(labels);
            for ((name, count), &value) in self.labels.iter().zip(label) {
                if value >= *count {
                    let (value, rule) = (format!("{name} {value}"), format!("must be below {count}"));
                    return Err(Error::Record { file: file.to_owned(), record, value, rule });
                }
            }
            out.labels.push(u32::from(label[labels - 1]));
            let (red, rest) = planes.split_at(PIXELS);
            let (green, blue) = rest.split_at(PIXELS);
            for (((pixel, &r), &g), &b) in image.chunks_exact_mut(CHANNELS).zip(red).zip(green).zip(blue) {
                pixel.copy_from_slice(&[r, g, b]);
            }
        }
        Ok(())
    }
}

/// One split, as it is read.
#[derive(Default)]
struct Records {
    labels: Vec<u32>,
    images: Vec<u8>,
    /// Each file and the sample that its first record is.
    parts: Vec<(String, usize)>,
}
