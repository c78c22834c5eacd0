//! Picture files with their classes, wherever those were found, and which are trained on, watched and tested with.

mod by_name;

use crate::duplicates::FileSize;
use crate::image_set::ImageSet;
use crate::images::Files;
use crate::listing::Listing;
use crate::memory::Memory;
use crate::options::OpenOptions;
use crate::preprocess::check_target;
use crate::report::LeftOut;
use crate::{Error, Result, format};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A picture with the names of its classes.
#[derive(Clone)]
pub(crate) struct Found {
    /// One or, in a set of several labels, any number of them, sorted.
    pub(crate) classes: Vec<String>,
    /// What the picture is called among those of its class, or of the whole set where it may have several.
    pub(crate) file: OsString,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

/// The pictures of a split, sorted by class, and what messages call the place where they were found.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) place: String,
    pub(crate) found: Vec<Found>,
}

/// The part that a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Train,
    Validation,
    Test,
}

impl Role {
    /// The split of this name, in any capitals: those that published sets and the programs that make sets give them.
    pub(crate) fn called(name: &str) -> Option<Role> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Role::Train),
            "val" | "valid" | "validation" | "dev" => Some(Role::Validation),
            "test" | "testing" | "eval" | "evaluation" => Some(Role::Test),
            _ => None,
        }
    }
}

/// Pictures, each in its split.
pub(crate) struct Splits {
    train: Vec<Found>,
    validation: Option<Vec<Found>>,
    test: Vec<Found>,
    /// Whether a picture may have none or several labels.
    multi_label: bool,
    /// Whether the pictures to train on are tested with too.
    tested_all: bool,
    /// Where the split comes from.
    split: String,
    /// What there is to say of it, a sentence each.
    pub(crate) notes: Vec<String>,
    pub(crate) left_out: Vec<LeftOut>,
}

impl Splits {
    fn new(train: Vec<Found>, validation: Option<Vec<Found>>, test: Vec<Found>, split: String) -> Self {
        Splits {
            train,
            validation,
            test,
            multi_label: false,
            tested_all: false,
            split,
            notes: vec![],
            left_out: vec![],
        }
    }

    /// The split that somebody made: what is watched with is tested with where nothing else is, and where there is neither, a part
    /// of each class is. `kind` is what holds a part, a folder or the rows of a file.
    ///
    /// # Errors
    /// A class that is not in every part, but for the one that is watched with.
    pub(crate) fn of(train: Part, validation: Option<Part>, test: Option<Part>, kind: &str) -> Result<Self> {
        match (validation, test) {
            (None, None) => Ok(Splits::by_name(train.found, &format!("no test {kind} beside {}", train.place))),
            (Some(test), None) => {
                let text = format!("{} is tested with: no test {kind}", test.place);
                same_classes(&train, &test)?;
                let splits = Splits::new(train.found, None, test.found, text.clone());
                Ok(Splits { notes: vec![text], ..splits })
            }
            (validation, Some(test)) => {
                same_classes(&train, &test)?;
                let mut split = format!("the {kind}s {} and {}", train.place, test.place);
                let mut notes = Vec::new();
                if let Some(validation) = &validation {
                    split = format!("{split}; {} for validation", validation.place);
                    let lacks = |class| format!("{} has no pictures of class {class:?}", validation.place);
                    notes = missing(&train, validation)?.iter().map(lacks).collect();
                }
                let validation = validation.map(|part| part.found);
                Ok(Splits { notes, ..Splits::new(train.found, validation, test.found, split) })
            }
        }
    }

    /// The split that somebody made of pictures that may have none or several labels: as [`Splits::of`], but a class may be missing in
    /// each part other than the one that is trained on.
    ///
    /// # Errors
    /// A class of another part that is not trained on.
    pub(crate) fn of_several(train: Part, validation: Option<Part>, test: Option<Part>) -> Result<Self> {
        let (validation, test, mut notes) = match (validation, test) {
            (None, None) => return Ok(Splits::several_by_name(train.found, "no rows to test with")),
            (Some(test), None) => {
                let note = format!("{} is tested with: no test part", test.place);
                (None, test, vec![note])
            }
            (validation, Some(test)) => (validation, test, Vec::new()),
        };
        for part in validation.iter().chain([&test]) {
            let lacks = |class| format!("{} has no pictures of class {class:?}", part.place);
            notes.extend(missing(&train, part)?.iter().map(lacks));
        }
        let watched = validation.as_ref().map(|part| format!("; {} for validation", part.place)).unwrap_or_default();
        let split = format!("the parts {} and {}{watched}", train.place, test.place);
        let splits = Splits::new(train.found, validation.map(|part| part.found), test.found, split);
        Ok(Splits { multi_label: true, notes, ..splits })
    }

    /// As [`Splits::by_name`], of pictures that may have none or several labels.
    pub(crate) fn several_by_name(found: Vec<Found>, because: &str) -> Self {
        let [train, test] = by_name::split_several(found);
        let (tested, all) = (test.len(), train.len() + test.len());
        let split = format!(
            "{because}: about a tenth of the pictures of each class, chosen by their names, is tested with ({tested} of {all} in all)"
        );
        Splits { multi_label: true, notes: vec![split.clone()], ..Splits::new(train, None, test, split) }
    }

    /// A split by the pictures' names; `because` says why.
    pub(crate) fn by_name(found: Vec<Found>, because: &str) -> Self {
        let [train, test] = by_name::split(found);
        let split = format!("{because}: a tenth of the pictures of each class, chosen by their names, is tested with");
        Splits { notes: vec![split.clone()], ..Splits::new(train, None, test, split) }
    }

    /// All pictures to test with.
    pub(crate) fn all_to_test(found: Vec<Found>, place: &str, multi_label: bool) -> Self {
        let split = format!("all pictures in {place} are tested with");
        let splits = Splits::new(found.clone(), None, found, split.clone());
        Splits { multi_label, tested_all: true, notes: vec![split], ..splits }
    }

    /// The set, its pictures brought to the options' size, or 32 x 32.
    ///
    /// # Errors
    /// No picture to train on or to test with, options that cannot be, a class's name that cannot.
    pub(crate) fn listing(self, path: &Path, name: &str, kind: &str, options: &OpenOptions) -> Result<Listing> {
        let Splits { train, validation, test, multi_label, tested_all, split, notes, left_out } = self;
        let shown @ [height, width] = options.size.unwrap_or([32, 32]);
        check_target(shown)?;
        options.preprocess.check()?;
        if train.is_empty() || test.is_empty() {
            let rule = format!("needs pictures for both ({}), of every class", format::READ);
            let value = format!("{} to train on, {} to test on", train.len(), test.len());
            return Err(Error::invalid(path.display(), value, rule));
        }
        let (image, preprocess) = ([height, width, 3], options.preprocess);
        let classes = classes_of(&train);
        let memory = Arc::new(Memory::new(options.decode_memory));
        let size_of = |found: &Found| FileSize { path: found.path.clone(), length: found.length };
        let others = validation.iter().flatten().chain(&test);
        let files = [train.iter().map(size_of).collect(), others.map(size_of).collect()];
        let set = |found: Vec<Found>| {
            let label = |name: &String| classes.partition_point(|class| class < name) as u32;
            let labels: Vec<Vec<u32>> = found.iter().map(|found| found.classes.iter().map(label).collect()).collect();
            let paths = found.into_iter().map(|found| found.path).collect();
            let memory = memory.clone();
            let set = if multi_label {
                let files = Files { image, preprocess, labels: Vec::new(), paths, memory };
                ImageSet::multi_label(Arc::new(files), &classes, &labels)?
            } else {
                ImageSet::new(Arc::new(Files { image, preprocess, labels: labels.concat(), paths, memory }), &classes)?
            };
            set.with_shown(shown)
        };
        let mut listing = Listing::new(name, kind, set(train)?, set(test)?);
        listing.validation = validation.map(set).transpose()?;
        listing.files = files;
        listing.report.split = split;
        listing.report.tested_all = tested_all;
        listing.report.left_out = left_out;
        listing.report.notes = notes;
        Ok(listing)
    }
}

/// The classes of pictures, sorted.
fn classes_of(found: &[Found]) -> Vec<String> {
    let classes: BTreeSet<&String> = found.iter().flat_map(|found| &found.classes).collect();
    classes.into_iter().cloned().collect()
}

fn same_classes(train: &Part, test: &Part) -> Result<()> {
    match missing(train, test)?.first() {
        Some(lone) => Err(unknown(train, lone, test)),
        None => Ok(()),
    }
}

/// The classes of `train` that `other` does not have.
///
/// # Errors
/// A class of `other` that `train` does not have.
fn missing(train: &Part, other: &Part) -> Result<Vec<String>> {
    let [ours, theirs] = [train, other].map(|part| classes_of(&part.found));
    match theirs.iter().find(|class| !ours.contains(class)) {
        Some(lone) => Err(unknown(other, lone, train)),
        None => Ok(ours.into_iter().filter(|class| !theirs.contains(class)).collect()),
    }
}

fn unknown(part: &Part, class: &str, other: &Part) -> Error {
    let rule = format!("{} has no pictures of that class", other.place);
    Error::invalid(&part.place, format!("class {class:?}"), rule)
}
