//! What the rows of a file of labels say.
//!
//! Columns, and keys, are found by the names that they usually have ([`FILE`], [`LABEL`], [`SPLIT`]).

use super::csv;
use crate::decode::MAX_BYTES;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

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
    "image_id",
    "id",
];
/// How many of these, the last ones, are ids.
const IDS: usize = 2;
/// What the column of the classes is called.
const LABEL: [&str; 5] = ["label", "class", "category", "class_name", "label_name"];
/// What it is called where a picture may have none or several.
const LABELS: [&str; 4] = ["labels", "tags", "classes", "categories"];
/// What stands between the labels of a picture.
const BETWEEN: [char; 2] = ['|', ';'];
/// What the column of the splits is called, where there is one.
pub(super) const SPLIT: [&str; 2] = ["split", "subset"];

/// What a line says of a picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(super) line: usize,
    pub(super) file: String,
    pub(super) labels: Vec<String>,
    /// None in a file without splits.
    pub(super) split: Option<String>,
}

/// How the labels are written, which a file's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Table,
    Lines,
}

impl Written {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_ascii_lowercase();
        match ending.to_str()? {
            "csv" | "tsv" => Some(Written::Table),
            "jsonl" | "ndjson" => Some(Written::Lines),
            _ => None,
        }
    }
}

/// All that a file of labels says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    /// Whether a picture may have none or several labels.
    pub(super) multi_label: bool,
    /// Columns that a class could be meant by and that were not read, a sentence each.
    pub(super) unread: BTreeSet<String>,
}

/// The rows of a file of labels. A picture may have none or several labels as `several` says or, where it says nothing, where some row
/// has in a column for that.
///
/// # Errors
/// The line, from 1 or 0 for the whole file, and what is wrong there.
pub(crate) fn rows(bytes: &[u8], written: Written, several: Option<bool>) -> Result<Rows, (usize, String)> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err((0, format!("may have {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        (line, "must be UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut unread = BTreeSet::new();
    let rows = match written {
        Written::Table => of_table(text, several, &mut unread)?,
        Written::Lines => of_lines(text, several, &mut unread)?,
    };
    if rows.is_empty() {
        return Err((0, "must name a picture".to_owned()));
    }
    if rows.iter().all(|row| row.labels.is_empty()) {
        return Err((0, "must give a picture a label".to_owned()));
    }
    let other = rows.iter().find(|row| row.labels.len() != 1);
    let multi_label = several.unwrap_or(other.is_some());
    match (several, other) {
        (Some(false), Some(Row { line, labels, .. })) => {
            Err((*line, format!("labels {:?}: must be one for each picture", labels.join("|"))))
        }
        _ => Ok(Rows { rows, multi_label, unread }),
    }
}

/// Which columns, or keys of an object, are read.
struct Columns {
    file: usize,
    label: usize,
    /// Whether the field of the label may have none or several.
    apart: bool,
    split: Option<usize>,
    /// Whether another could be meant by the label.
    ambiguous: bool,
}

impl Columns {
    /// Those to read of the ones called `names`, each of which is a `kind`; what could be meant by others goes to `unread`.
    ///
    /// # Errors
    /// One that is needed is not there, or one is there twice.
    fn of<'a>(
        names: impl Iterator<Item = &'a str>,
        kind: &str,
        several: Option<bool>,
        unread: &mut BTreeSet<String>,
    ) -> Result<Columns, String> {
        let names: Vec<String> = names.map(|name| name.trim().to_lowercase()).collect();
        let column = |usual: &[&str]| {
            let Some(called) = usual.iter().find(|wanted| names.iter().any(|name| name == *wanted)) else {
                return Ok(None);
            };
            let mut places = (0..names.len()).filter(|&at| names[at] == *called);
            match (places.next(), places.next()) {
                (_, Some(_)) => Err(format!("{called}: must be there once")),
                (first, None) => Ok(first),
            }
        };
        let needed = |usual: &[&str]| column(usual)?.ok_or_else(|| format!("must have a {kind} {}", usual.join(", ")));
        let (one, many) = (column(&LABEL)?, column(&LABELS)?);
        let many = many.filter(|_| several == Some(true) || one.is_none());
        let label = match many {
            Some(many) => many,
            None => one.ok_or_else(|| {
                format!("must have a {kind} {}, or for several labels {}", LABEL.join(", "), LABELS.join(", "))
            })?,
        };
        for name in names.iter().filter(|name| **name != names[label]) {
            let of_several = LABELS.contains(&name.as_str());
            if of_several || LABEL.contains(&name.as_str()) {
                let taken = if of_several && many.is_none() { "; --multi-label reads it" } else { "" };
                unread.insert(format!("the {kind} {name} is not read, as {} has the classes{taken}", names[label]));
            }
        }
        let (file, split) = (needed(&FILE)?, column(&SPLIT)?);
        // Many tables have an id beside the path; of two ids the pictures are one's.
        let others = |read: usize, usual: &[&str], what: &str| {
            let other = names.iter().filter(|name| **name != names[read] && usual.contains(&name.as_str()));
            other
                .map(|name| format!("the {kind} {name} is not read, as {} has the {what}", names[read]))
                .collect::<Vec<_>>()
        };
        let (paths, ids) = FILE.split_at(FILE.len() - IDS);
        unread.extend(others(file, if ids.contains(&names[file].as_str()) { ids } else { paths }, "pictures"));
        unread.extend(split.iter().flat_map(|&split| others(split, &SPLIT, "splits")));
        let apart = many.is_some() || several == Some(true);
        let ambiguous = one.is_some() && column(&LABELS)?.is_some() && several.is_none();
        Ok(Columns { file, label, apart, split, ambiguous })
    }
}

/// The labels in a field.
fn taken_apart(text: &str) -> Vec<String> {
    text.split(BETWEEN).map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
}

fn of_table(text: &str, several: Option<bool>, unread: &mut BTreeSet<String>) -> Result<Vec<Row>, (usize, String)> {
    let mut rows = csv::rows(text)?.into_iter();
    let Some((line, header)) = rows.next() else { return Ok(Vec::new()) };
    let Columns { file, label, apart, split, .. } =
        Columns::of(header.iter().map(String::as_str), "column", several, unread)
            .map_err(|rule| (line, format!("the header {}: {rule}", header.join(", "))))?;
    let row = |(line, fields): csv::Row| {
        if fields.len() != header.len() {
            return Err((line, format!("{} fields: the header has {}", fields.len(), header.len())));
        }
        let split = split.map(|at| fields[at].clone());
        let labels = if apart { taken_apart(&fields[label]) } else { vec![fields[label].clone()] };
        Ok(Row { line, file: fields[file].clone(), labels, split })
    };
    rows.map(row).collect()
}

/// The keys and values of a JSON object as they are written, of which a key may be there twice.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn of_lines(text: &str, several: Option<bool>, unread: &mut BTreeSet<String>) -> Result<Vec<Row>, (usize, String)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(at, line): (usize, &str)| of_line(at + 1, line, several, unread).map_err(|rule| (at + 1, rule));
    let rows: Vec<Row> = lines.map(row).collect::<Result<_, _>>()?;
    // What only some lines say of the split is no split.
    if let Some(without) = rows.iter().find(|row| row.split.is_none())
        && rows.iter().any(|row| row.split.is_some())
    {
        return Err((without.line, "no split, where other lines have one".to_owned()));
    }
    Ok(rows)
}

fn of_line(line: usize, text: &str, several: Option<bool>, unread: &mut BTreeSet<String>) -> Result<Row, String> {
    let Object(pairs) = serde_json::from_str(text).map_err(|error| format!("must be a JSON object: {error}"))?;
    let Columns { file, label, apart, split, ambiguous } =
        Columns::of(pairs.iter().map(|(key, _)| key.as_str()), "key", several, unread)?;
    // Keys are each line's own, and the other lines may go by the other one.
    if ambiguous {
        return Err(
            "a key for one label and one for several: one must go, or --multi-label say that there may be several"
                .into(),
        );
    }
    let text = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        value => Err(format!("{key}: {value}: must be a text or a number")),
    };
    let at = |at: usize| (&pairs[at].0, &pairs[at].1);
    let labels = match at(label) {
        (key, Value::Array(labels)) => {
            let labels = labels.iter().map(|label| Ok(text((key, label))?.trim().to_owned()));
            labels.collect::<Result<_, String>>()?
        }
        label if apart => taken_apart(&text(label)?),
        label => vec![text(label)?],
    };
    Ok(Row { line, file: text(at(file))?, labels, split: split.map(|split| text(at(split))).transpose()? })
}
