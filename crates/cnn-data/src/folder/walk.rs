//! What is in a folder of folders of pictures: looked at once, with everything that is not a picture and why.

use crate::format::{self, MORE_PICTURES, PICTURES};
use crate::{Error, Result};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A folder, its entries sorted by name.
pub(super) struct Tree {
    pub(super) name: OsString,
    pub(super) path: PathBuf,
    pub(super) pictures: Vec<Picture>,
    pub(super) folders: Vec<Tree>,
    pub(super) others: Vec<(Other, PathBuf)>,
}

/// A file that is called as pictures are.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) file: OsString,
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

/// Why an entry is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Other {
    /// A picture in a format that is not read.
    Format,
    /// A picture in a format that this build does not read.
    NotBuilt,
    /// A link to nothing.
    DeadLink,
    /// Its name begins with a dot, or it is a system's own.
    Hidden,
    /// A folder that is neither a split nor, or in, a class that is used.
    Folder,
    /// A link to a folder that it is in.
    Loop,
    /// A folder that is too deep.
    Deep,
    /// A picture where only folders are looked for.
    Stray,
    /// Any other file.
    File,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Other::Format => "pictures in formats that are not read",
            Other::NotBuilt => {
                "pictures in WebP, GIF, BMP or TIFF, which a program built with `--features formats` reads"
            }
            Other::DeadLink => "links to nothing",
            Other::Hidden => "hidden files and folders",
            Other::Folder => "folders that are neither a split nor a class",
            Other::Loop => "links to folders that they are in",
            Other::Deep => "folders more than 16 levels deep",
            Other::Stray => "pictures that are in no class's folder",
            Other::File => "files that are no pictures",
        })
    }
}

/// Endings of pictures that are not decoded.
const FORMATS: [&str; 12] = ["heic", "heif", "avif", "jp2", "jxl", "ppm", "pgm", "svg", "ico", "tga", "dng", "exr"];

/// What systems leave beside files and hide themselves: what macOS packs into archives, Windows' and Synology's previews, in
/// small letters.
const LEFTOVERS: [&str; 5] = ["__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"];

/// Folders in each other, below the first one, that are read.
const DEPTH: usize = 16;

impl Tree {
    /// Reads `path` and the folders in it, [`DEPTH`] levels of them; links are followed, but not to where they are.
    pub(super) fn read(path: &Path) -> Result<Tree> {
        Tree::read_in(path, &mut Vec::new())
    }

    /// The same; `above` are the folders that this one is in, as they are called without links.
    fn read_in(path: &Path, above: &mut Vec<PathBuf>) -> Result<Tree> {
        let failed = |source| Error::io(path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        above.push(real(path)?);
        let name = path.file_name().unwrap_or_default().to_owned();
        let mut tree = Tree { name, path: path.to_owned(), pictures: vec![], folders: vec![], others: vec![] };
        for name in names {
            let path = path.join(&name);
            let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
            let ends = |endings: &[&str]| ending.as_ref().is_some_and(|ending| endings.iter().any(|&e| ending == e));
            let leftover = || LEFTOVERS.iter().any(|leftover| name.eq_ignore_ascii_case(leftover));
            if name.as_encoded_bytes().starts_with(b".") || leftover() {
                tree.others.push((Other::Hidden, path));
                continue;
            }
            match fs::metadata(&path) {
                Err(_) if path.is_symlink() => tree.others.push((Other::DeadLink, path)),
                Err(source) => return Err(Error::io(path, source)),
                Ok(entry) if entry.is_dir() && above.len() > DEPTH => tree.others.push((Other::Deep, path)),
                Ok(entry) if entry.is_dir() && above.contains(&real(&path)?) => tree.others.push((Other::Loop, path)),
                Ok(entry) if entry.is_dir() => tree.folders.push(Tree::read_in(&path, above)?),
                Ok(entry) if entry.is_file() && ends(&MORE_PICTURES) && !is_read(&path) => {
                    tree.others.push((Other::NotBuilt, path));
                }
                Ok(entry) if entry.is_file() && (ends(&PICTURES) || ends(&MORE_PICTURES)) => {
                    tree.pictures.push(Picture { file: name, path, length: entry.len() });
                }
                Ok(_) if ends(&FORMATS) => tree.others.push((Other::Format, path)),
                Ok(_) => tree.others.push((Other::File, path)),
            }
        }
        above.pop();
        Ok(tree)
    }

    /// The pictures in the folder and in those in it, and what else is there: its own first. Each picture's `file` is its path from
    /// here, with slashes.
    pub(super) fn flat(self) -> (Vec<Picture>, Vec<(Other, PathBuf)>) {
        let (mut pictures, mut others) = (self.pictures, self.others);
        for folder in self.folders {
            let name = folder.name.clone();
            let (inner, more) = folder.flat();
            others.extend(more);
            pictures.extend(inner.into_iter().map(|picture| {
                let mut file = name.clone();
                file.push("/");
                file.push(&picture.file);
                Picture { file, ..picture }
            }));
        }
        (pictures, others)
    }

    /// Whether a picture that is read is in the folder or anywhere in it.
    pub(super) fn has_readable(&self) -> bool {
        !self.pictures.is_empty() || self.folders.iter().any(Tree::has_readable)
    }

    /// Whether a picture is in the folder or anywhere in it, of any format.
    pub(super) fn has_pictures(&self) -> bool {
        let other = |other: &(Other, PathBuf)| matches!(other.0, Other::Format | Other::NotBuilt);
        !self.pictures.is_empty() || self.others.iter().any(other) || self.folders.iter().any(Tree::has_pictures)
    }

    /// What is in a folder without a picture, in words.
    pub(super) fn contents(&self) -> String {
        let mut kinds: Vec<Other> = self.others.iter().map(|other| other.0).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut parts: Vec<String> = Vec::new();
        if !self.folders.is_empty() {
            parts.push(format!("{} folders without any", self.folders.len()));
        }
        for kind in kinds {
            let of_it: Vec<_> = self.others.iter().filter(|other| other.0 == kind).collect();
            let file = of_it[0].1.file_name().unwrap_or_default().to_string_lossy();
            parts.push(format!("{} {kind} ({file})", of_it.len()));
        }
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
    }
}

/// A folder's path without links.
fn real(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(|source| Error::io(path, source))
}

/// Whether this build reads what is in the file, as far as its first bytes tell: one that it knows nothing of is looked at as a
/// picture, and refused by its name.
fn is_read(path: &Path) -> bool {
    if cfg!(feature = "formats") {
        return true;
    }
    let mut head = Vec::new();
    let looked = File::open(path).and_then(|file| file.take(32).read_to_end(&mut head));
    looked.is_err() || format::of(&head).is_none_or(format::is_read)
}
