//! MNIST-format files: images and labels as IDX, each raw or gzipped.
//!
//! Four big-endian words (magic, images, rows, columns) and the pixels; two words (magic, labels) and the labels. The
//! header decides how much is read, so it is held against a limit first, and the file must end where it says.
//! A `classes.txt` beside the files, one name a line, names other classes than the ten digits.

use crate::gzip::Gzip;
use crate::image_set::{ImageSet, class_names};
use crate::images::Origin;
use crate::listing::Listing;
use crate::options::OpenOptions;
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

pub(crate) const IMAGES: u32 = 0x0000_0803;
pub(crate) const LABELS: u32 = 0x0000_0801;
/// The four files of a set.
pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
/// Most bytes of one file, decompressed.
const CAP: usize = 1 << 30;

/// The raw file if it is there, else the gzipped one.
pub(crate) fn find(folder: &Path, file: &str) -> Option<PathBuf> {
    [folder.join(file), folder.join(format!("{file}.gz"))].into_iter().find(|path| path.is_file())
}

/// The set whose files are in `folder`.
pub(crate) fn folder(folder: &Path, name: &str, _options: &OpenOptions) -> Result<Option<Listing>> {
    if find(folder, FILES[0]).is_none() {
        return Ok(None);
    }
    let names = folder.join("classes.txt");
    let classes = match fs::read(&names) {
        Ok(text) => class_names(&names.display().to_string(), &text)?,
        Err(source) if source.kind() == io::ErrorKind::NotFound => (0..10).map(|digit| digit.to_string()).collect(),
        Err(source) => return Err(Error::io(names, source)),
    };
    let split = |images: &str, labels: &str| -> Result<ImageSet> {
        let file = |file: &str| {
            find(folder, file).ok_or_else(|| {
                Error::invalid(
                    folder.join(file).display(),
                    "missing",
                    "an MNIST-format set has it, or it with .gz added",
                )
            })
        };
        let (images, labels) = (file(images)?, file(labels)?);
        let ([count, height, width], pixels) = read(&images, IMAGES)?;
        let ([labelled], values) = read(&labels, LABELS)?;
        if count != labelled {
            let rule = format!("{} has {count} images", images.display());
            return Err(Error::invalid(labels.display(), format!("{labelled} labels"), rule));
        }
        if let Some(record) = values.iter().position(|&label| usize::from(label) >= classes.len()) {
            let (value, rule) = (format!("label {}", values[record]), format!("must be below {}", classes.len()));
            return Err(Error::Record { file: labels.display().to_string(), record, value, rule });
        }
        let origin = Origin::Records(vec![(images.display().to_string(), 0)]);
        let labels = values.into_iter().map(u32::from).collect();
        ImageSet::stored_as(origin, [height, width, 1], &classes, labels, pixels)
    };
    let (train, test) = (split(FILES[0], FILES[1])?, split(FILES[2], FILES[3])?);
    Ok(Some(Listing::new(name, "MNIST-format files", train, test)))
}

/// The `RANK` dimensions of the file at `path` and its bytes.
fn read<const RANK: usize>(path: &Path, magic: u32) -> Result<([usize; RANK], Vec<u8>)> {
    let file = BufReader::with_capacity(1 << 16, File::open(path).map_err(|source| Error::io(path, source))?);
    let gzipped = path.extension().is_some_and(|extension| extension == "gz");
    if gzipped { read_from(Gzip::new(file), path, magic) } else { read_from(file, path, magic) }
}

/// As [`read`], of whatever `reader` reads; `path` is what messages call it.
pub(crate) fn read_from<const RANK: usize>(
    mut reader: impl Read,
    path: &Path,
    magic: u32,
) -> Result<([usize; RANK], Vec<u8>)> {
    let refuse = |value: String, rule: String| Err(Error::invalid(path.display(), value, rule));

    let mut word = || -> Result<u32> {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|source| Error::io(path, source))?;
        Ok(u32::from_be_bytes(bytes))
    };
    let found = word()?;
    if found != magic {
        return refuse(format!("magic number {found:#010x}"), format!("must be {magic:#010x}"));
    }
    let mut shape = [0; RANK];
    for side in &mut shape {
        *side = word()? as usize;
    }
    let size = shape.iter().try_fold(1usize, |size, &side| size.checked_mul(side));
    let Some(size) = size.filter(|size| (1..=CAP).contains(size)) else {
        return refuse(format!("shape {shape:?}"), format!("must have between 1 and {CAP} bytes"));
    };
    let mut bytes = Vec::new();
    reader.take(size as u64 + 1).read_to_end(&mut bytes).map_err(|source| Error::io(path, source))?;
    if bytes.len() != size {
        let length = if bytes.len() > size { "more".to_owned() } else { bytes.len().to_string() };
        return refuse(format!("{length} bytes after the header"), format!("shape {shape:?} needs {size}"));
    }
    Ok((shape, bytes))
}
