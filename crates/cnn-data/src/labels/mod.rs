//! A file that names pictures and their classes: a table with a header, or a JSON object on every line.
//!
//! Paths are relative to the file. Without a split the pictures are split as those of a folder are: one in `CLASS/FILE` is on the side
//! on which it is there. A picture may have none or several labels, in a column that is called so or where the options say it.

mod csv;
mod rows;

pub(crate) use rows::{Written, rows};

use crate::decode::MAX_BYTES;
use crate::error::BadRow;
use crate::format::{MORE_PICTURES, PICTURES};
use crate::listing::Listing;
use crate::options::OpenOptions;
use crate::report::{FILE_OF_LABELS, LeftOut};
use crate::splits::{Found, Part, Role, Splits};
use crate::{Error, Result};
use rows::{Row, Rows, SPLIT};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The set of which the file at `path` names the pictures, brought to the options' size, or 32 x 32; None if it is no such file.
pub(crate) fn file(path: &Path, _: &str, options: &OpenOptions) -> Result<Option<Listing>> {
    let Some(written) = Written::of(path).filter(|_| path.is_file()) else { return Ok(None) };
    let mut bytes = Vec::new();
    let failed = |source| Error::io(path, source);
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let rows = rows(&bytes, written, options.multi_label).map_err(|(line, rule)| match line {
        0 => Error::invalid(path.display(), "a file of labels", rule),
        _ => Error::rows(path, vec![BadRow { line, reason: rule }], None),
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    splits(path, rows, options)?.listing(path, &name, FILE_OF_LABELS, options).map(Some)
}

/// The pictures that the rows name, in their splits.
///
/// # Errors
/// Every row that names no picture, one that another row puts elsewhere, no class, or an unknown split; splits of which none is to
/// train on.
fn splits(path: &Path, rows: Rows, options: &OpenOptions) -> Result<Splits> {
    let Rows { rows, multi_label, unread } = rows;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (count, mut bad, mut again) = (rows.len(), Vec::new(), Vec::new());
    let joined = rows.iter().filter(|row| !multi_label && row.labels.iter().any(|label| label.contains('|'))).count();
    let divided = rows.first().is_some_and(|row| row.split.is_some());
    let mut parts: [Option<Vec<Found>>; 3] = [None, None, None];
    let mut seen: HashMap<PathBuf, (usize, Vec<String>, Role)> = HashMap::new();
    for Row { line, file, mut labels, split } in rows {
        labels.sort_unstable();
        let role = split.as_deref().map_or(Some(Role::Train), |split| Role::called(split.trim()));
        match (picture(folder, &file, &labels, multi_label), role) {
            (Err(reason), _) => bad.push(BadRow { line, reason }),
            (_, None) => {
                let rule = "must be train, val or test, or what these are usually called";
                bad.push(BadRow { line, reason: format!("split {:?}: {rule}", split.unwrap_or_default()) });
            }
            (Ok(found), Some(role)) => match seen.entry(found.path.clone()) {
                Entry::Vacant(new) => {
                    new.insert((line, labels, role));
                    parts[role as usize].get_or_insert_default().push(found);
                }
                Entry::Occupied(old) if old.get().1 == labels && old.get().2 == role => again.push(file),
                Entry::Occupied(old) => {
                    let (first, before, _) = old.get();
                    let elsewhere = match *before == labels {
                        true => "in another split".to_owned(),
                        false => format!("as {:?}", before.join("|")),
                    };
                    bad.push(BadRow { line, reason: format!("{file}: line {first} has it too, {elsewhere}") });
                }
            },
        }
    }
    if !bad.is_empty() {
        return Err(Error::rows(path, bad, Some(count)));
    }
    let sort = |found: &mut Vec<Found>| found.sort_by(|a, b| (&a.classes, &a.file).cmp(&(&b.classes, &b.file)));
    parts.iter_mut().flatten().for_each(sort);
    let [train, validation, test] = parts;
    let place = path.display();
    let mut splits = if options.test_all && (!divided || train.is_none()) {
        let mut all: Vec<Found> = [train, validation, test].into_iter().flatten().flatten().collect();
        sort(&mut all);
        Splits::all_to_test(all, &place.to_string(), multi_label)
    } else if divided {
        let Some(train) = train else {
            let rule = "one must be of the split train; weights that are trained are tested with every row by --all";
            return Err(Error::invalid(place, format!("none of {count} to train on"), rule));
        };
        let part = |name: &str, found| Part { place: format!("{place} ({name})"), found };
        let [validation, test] =
            [("validation", validation), ("test", test)].map(|(name, found)| found.map(|found| part(name, found)));
        let train = part("train", train);
        match multi_label {
            true => Splits::of_several(train, validation, test)?,
            false => Splits::of(train, validation, test, "part")?,
        }
    } else {
        let (found, because) = (train.unwrap_or_default(), format!("no column {} in {place}", SPLIT.join(" or ")));
        if multi_label { Splits::several_by_name(found, &because) } else { Splits::by_name(found, &because) }
    };
    if multi_label {
        splits.notes.insert(0, "a picture may have none, one or several of the labels".to_owned());
    }
    splits.notes.extend(unread);
    if joined > 0 {
        let rule = "each is taken for one class: --multi-label takes them apart";
        splits.notes.push(format!("{joined} labels have a | in them, and {rule}"));
    }
    if !again.is_empty() {
        splits.left_out.push(LeftOut { reason: "rows that name a picture again".to_owned(), paths: again });
    }
    Ok(splits)
}

/// The picture that a row names, with its sorted labels.
///
/// # Errors
/// It names none, a label that no class can be called by, or one twice.
fn picture(folder: &Path, file: &str, labels: &[String], multi_label: bool) -> Result<Found, String> {
    if let Some(label) = labels.iter().find(|label| label.is_empty() || label.chars().any(char::is_control)) {
        return Err(format!("class {label:?}: must be neither empty nor have control characters"));
    }
    if let Some(twice) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("labels {:?}: {:?} must be there once", labels.join("|"), twice[0]));
    }
    if file.is_empty() {
        return Err("names no picture".to_owned());
    }
    let named: PathBuf = Path::new(file).components().filter(|part| *part != Component::CurDir).collect();
    let whole = folder.join(&named);
    // A name without an ending is one that any picture may have, as an id has.
    let named_so =
        |ending: &&str| [ending.to_string(), ending.to_uppercase()].map(|ending| whole.with_extension(ending));
    let other = || PICTURES.iter().chain(&MORE_PICTURES).flat_map(named_so).find(|path| path.is_file());
    let (path, entry) = match fs::metadata(&whole) {
        Ok(entry) if entry.is_file() => (whole, entry),
        Ok(_) => return Err(format!("{file}: is no file")),
        Err(error) => match other().filter(|_| whole.extension().is_none()) {
            Some(path) => fs::metadata(&path).map(|entry| (path, entry)).map_err(|error| format!("{file}: {error}"))?,
            None if error.kind() == std::io::ErrorKind::NotFound => return Err(format!("{file}: not there")),
            None => return Err(format!("{file}: {error}")),
        },
    };
    let called = path.strip_prefix(folder).unwrap_or(&path);
    // As a folder has it: what it is called beside those of its class.
    let of_class = labels.first().filter(|_| !multi_label).and_then(|class| called.strip_prefix(class).ok());
    let called = of_class.unwrap_or(called).as_os_str().to_owned();
    Ok(Found { classes: labels.to_vec(), file: called, path, length: entry.len() })
}
