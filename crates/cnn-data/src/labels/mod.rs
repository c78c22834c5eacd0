//! A file that names pictures and their classes: a table with a header, or a JSON object on every line.
//!
//! Columns, and keys, are found by the names that they usually have ([`FILE`], [`LABEL`], [`SPLIT`]). Paths are relative to the
//! file. Without a split the pictures are split as those of a folder are: one in `CLASS/FILE` is on the side on which it is there.

mod csv;

use crate::decode::MAX_BYTES;
use crate::error::BadRow;
use crate::format::{MORE_PICTURES, PICTURES};
use crate::listing::Listing;
use crate::options::OpenOptions;
use crate::report::LeftOut;
use crate::splits::{Found, Part, Role, Splits};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// What the column of the pictures' paths is called, in any capitals; of several the first of these.
const FILE: [&str; 11] = [
    "file",
    "filename",
    "file_name",
    "path",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_name",
    "id",
    "image_id",
];
/// What the column of the classes is called.
const LABEL: [&str; 5] = ["label", "class", "category", "class_name", "label_name"];
/// What the column of the splits is called, where there is one.
const SPLIT: [&str; 2] = ["split", "subset"];

/// What a line says of a picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    line: usize,
    file: String,
    label: String,
    /// None in a file without splits.
    split: Option<String>,
}

/// How the labels are written, which a file's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Table,
    Lines,
}

impl Written {
    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_ascii_lowercase();
        match ending.to_str()? {
            "csv" | "tsv" => Some(Written::Table),
            "jsonl" | "ndjson" => Some(Written::Lines),
            _ => None,
        }
    }
}

/// The set of which the file at `path` names the pictures, brought to the options' size, or 32 x 32; None if it is no such file.
pub(crate) fn file(path: &Path, _: &str, options: &OpenOptions) -> Result<Option<Listing>> {
    let Some(written) = Written::of(path).filter(|_| path.is_file()) else { return Ok(None) };
    let mut bytes = Vec::new();
    let failed = |source| Error::io(path, source);
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let rows = rows(&bytes, written).map_err(|(line, rule)| match line {
        0 => Error::invalid(path.display(), "a file of labels", rule),
        _ => Error::rows(path, vec![BadRow { line, reason: rule }], None),
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    splits(path, rows, options)?.listing(path, &name, "file of labels", options).map(Some)
}

/// The rows of a file of labels.
///
/// # Errors
/// The line, from 1 or 0 for the whole file, and what is wrong there.
pub(crate) fn rows(bytes: &[u8], written: Written) -> Result<Vec<Row>, (usize, String)> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err((0, format!("may have {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        (line, "must be UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows = match written {
        Written::Table => of_table(text)?,
        Written::Lines => of_lines(text)?,
    };
    if rows.is_empty() { Err((0, "must name a picture".to_owned())) } else { Ok(rows) }
}

fn of_table(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let mut rows = csv::rows(text)?.into_iter();
    let Some((line, header)) = rows.next() else { return Ok(Vec::new()) };
    let names: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
    let column = |usual: &[&str]| usual.iter().find_map(|wanted| names.iter().position(|name| name == wanted));
    let wanted = |usual: &[&str]| {
        let rule = format!("must have a column {}", usual.join(", "));
        column(usual).ok_or_else(|| (line, format!("the header {}: {rule}", header.join(", "))))
    };
    let (file, label, split) = (wanted(&FILE)?, wanted(&LABEL)?, column(&SPLIT));
    let row = |(line, fields): csv::Row| {
        if fields.len() != header.len() {
            return Err((line, format!("{} fields: the header has {}", fields.len(), header.len())));
        }
        let split = split.map(|at| fields[at].clone());
        Ok(Row { line, file: fields[file].clone(), label: fields[label].clone(), split })
    };
    rows.map(row).collect()
}

fn of_lines(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut rows = Vec::new();
    for (line, text) in lines.map(|(at, text)| (at + 1, text)) {
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| (line, format!("must be a JSON object: {error}")))?;
        let value = |usual: &[&str]| {
            let found = |wanted: &&str| object.iter().find(|(key, _)| key.to_lowercase() == **wanted);
            match usual.iter().find_map(found) {
                None => Ok(None),
                Some((_, Value::String(text))) => Ok(Some(text.clone())),
                Some((_, Value::Number(number))) => Ok(Some(number.to_string())),
                Some((key, value)) => Err((line, format!("{key}: {value}: must be a text or a number"))),
            }
        };
        let wanted = |usual: &[&str]| value(usual)?.ok_or_else(|| (line, format!("must have {}", usual.join(", "))));
        rows.push(Row { line, file: wanted(&FILE)?, label: wanted(&LABEL)?, split: value(&SPLIT)? });
    }
    // What only some lines say of the split is no split.
    if let Some(without) = rows.iter().find(|row| row.split.is_none())
        && rows.iter().any(|row| row.split.is_some())
    {
        return Err((without.line, "no split, where other lines have one".to_owned()));
    }
    Ok(rows)
}

/// The pictures that the rows name, in their splits.
///
/// # Errors
/// Every row that names no picture, one that another row puts elsewhere, no class, or an unknown split.
fn splits(path: &Path, rows: Vec<Row>, options: &OpenOptions) -> Result<Splits> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (count, mut bad, mut again) = (rows.len(), Vec::new(), Vec::new());
    let divided = rows.first().is_some_and(|row| row.split.is_some());
    let mut parts: [Option<Vec<Found>>; 3] = [None, None, None];
    let mut seen: HashMap<PathBuf, (usize, String, Role)> = HashMap::new();
    for Row { line, file, label, split } in rows {
        let role = split.as_deref().map_or(Some(Role::Train), |split| Role::called(split.trim()));
        match (picture(folder, &file, &label), role) {
            (Err(reason), _) => bad.push(BadRow { line, reason }),
            (_, None) => {
                let rule = "must be train, val or test, or what these are usually called";
                bad.push(BadRow { line, reason: format!("split {:?}: {rule}", split.unwrap_or_default()) });
            }
            (Ok(found), Some(role)) => match seen.entry(found.path.clone()) {
                Entry::Vacant(new) => {
                    new.insert((line, label, role));
                    parts[role as usize].get_or_insert_default().push(found);
                }
                Entry::Occupied(old) if old.get().1 == label && old.get().2 == role => again.push(file),
                Entry::Occupied(old) => {
                    let (first, class, _) = old.get();
                    let elsewhere =
                        if *class == label { "in another split".to_owned() } else { format!("as {class:?}") };
                    bad.push(BadRow { line, reason: format!("{file}: line {first} has it too, {elsewhere}") });
                }
            },
        }
    }
    if !bad.is_empty() {
        return Err(Error::rows(path, bad, Some(count)));
    }
    let sort = |found: &mut Vec<Found>| found.sort_by(|a, b| (&a.class, &a.file).cmp(&(&b.class, &b.file)));
    parts.iter_mut().flatten().for_each(sort);
    let [train, validation, test] = parts;
    let place = path.display();
    let mut splits = if options.test_all && (!divided || train.is_none()) {
        let mut all: Vec<Found> = [train, validation, test].into_iter().flatten().flatten().collect();
        sort(&mut all);
        Splits::all_to_test(all, &place.to_string())
    } else if divided {
        let part = |name: &str, found| Part { place: format!("{place} ({name})"), found };
        let [validation, test] =
            [("validation", validation), ("test", test)].map(|(name, found)| found.map(|found| part(name, found)));
        Splits::of(part("train", train.unwrap_or_default()), validation, test, "part")?
    } else {
        Splits::by_name(train.unwrap_or_default(), &format!("no column {} in {place}", SPLIT.join(" or ")))
    };
    if !again.is_empty() {
        splits.left_out.push(LeftOut { reason: "rows that name a picture again".to_owned(), paths: again });
    }
    Ok(splits)
}

/// The picture that a row names.
///
/// # Errors
/// It names none, or no class.
fn picture(folder: &Path, file: &str, label: &str) -> Result<Found, String> {
    if label.is_empty() || label.chars().any(char::is_control) {
        return Err(format!("class {label:?}: must be neither empty nor have control characters"));
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
    // As a folder has it: what it is called beside those of its class.
    let called = path.strip_prefix(folder).unwrap_or(&path);
    let called = called.strip_prefix(label).unwrap_or(called).as_os_str().to_owned();
    Ok(Found { class: label.to_owned(), file: called, path, length: entry.len() })
}
