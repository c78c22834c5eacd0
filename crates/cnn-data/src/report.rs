//! What was found where a data set was looked for: what is used, what is not, and why.

use serde::Serialize;
use std::fmt;

/// The [format](Report::format) of a set that a file of labels names.
pub const FILE_OF_LABELS: &str = "file of labels";

/// What a data set is made of, and what was left out. As text it is a few lines, with the long lists cut short but for
/// that of the pictures that cannot be decoded; as JSON (serde) it has everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What the set is called.
    pub name: String,
    /// Where it is, from the root; None for a generated set.
    pub path: Option<String>,
    /// What kind of files, such as `folder of pictures`.
    pub format: String,
    /// Height, width and channels of its images.
    pub size: [usize; 3],
    /// Where the split into training and test images comes from.
    pub split: String,
    /// Whether every picture is tested with, those to train on too. JSON has it not: nobody asks for that there.
    #[serde(skip)]
    pub tested_all: bool,
    /// Images of each class.
    pub classes: Vec<ClassCount>,
    /// Where an image may have none or several classes, how many there are of each split; None where each has one.
    pub multi_label: Option<MultiLabelCount>,
    /// What is there and not read.
    pub left_out: Vec<LeftOut>,
    /// Pictures that cannot be decoded; they are not counted in the classes.
    pub bad: Vec<BadFile>,
    /// Files that are tested with and, byte for byte, trained on: each as \[training file, other file\].
    pub duplicates: Vec<[String; 2]>,
    /// Files that are there more than once, byte for byte, in whatever split.
    pub same: Vec<SameFile>,
    /// What was found of the pictures in a [cache](crate::OpenOptions::cache), where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheUse>,
    /// What else there is to know before a training starts, a sentence each.
    pub notes: Vec<String>,
}

/// How many images of a class each split has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Images to train on.
    pub train: usize,
    /// Images to watch a training with.
    pub validation: usize,
    /// Images to test with.
    pub test: usize,
}

/// How many images a set of several labels has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MultiLabelCount {
    /// Images to train on, to watch a training with, and to test with.
    pub images: [usize; 3],
    /// Those of them that have no class.
    pub without: [usize; 3],
    /// All their labels.
    pub labels: [usize; 3],
}

/// Files or folders that are not read, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// Why.
    pub reason: String,
    /// Each of them.
    pub paths: Vec<String>,
}

/// A picture that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BadFile {
    /// The file.
    pub path: String,
    /// Why, with the file's name.
    pub reason: String,
}

/// A file that is there more than once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SameFile {
    /// Every place where it is.
    pub paths: Vec<String>,
    /// The classes that it is in. Of several, at most one is right.
    pub classes: Vec<String>,
    /// How many of the places are tested or watched with, if another one is trained on.
    pub leaked: usize,
}

/// What was found in a cache, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheUse {
    /// The file.
    pub file: String,
    /// Pictures whose images were there.
    pub found: usize,
    /// Pictures that were decoded, and are there now.
    pub decoded: usize,
}

impl fmt::Display for CacheUse {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} pictures found in {}, {} decoded", self.found, self.file, self.decoded)
    }
}

/// Entries of a list that text shows.
const SHOWN: usize = 5;
/// Classes that text shows.
const CLASSES_SHOWN: usize = 20;

impl Report {
    /// Images of all classes to train on, to watch with, and to test with.
    pub fn images(&self) -> [usize; 3] {
        if let Some(MultiLabelCount { images, .. }) = self.multi_label {
            return images;
        }
        let add = |sum: [usize; 3], class: &ClassCount| {
            [sum[0] + class.train, sum[1] + class.validation, sum[2] + class.test]
        };
        self.classes.iter().fold([0; 3], add)
    }

    /// What somebody should know before the set is used, a line each: where the split comes from if it is not the files'
    /// own, what was left out, what is odd. Empty for a set without surprises.
    pub fn warnings(&self) -> Vec<String> {
        self.lines(true)
    }

    /// The warnings, with that of the pictures that cannot be decoded or without.
    fn lines(&self, with_bad: bool) -> Vec<String> {
        let mut lines = self.notes.clone();
        for LeftOut { reason, paths } in &self.left_out {
            lines.push(format!("left out, {reason}: {}", some(paths)));
        }
        if with_bad && !self.bad.is_empty() {
            let reasons: Vec<_> = self.bad.iter().map(|bad| bad.reason.clone()).collect();
            lines.push(format!("left out, cannot be decoded: {}", some(&reasons)));
        }
        if !self.duplicates.is_empty() {
            let pairs: Vec<_> = self.duplicates.iter().map(|[train, other]| format!("{other} = {train}")).collect();
            lines.push(format!("trained on and tested with, so that the accuracy flatters: {}", some(&pairs)));
        }
        for SameFile { paths, classes, .. } in self.same.iter().filter(|same| same.classes.len() > 1).take(SHOWN) {
            let classes = classes.join(" and in ");
            lines
                .push(format!("the same picture is in {classes}, so that one of its labels is wrong: {}", some(paths)));
        }
        let contradicting = self.same.iter().filter(|same| same.classes.len() > 1).count();
        if contradicting > SHOWN {
            lines.push(format!("{} more pictures are in several classes", contradicting - SHOWN));
        }
        let told = |same: &&SameFile| same.classes.len() > 1 || same.leaked > 0;
        let again: Vec<_> = self.same.iter().filter(|same| !told(same)).map(|same| same.paths.join(" = ")).collect();
        if !again.is_empty() {
            lines.push(format!("there more than once: {}", some(&again)));
        }
        if let ([only], None) = (&self.classes[..], self.multi_label) {
            lines.push(format!("{:?} is the only class: whatever a network answers is right", only.name));
        }
        if let (Some(MultiLabelCount { images: [trained, ..], .. }), false) = (self.multi_label, self.tested_all) {
            let always = self.classes.iter().filter(|class| class.train == trained && trained > 0);
            let always: Vec<String> = always.map(|class| format!("{:?}", class.name)).collect();
            if !always.is_empty() {
                lines.push(format!("every picture to train on has {}: nothing can be learned of that", some(&always)));
            }
        }
        lines
    }
}

/// The first of `items`, how many there are if they are more than are shown, all in one line.
fn some(items: &[String]) -> String {
    let shown = items[..items.len().min(SHOWN)].join(", ");
    let more = items.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} ({shown}, and {more} more)", items.len()) } else { shown }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ([train, validation, test], [height, width, channels]) = (self.images(), self.size);
        let place = self.path.as_ref().map(|path| format!(" ({path})")).unwrap_or_default();
        writeln!(f, "{}{place}: {}, {height}x{width}x{channels}", self.name, self.format)?;
        let watched = if validation > 0 { format!("{validation} for validation, ") } else { String::new() };
        writeln!(f, "{} classes, {train} images to train on, {watched}{test} to test with", self.classes.len())?;
        if let Some(MultiLabelCount { images, without, labels }) = self.multi_label {
            let [images, without, labels] = [images, without, labels].map(|counts| counts.iter().sum::<usize>());
            let mean = labels as f64 / images.max(1) as f64;
            writeln!(f, "several labels: {mean:.2} for an image on average, {without} images without one")?;
        }
        writeln!(f, "split: {}", self.split)?;
        if let Some(cache) = &self.cache {
            writeln!(f, "cache: {cache}")?;
        }
        let width = self.classes.iter().take(CLASSES_SHOWN).map(|class| class.name.chars().count()).max().unwrap_or(0);
        for ClassCount { name, train, validation, test } in self.classes.iter().take(CLASSES_SHOWN) {
            let watched = if self.images()[1] > 0 { format!(" + {validation:>5}") } else { String::new() };
            writeln!(f, "  {name:<width$}  {train:>7}{watched} + {test:>5}")?;
        }
        if self.classes.len() > CLASSES_SHOWN {
            writeln!(f, "  ... and {} more", self.classes.len() - CLASSES_SHOWN)?;
        }
        let mut notes = self.lines(false).into_iter().filter(|warning| *warning != self.split);
        notes.try_for_each(|warning| writeln!(f, "note: {warning}"))?;
        // Somebody will have to go through all of them.
        self.bad.iter().try_for_each(|bad| writeln!(f, "cannot be decoded: {}", bad.reason))
    }
}
