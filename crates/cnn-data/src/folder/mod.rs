//! A folder of pictures, one folder a class.
//!
//! `train/CLASS/*` is trained on, `test/CLASS/*` tested with, and `val/CLASS/*` watched with, or tested with where there
//! is no test folder. Without either, the split is a property of each picture: see [`split`]. A folder that is called
//! `train` and holds no folders is a class like others. Folders in a class's folder belong to the class.

mod split;
mod walk;

use crate::duplicates::FileSize;
use crate::format;
use crate::image_set::ImageSet;
use crate::images::Files;
use crate::listing::Listing;
use crate::memory::Memory;
use crate::options::OpenOptions;
use crate::preprocess::check_target;
use crate::report::LeftOut;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use walk::{Other, Picture, Tree};

/// Bytes that decoding may take at a time, all threads together.
const MEMORY: u64 = 1 << 30;

/// A picture with its class's name.
#[derive(Clone)]
struct Found {
    class: String,
    picture: Picture,
}

/// The set in `path`, its pictures resized to the options' size, or 32 x 32.
pub(crate) fn pictures(path: &Path, name: &str, options: &OpenOptions) -> Result<Option<Listing>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let tree = Tree::read(path)?;
    if !tree.folders.iter().any(Tree::has_pictures) {
        if tree.folders.is_empty() && !tree.pictures.is_empty() {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            let above =
                above.map_or_else(|| "one with a folder for each class".to_owned(), |a| a.display().to_string());
            let value = format!("holds {} pictures and no folders of classes", tree.pictures.len());
            return Err(Error::invalid(path.display(), value, format!("give the folder above it, {above}")));
        }
        return Ok(None);
    }
    if let Some(inner) = too_high(&tree) {
        let rule = format!("did you mean {}?", inner.path.display());
        return Err(Error::invalid(path.display(), "holds no pictures but folders of folders of pictures", rule));
    }
    let shown @ [height, width] = options.size.unwrap_or([32, 32]);
    check_target(shown)?;
    options.preprocess.check()?;
    let (image, preprocess) = ([height, width, 3], options.preprocess);
    let mut notes = Notes::default();
    if let [first, _, ..] = &tree.folders[..]
        && tree.folders.iter().all(|class| bare(class) && class.has_readable())
    {
        let text = "the classes hold pictures in folders only; if those are the classes, give one of these, such as";
        notes.sentences.push(format!("{text} {}", first.path.display()));
    }
    let Splits { train, validation, test, tested_all, split } = splits(tree, options, &mut notes)?;
    if train.is_empty() || test.is_empty() {
        let rule = format!("needs pictures for both ({}), in a folder for each class", format::READ);
        let value = format!("{} to train on, {} to test on", train.len(), test.len());
        return Err(Error::invalid(path.display(), value, rule));
    }
    let classes = classes_of(&train);
    let memory = Arc::new(Memory::new(MEMORY));
    let others = validation.iter().flatten().chain(&test);
    let files = [train.iter().map(size_of).collect(), others.map(size_of).collect()];
    let set = |found: Vec<Found>| {
        let label = |found: &Found| classes.partition_point(|class| *class < found.class) as u32;
        let labels = found.iter().map(label).collect();
        let paths = found.into_iter().map(|found| found.picture.path).collect();
        let files = Files { image, preprocess, labels, paths, memory: memory.clone() };
        ImageSet::new(Arc::new(files), &classes)?.with_shown(shown)
    };
    let mut listing = Listing::new(name, "folder of pictures", set(train)?, set(test)?);
    listing.validation = validation.map(set).transpose()?;
    listing.files = files;
    listing.report.split = split;
    listing.report.tested_all = tested_all;
    listing.report.left_out = notes.left_out();
    listing.report.notes = notes.sentences;
    Ok(Some(listing))
}

/// A folder of classes in `tree`, if that stands above it: its only folder, unless that is a split or holds pictures of its own;
/// or one that has a split to train on. Several folders of folders of pictures are classes.
fn too_high(tree: &Tree) -> Option<&Tree> {
    let only = || match &tree.folders[..] {
        [only] => Some(only).filter(|only| bare(only) && only.has_readable()),
        _ => None,
    };
    let trains = |folder: &Tree| role(folder) == Some(Role::Train) && holds_classes(folder);
    tree.folders.iter().filter(|folder| bare(folder)).find(|folder| folder.folders.iter().any(trains)).or_else(only)
}

/// Whether a folder is no split and holds no pictures but in its folders.
fn bare(folder: &Tree) -> bool {
    folder.pictures.is_empty() && role(folder).is_none()
}

fn size_of(found: &Found) -> FileSize {
    FileSize { path: found.picture.path.clone(), length: found.picture.length }
}

/// What there is to say about a folder.
#[derive(Default)]
struct Notes {
    others: BTreeMap<Other, Vec<PathBuf>>,
    sentences: Vec<String>,
}

impl Notes {
    fn leave_out(&mut self, reason: Other, path: PathBuf) {
        self.others.entry(reason).or_default().push(path);
    }

    /// Leaves out what stands beside the folders of `tree`.
    fn beside(&mut self, pictures: Vec<Picture>, others: Vec<(Other, PathBuf)>) {
        pictures.into_iter().for_each(|picture| self.leave_out(Other::Stray, picture.path));
        others.into_iter().for_each(|(reason, path)| self.leave_out(reason, path));
    }

    fn left_out(&self) -> Vec<LeftOut> {
        let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
        self.others.iter().map(|(reason, all)| LeftOut { reason: reason.to_string(), paths: paths(all) }).collect()
    }
}

struct Splits {
    train: Vec<Found>,
    validation: Option<Vec<Found>>,
    test: Vec<Found>,
    /// Whether the pictures to train on are tested with too.
    tested_all: bool,
    /// Where the split comes from.
    split: String,
}

/// What a folder of this name is when it holds classes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Train,
    Validation,
    Test,
}

impl Role {
    /// The split of this name, in any capitals: those that published sets and the programs that make sets give them.
    fn called(name: &str) -> Option<Role> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Role::Train),
            "val" | "valid" | "validation" | "dev" => Some(Role::Validation),
            "test" | "testing" | "eval" | "evaluation" => Some(Role::Test),
            _ => None,
        }
    }
}

fn role(tree: &Tree) -> Option<Role> {
    Role::called(tree.name.to_str()?)
}

/// Whether a folder holds classes, and is no class itself.
fn holds_classes(tree: &Tree) -> bool {
    !tree.folders.is_empty()
        && (tree.pictures.is_empty() || tree.folders.iter().any(|class| !class.pictures.is_empty()))
}

fn splits(tree: Tree, options: &OpenOptions, notes: &mut Notes) -> Result<Splits> {
    let split = |tree: &Tree| role(tree).filter(|_| holds_classes(tree));
    if !tree.folders.iter().any(|folder| split(folder) == Some(Role::Train)) {
        if options.test_all {
            return all_to_test(tree, options, notes);
        }
        if tree.folders.iter().all(|folder| role(folder).is_some()) {
            let names = tree.folders.iter().map(|folder| folder.name.to_string_lossy()).collect::<Vec<_>>().join(", ");
            let rule = "must have train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg";
            return Err(Error::invalid(tree.path.display(), format!("no classes in {names}"), rule));
        }
        for folder in tree.folders.iter().filter(|folder| role(folder).is_some()) {
            notes.sentences.push(format!("{} is taken for a class", folder.path.display()));
        }
        return Ok(split::by_hash(found(tree, options, notes)?, "no train and test folders", notes));
    }
    let Tree { path, pictures, folders, others, .. } = tree;
    notes.beside(pictures, others);
    let mut roles: [Option<Tree>; 3] = [None, None, None];
    for folder in folders {
        match split(&folder) {
            Some(role) => {
                if let Some(other) = roles[role as usize].replace(folder) {
                    let rule = "only one folder can be that split";
                    let names = [&other, roles[role as usize].as_ref().unwrap_or(&other)].map(|tree| &tree.name);
                    return Err(Error::invalid(path.display(), format!("{names:?}"), rule));
                }
            }
            None => notes.leave_out(Other::Folder, folder.path),
        }
    }
    let [train, validation, test] = roles;
    let place = |tree: &Option<Tree>| tree.as_ref().map(|tree| tree.path.clone()).unwrap_or_default();
    let (train_place, validation_place, test_place) = (place(&train), place(&validation), place(&test));
    let mut all = |tree: Option<Tree>| tree.map(|tree| found(tree, options, notes)).transpose();
    let (train, validation, test) = (all(train)?.unwrap_or_default(), all(validation)?, all(test)?);
    match (validation, test) {
        (None, None) => {
            let because = format!("no test folder beside {}", train_place.display());
            Ok(split::by_hash(train, &because, notes))
        }
        (Some(test), None) => {
            let text = format!("{} is tested with: no test folder", validation_place.display());
            notes.sentences.push(text.clone());
            same_classes(&train_place, &train, &validation_place, &test)?;
            Ok(Splits { train, validation: None, test, tested_all: false, split: text })
        }
        (validation, Some(test)) => {
            same_classes(&train_place, &train, &test_place, &test)?;
            let mut split = format!("the folders {} and {}", train_place.display(), test_place.display());
            if let Some(validation) = &validation {
                split = format!("{split}; {} for validation", validation_place.display());
                for class in missing(&classes_of(&train), &classes_of(validation), &validation_place, &train_place)? {
                    let place = validation_place.display();
                    notes.sentences.push(format!("{place} has no pictures of class {class:?}"));
                }
            }
            Ok(Splits { train, validation, test, tested_all: false, split })
        }
    }
}

/// All pictures to test with: of the classes in `tree`, or of those in its only folder if that is `test`.
fn all_to_test(tree: Tree, options: &OpenOptions, notes: &mut Notes) -> Result<Splits> {
    let Tree { path, name, pictures, mut folders, others } = tree;
    let only = folders.pop_if(|folder| role(folder) == Some(Role::Test) && holds_classes(folder));
    let tree = match only {
        Some(test) if folders.is_empty() => {
            notes.beside(pictures, others);
            test
        }
        test => {
            folders.extend(test);
            Tree { path, name, pictures, folders, others }
        }
    };
    let split = format!("all pictures in {} are tested with", tree.path.display());
    notes.sentences.push(split.clone());
    let all = found(tree, options, notes)?;
    Ok(Splits { train: all.clone(), validation: None, test: all, tested_all: true, split })
}

/// The pictures of the classes in `tree` and of the folders in them, sorted by class and file.
///
/// # Errors
/// A class without pictures, unless it will not be used.
fn found(tree: Tree, options: &OpenOptions, notes: &mut Notes) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    notes.beside(tree.pictures, tree.others);
    for class in tree.folders {
        let Some(name) = class.name.to_str().map(str::to_owned) else {
            let rule = "the name of a class must be UTF-8";
            return Err(Error::invalid(tree.path.display(), format!("{:?}", class.name), rule));
        };
        if !class.has_readable() {
            if options.classes.as_ref().is_some_and(|used| !used.contains(&name)) {
                notes.leave_out(Other::Folder, class.path);
                continue;
            }
            let value = format!("no pictures of class {name:?}, but {}", class.contents());
            let rule = format!("a folder beside the classes must hold {} files, or be taken away", format::READ);
            return Err(Error::invalid(class.path.display(), value, rule));
        }
        let (pictures, others) = class.flat();
        others.into_iter().for_each(|(reason, path)| notes.leave_out(reason, path));
        found.extend(pictures.into_iter().map(|picture| Found { class: name.clone(), picture }));
    }
    Ok(found)
}

/// The classes of sorted pictures.
fn classes_of(found: &[Found]) -> Vec<String> {
    let mut classes: Vec<String> = found.iter().map(|found| found.class.clone()).collect();
    classes.dedup();
    classes
}

fn same_classes(train_place: &Path, train: &[Found], test_place: &Path, test: &[Found]) -> Result<()> {
    let (train, test) = (classes_of(train), classes_of(test));
    match missing(&train, &test, test_place, train_place)?.first() {
        Some(lone) => Err(unknown(train_place, lone, test_place)),
        None => Ok(()),
    }
}

/// The classes of `train` that `other` does not have.
///
/// # Errors
/// A class of `other` that `train` does not have.
fn missing(train: &[String], other: &[String], other_place: &Path, train_place: &Path) -> Result<Vec<String>> {
    match other.iter().find(|class| !train.contains(class)) {
        Some(lone) => Err(unknown(other_place, lone, train_place)),
        None => Ok(train.iter().filter(|class| !other.contains(class)).cloned().collect()),
    }
}

fn unknown(place: &Path, class: &str, other: &Path) -> Error {
    let rule = format!("{} has no pictures of that class", other.display());
    Error::invalid(place.display(), format!("class {class:?}"), rule)
}
