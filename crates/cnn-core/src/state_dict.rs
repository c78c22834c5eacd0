//! A model's weights and statistics as named arrays in PyTorch's layout, in torchvision's names or pytorch-cifar's.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{Archive, Array};
use crate::backend::{Accum, Backend, Wide};
use crate::nn::{Fields, Leaf, LeafMut, Path};
use crate::{Error, Result};

/// Whose names a file uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// torchvision's, which are the field names here: `layer2.0.downsample.0.weight`, `fc.bias`.
    #[default]
    Torchvision,
    /// Those of github.com/kuangliu/pytorch-cifar: `layer2.0.shortcut.0.weight`, `linear.bias`.
    PytorchCifar,
}

/// Path components that differ: torchvision's, pytorch-cifar's.
const RENAMED: [(&str, &str); 2] = [("downsample", "shortcut"), ("fc", "linear")];

impl Naming {
    /// All of them.
    pub(crate) const ALL: [Naming; 2] = [Naming::Torchvision, Naming::PytorchCifar];

    /// The name of a field path in this naming.
    pub fn name(self, path: &str) -> String {
        let component = |ours| match self {
            Naming::Torchvision => ours,
            Naming::PytorchCifar => RENAMED.iter().find(|names| names.0 == ours).map_or(ours, |names| names.1),
        };
        path.split('.').map(component).collect::<Vec<&str>>().join(".")
    }

    /// The naming under which a file has most of these field paths; torchvision's if they are equal.
    fn of_file(archive: &Archive, entries: &[Entry]) -> Self {
        let has = |name: String| archive.arrays.contains_key(&name);
        let found = |naming: Naming| entries.iter().filter(|entry| has(naming.name(&entry.path))).count();
        if found(Naming::PytorchCifar) > found(Naming::Torchvision) {
            Naming::PytorchCifar
        } else {
            Naming::Torchvision
        }
    }

    /// The names of these field paths.
    ///
    /// # Errors
    /// Two of them have one name.
    fn names(self, entries: &[Entry]) -> Result<Vec<String>> {
        let names: Vec<String> = entries.iter().map(|entry| self.name(&entry.path)).collect();
        let mut known = BTreeMap::new();
        for (name, Entry { path, .. }) in names.iter().zip(entries) {
            let rule = match known.insert(name, path) {
                None => continue,
                Some(other) if other == path => "is that of two fields: give one of them another".to_owned(),
                Some(other) => format!(
                    "is that of the fields {other} and {path} in the file: rename one of them, or use torchvision's \
                     names"
                ),
            };
            return Err(Error::invalid("name", name, rule));
        }
        Ok(names)
    }
}

/// What a model's state dict has at a place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The field path.
    pub(crate) path: String,
    /// As in files.
    pub(crate) shape: Vec<usize>,
    /// Whether training moves it: a parameter.
    pub(crate) learned: bool,
    /// Whether files may lack it: a count of batches.
    pub(crate) optional: bool,
}

/// A model's leaves, in order.
pub(crate) fn entries<B: Backend>(model: &(impl Fields<B> + ?Sized)) -> Vec<Entry> {
    let mut entries = Vec::new();
    model.visit(&mut Path::default(), &mut |path, leaf| {
        let shape = match leaf {
            Leaf::Param(parameter) => parameter.file_shape(),
            Leaf::Statistic(statistic) => statistic.shape().dims().to_vec(),
            Leaf::Count(_) => Vec::new(),
        };
        let (learned, optional) = (matches!(leaf, Leaf::Param(_)), matches!(leaf, Leaf::Count(_)));
        entries.push(Entry { path: path.as_str().to_owned(), shape, learned, optional });
    });
    entries
}

impl std::str::FromStr for Naming {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "torchvision" => Ok(Naming::Torchvision),
            "pytorch-cifar" => Ok(Naming::PytorchCifar),
            _ => Err(Error::invalid("names", text, "must be torchvision or pytorch-cifar")),
        }
    }
}

/// The weights and statistics of a model, ready to be written.
///
/// # Errors
/// Two fields that have one name in this naming, and those of the device.
pub fn state_dict<B: Backend>(backend: &B, model: &(impl Fields<B> + ?Sized), naming: Naming) -> Result<Archive> {
    let mut archive = Archive::default();
    let mut result = Ok(());
    let mut names = naming.names(&entries(model))?.into_iter();
    model.visit(&mut Path::default(), &mut |path, leaf| {
        let Some(name) = names.next() else { return };
        let array = match leaf {
            Leaf::Param(parameter) => backend
                .download(parameter.value())
                .map(|values| Array::float(parameter.file_shape(), &parameter.layout().to_file(&values))),
            Leaf::Statistic(statistic) => backend
                .download(statistic.value())
                .map(|values| Array::float(statistic.shape().dims().to_vec(), &values)),
            Leaf::Count(count) => Ok(Array::count(count.get())),
        };
        match array {
            Ok(array) => drop(archive.arrays.insert(name, array)),
            Err(error) => result = Err(error.in_layer(path.as_str())),
        }
    });
    result.map(|()| archive)
}

/// Replaces the weights and statistics of a model by those of a file, in the naming under which the file has more of the
/// model's names. A count of batches that the file does not have stays as it is, as in PyTorch.
///
/// # Errors
/// Two fields of one name. Names that are missing, unexpected or of another shape are listed in one error; a number that is
/// not finite or a variance below 0 names its array. The model stays as it was.
pub fn load_state_dict<B: Backend>(
    backend: &B,
    model: &mut (impl Fields<B> + ?Sized),
    archive: &Archive,
) -> Result<()> {
    let expected = entries(model);
    let names = Naming::of_file(archive, &expected).names(&expected)?;
    check(&expected, &names, archive)?;
    let held = |name: String| Some(name).filter(|name| archive.arrays.contains_key(name));
    put(backend, model, archive, &names.into_iter().map(held).collect::<Vec<_>>())
}

/// Replaces each leaf of a model by the array of the name that stands for it, if one does, which has its shape.
///
/// # Errors
/// A number that is not finite, or a variance below 0. The model stays as it was.
pub(crate) fn put<B: Backend>(
    backend: &B,
    model: &mut (impl Fields<B> + ?Sized),
    archive: &Archive,
    names: &[Option<String>],
) -> Result<()> {
    // Everything is read and uploaded before anything of the model changes.
    let mut loaded = Vec::new();
    let mut result = Ok(());
    let mut left = names.iter();
    model.visit(&mut Path::default(), &mut |_, leaf| {
        let Some(name) = left.next() else { return };
        let array = name.as_ref().and_then(|name| Some((name, archive.arrays.get(name)?)));
        match array.map(|(name, array)| read(backend, array, leaf).map_err(|error| (name, error))).transpose() {
            Ok(value) => loaded.push(value),
            Err((name, error)) => result = Err(Error::StateDict(format!("{name}: {error}"))),
        }
    });
    result?;
    let mut loaded = loaded.into_iter();
    model.visit_mut(&mut Path::default(), &mut |_, leaf| {
        if matches!(leaf, LeafMut::Scope(_)) {
            return;
        }
        match (leaf, loaded.next().flatten()) {
            (LeafMut::Param(parameter), Some(Loaded::Values(values))) => *parameter.value_mut() = values,
            (LeafMut::Statistic(statistic), Some(Loaded::Values(values))) => *statistic.value_mut() = values,
            (LeafMut::Count(count), Some(Loaded::Count(value))) => count.set(value),
            _ => {}
        }
    });
    Ok(())
}

enum Loaded<V> {
    Values(V),
    Count(u64),
}

/// What an array is for a leaf.
fn read<B: Backend>(backend: &B, array: &Array, leaf: Leaf<'_, B>) -> Result<Loaded<Wide<B>>> {
    Ok(match leaf {
        Leaf::Param(parameter) => {
            let values = parameter.layout().from_file(&array.to_finite::<Accum<B>>(f64::NEG_INFINITY)?);
            Loaded::Values(backend.upload(&values)?)
        }
        Leaf::Statistic(statistic) => Loaded::Values(backend.upload(&array.to_finite::<Accum<B>>(statistic.least())?)?),
        Leaf::Count(_) => Loaded::Count(array.to_count()?),
    })
}

/// The most names of one kind that an error lists.
const LISTED: usize = 4;

/// Compares what a model has, under these names, with what a file has.
fn check(expected: &[Entry], names: &[String], archive: &Archive) -> Result<()> {
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for (entry, name) in expected.iter().zip(names) {
        match archive.arrays.get(name) {
            None if entry.optional => {}
            None => missing.push(name.clone()),
            Some(array) if array.shape != entry.shape => misshapen.push(other_shape(name, array, entry)),
            Some(_) => {}
        }
    }
    let known: BTreeSet<&String> = names.iter().collect();
    let unexpected = archive.arrays.keys().filter(|name| !known.contains(name)).cloned().collect();
    refuse([("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen)])
}

/// The words on an array whose shape is not the model's.
pub(crate) fn other_shape(name: &str, array: &Array, entry: &Entry) -> String {
    format!("{name} is {:?}, the model has {:?}", array.shape, entry.shape)
}

/// The error of what does not fit, by kind, if anything does not.
pub(crate) fn refuse<const N: usize>(problems: [(&str, Vec<String>); N]) -> Result<()> {
    let parts: Vec<String> = (problems.iter())
        .filter(|(_, names)| !names.is_empty())
        .map(|(kind, names)| {
            let more = names.len().saturating_sub(LISTED);
            let listed = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{} {kind} ({listed}{more})", names.len())
        })
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(Error::StateDict(format!("the weights do not fit the model: {}", parts.join("; "))))
}
