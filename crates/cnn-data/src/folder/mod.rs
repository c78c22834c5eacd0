//! A folder of pictures, one folder a class.
//!
//! `train/CLASS/*` is trained on, `test/CLASS/*` tested with, and `val/CLASS/*` watched with, or tested with where there
//! is no test folder. Without either, the split is a property of each picture: see `splits::by_name`. A folder that is called
//! `train` and holds no folders is a class like others. Folders in a class's folder belong to the class.

mod walk;

use crate::listing::Listing;
use crate::options::OpenOptions;
use crate::report::LeftOut;
use crate::splits::{Found, Part, Role, Splits};
use crate::{Error, Result, format};
use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use walk::{Other, Picture, Tree};

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
    let mut notes = Notes::default();
    if let [first, _, ..] = &tree.folders[..]
        && tree.folders.iter().all(|class| bare(class) && class.has_readable())
    {
        let text = "the classes hold pictures in folders only; if those are the classes, give one of these, such as";
        notes.sentences.push(format!("{text} {}", first.path.display()));
    }
    let mut splits = splits(tree, options, &mut notes)?;
    splits.notes.splice(0..0, mem::take(&mut notes.sentences));
    splits.left_out = notes.left_out();
    splits.listing(path, name, "folder of pictures", options).map(Some)
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
        return Ok(Splits::by_name(found(tree, options, notes)?, "no train and test folders"));
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
    let [train, validation, test] = [train, validation, test].map(|tree| {
        let place = tree.as_ref().map(|tree| tree.path.display().to_string()).unwrap_or_default();
        let found = tree.map(|tree| found(tree, options, notes)).transpose()?;
        Ok::<_, Error>(found.map(|found| Part { place, found }))
    });
    Splits::of(train?.unwrap_or_default(), validation?, test?, "folder")
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
    let place = tree.path.display().to_string();
    Ok(Splits::all_to_test(found(tree, options, notes)?, &place, false))
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
        let of_class = |Picture { file, path, length }| Found { classes: vec![name.clone()], file, path, length };
        found.extend(pictures.into_iter().map(of_class));
    }
    Ok(found)
}
