//! What a name or a path means as a data set.

use crate::dataset::Dataset;
use crate::known::Known;
use crate::listing::Listing;
use crate::options::OpenOptions;
use crate::{Error, Result, cifar, folder, idx, labels, shapes};
use std::path::{Path, PathBuf};

/// Reads what is at a path, called so, if it is in this format; None if it is not.
type Format = fn(&Path, &str, &OpenOptions) -> Result<Option<Listing>>;

/// Every format, in the order in which a path is tried.
const FORMATS: [Format; 5] = [labels::file, cifar::archive, cifar::folder, idx::folder, folder::pictures];

/// Opens the set that `spec` means: `cifar10`, `cifar100` or `mnist` (found under `root`), `shapes` (generated), or the
/// path of one. What a path holds is told by its content:
///
/// | path | set |
/// | --- | --- |
/// | `data_batch_1.bin` ... in a folder, or the official `.tar.gz` | CIFAR-10 |
/// | `train.bin`, `test.bin` in a folder, or the official `.tar.gz` | CIFAR-100 |
/// | `train-images-idx3-ubyte` ... in a folder, raw or `.gz` | MNIST format |
/// | `{train,val,test}/CLASS/*.{jpg,jpeg,jfif,png}` in a folder | pictures (with the feature `formats` also `webp`, `gif`, `bmp`, `tif`, `tiff`) |
/// | `CLASS/*.{jpg,jpeg,jfif,png}` in a folder | pictures, a tenth of each class split off for the test |
/// | a `.csv`, `.tsv` or `.jsonl` file of pictures and their classes | pictures, split as it says or as a folder's |
///
/// The splits of a folder are found in any capitals; `train` may be called `training`, `test` also `testing`, `eval` or
/// `evaluation`, and `val` `valid`, `validation` or `dev`, which is what is tested with where there is no `test`. Folders in a
/// class's folder belong to the class, 16 levels of them.
///
/// A file of labels has a header row of columns, separated by commas, semicolons or tabs, or a JSON object on every line, each with
/// `file` (or `filename`, `path`, `image`, `id`), `label` (or `class`, `category`) and, if the split is given, `split` (or `subset`);
/// paths are relative to it. Where an image may have none or several labels the column is `labels` (or `tags`, `classes`,
/// `categories`), with `|` or `;` between them, or a list in JSON; [`OpenOptions::multi_label`] says so of a file that has one each.
///
/// What was found and what was left out is in [`Dataset::report`].
///
/// # Errors
/// [`Error::Missing`] when nothing is there (and, for a published set, can be downloaded); [`Error::Pictures`], or the
/// picture's own error, for pictures that cannot be decoded; otherwise what is wrong with which file.
pub fn open(spec: &str, root: &Path, options: &OpenOptions) -> Result<Dataset> {
    list(spec, root, options)?.read()
}

/// As [`open`], before any picture is decoded: what there is, from which one split can be read alone.
///
/// # Errors
/// As [`open`], but for pictures.
pub fn list(spec: &str, root: &Path, options: &OpenOptions) -> Result<Listing> {
    let path = match Known::meant(spec) {
        Some(set) => set.find(root)?,
        None if spec == shapes::NAME || (!Path::new(spec).exists() && spec.eq_ignore_ascii_case(shapes::NAME)) => {
            if options.multi_label == Some(true) {
                return Err(Error::invalid(shapes::NAME, "several labels", "has one label for each image"));
            }
            return shapes::generate(options)?.at(None, options);
        }
        None => PathBuf::from(spec),
    };
    let name = Known::meant(spec).map(|set| set.name().to_owned());
    // `photos`, `photos/` and `.` alike are called as the folder is.
    let own_name = || {
        let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        path.file_name().or(whole.file_name()).map_or("folder".to_owned(), |name| name.to_string_lossy().into_owned())
    };
    let name = name.unwrap_or_else(own_name);
    for format in FORMATS {
        if let Some(listing) = format(&path, &name, options)? {
            let listing = listing.at(Some(&path), options)?;
            if options.multi_label == Some(true) && !listing.train.is_multi_label() {
                let rule = "has one label for each image: several labels are those of a .csv, .tsv or .jsonl file";
                return Err(Error::invalid(path.display(), "several labels", rule));
            }
            return Ok(listing);
        }
    }
    if path.is_dir() {
        let rule = "must have CIFAR or MNIST files, or train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg";
        return Err(Error::invalid(path.display(), "no data set", rule));
    }
    let names = Known::ALL.map(Known::name).join(", ");
    let near = Known::near(spec).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    let hint = format!("{near}the sets with a name are {}, {names}; any other word is a path", shapes::NAME);
    Err(Error::Missing { name: path.display().to_string(), looked_for: vec![path], hint })
}
