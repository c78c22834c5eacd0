//! Weights of another run or another program, taken as far as a model has a place for them.
//!
//! [`load_state_dict`](crate::state_dict::load_state_dict) wants a file that is this model's to the last name. What people have
//! is a network that was trained on other classes, wrapped in whatever the program that wrote it was built of:
//! `state_dict.module.backbone.conv1.weight`, an average beside it, an optimiser's moments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::archive::Archive;
use crate::nn::Fields;
use crate::state_dict::{Entry, Naming, entries, other_shape, put, refuse};
use crate::{Backend, Error, Result};

/// What becomes of a model's last layer, which tells the classes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It is taken from the file, where it must be.
    Taken,
    /// It stays as it is: the classes are others.
    New,
    /// It is taken where the file has it and its shapes are the model's, and else stays as it is.
    IfItFits,
}

/// What [`load_pretrained`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taken {
    /// What stands before every name in the file: `state_dict.module.`.
    pub prefix: String,
    /// How many arrays were taken.
    pub taken: usize,
    /// Parameters that stayed as they were: the head's.
    pub new: Vec<String>,
    /// Whether the file has none of those.
    pub headless: bool,
    /// Counts of batches that the file does not have.
    pub missing: Vec<String>,
    /// Names in the file beside those that were taken, which the model has no place for, with the prefix.
    pub unexpected: Vec<String>,
    /// How many arrays the file has elsewhere: an optimiser's, a second copy's.
    pub elsewhere: usize,
}

/// The layer that tells the classes apart, which is the last one that learns: what its parameters' names begin with, such
/// as `fc.`; none of a model without parameters.
pub fn head<B: Backend>(model: &(impl Fields<B> + ?Sized)) -> Option<String> {
    let last = entries(model).into_iter().rfind(|entry| entry.learned)?.path;
    last.rfind('.').map(|dot| last[..=dot].to_owned())
}

/// Puts the weights and statistics of `archive` into `model`, under whatever prefix and in whichever naming it has most of them;
/// of two prefixes that are equal in that, the one of an average (`ema`), then the shorter one.
///
/// # Errors
/// A parameter or statistic, the head's apart, that the file does not have or has in another shape: a network of which a part
/// is left to chance is no pretrained one. Numbers that are not finite. The model stays as it was.
pub fn load_pretrained<B: Backend>(
    backend: &B,
    model: &mut (impl Fields<B> + ?Sized),
    archive: &Archive,
    head: Head,
) -> Result<Taken> {
    let expected = entries(model);
    let (naming, prefix) = spelling(archive, &expected)?;
    let name = |entry: &Entry| format!("{prefix}{}", naming.name(&entry.path));
    let last = self::head(model).unwrap_or_default();
    let of_head = |entry: &Entry| !last.is_empty() && entry.path.starts_with(&last);

    let fits = |entry: &Entry| archive.arrays.get(&name(entry)).is_some_and(|array| array.shape == entry.shape);
    let new = match head {
        Head::Taken => false,
        Head::New => true,
        Head::IfItFits => !expected.iter().filter(|entry| of_head(entry)).all(fits),
    };
    let headless = new && !expected.iter().any(|entry| of_head(entry) && archive.arrays.contains_key(&name(entry)));
    let mut taken = Taken { prefix: prefix.clone(), headless, ..Taken::default() };
    let mut names = Vec::with_capacity(expected.len());
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for entry in &expected {
        let name = name(entry);
        let array = archive.arrays.get(&name);
        names.push(match array {
            _ if new && of_head(entry) => {
                taken.new.push(entry.path.clone());
                None
            }
            Some(array) if array.shape == entry.shape || entry.optional => Some(name),
            Some(array) => {
                misshapen.push(other_shape(&name, array, entry));
                None
            }
            None if entry.optional => {
                taken.missing.push(entry.path.clone());
                None
            }
            None => {
                missing.push(name);
                None
            }
        });
    }
    refuse([("missing", missing), ("of another shape", misshapen)])?;
    taken.taken = names.iter().flatten().count();
    let known: BTreeSet<&String> = names.iter().flatten().collect();
    for name in archive.arrays.keys().filter(|name| !known.contains(name)) {
        match name.strip_prefix(&prefix) {
            Some(rest) if !(new && rest.starts_with(&naming.name(&last))) => taken.unexpected.push(name.clone()),
            Some(_) => {}
            None => taken.elsewhere += 1,
        }
    }
    put(backend, model, archive, &names)?;
    Ok(taken)
}

/// The naming and the prefix under which the file has most of a model's names.
fn spelling(archive: &Archive, expected: &[Entry]) -> Result<(Naming, String)> {
    let mut found: Vec<(usize, Naming, String)> = Vec::new();
    for naming in Naming::ALL {
        let names: BTreeSet<String> = expected.iter().map(|entry| naming.name(&entry.path)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for key in archive.arrays.keys() {
            let starts = key.match_indices('.').map(|(dot, _)| dot + 1);
            for start in [0].into_iter().chain(starts).filter(|&start| names.contains(&key[start..])) {
                *counts.entry(&key[..start]).or_default() += 1;
            }
        }
        found.extend(counts.into_iter().map(|(prefix, count)| (count, naming, prefix.to_owned())));
    }
    // Of equal ones the last is taken: an average's first, then the shorter prefix, then torchvision's names.
    let rank = |(count, naming, prefix): &(usize, Naming, String)| {
        let average = prefix.split(['.', '_']).any(|word| word == "ema");
        (*count, average, Reverse(prefix.len()), *naming == Naming::Torchvision)
    };
    let best = found.into_iter().max_by_key(rank).map(|(_, naming, prefix)| (naming, prefix));
    best.ok_or_else(|| {
        let some: Vec<&str> = archive.arrays.keys().take(3).map(String::as_str).collect();
        Error::StateDict(format!(
            "the weights are of another network: none of the {} names of the model, such as {}, is in the file, which has {}",
            expected.len(),
            expected.first().map_or("none", |entry| &entry.path),
            some.join(", ")
        ))
    })
}
