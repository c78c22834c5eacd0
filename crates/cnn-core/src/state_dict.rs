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
    /// The name of a field path in this naming.
    pub fn name(self, path: &str) -> String {
        let component = |ours| match self {
            Naming::Torchvision => ours,
            Naming::PytorchCifar => RENAMED.iter().find(|names| names.0 == ours).map_or(ours, |names| names.1),
        };
        path.split('.').map(component).collect::<Vec<&str>>().join(".")
    }

    /// The naming under which a file has most of these field paths; torchvision's if they are equal.
    fn of_file(archive: &Archive, paths: &[String]) -> Self {
        let found =
            |naming: Naming| paths.iter().filter(|path| archive.arrays.contains_key(&naming.name(path))).count();
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
    fn names(self, paths: &[String]) -> Result<Vec<String>> {
        let names: Vec<String> = paths.iter().map(|path| self.name(path)).collect();
        let mut known = BTreeMap::new();
        for (name, path) in names.iter().zip(paths) {
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

/// The paths of a model's leaves, in order.
fn paths<B: Backend>(model: &(impl Fields<B> + ?Sized)) -> Vec<String> {
    let mut paths = Vec::new();
    model.visit(&mut Path::default(), &mut |path, _| paths.push(path.as_str().to_owned()));
    paths
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
    let mut names = naming.names(&paths(model))?.into_iter();
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
    let paths = paths(model);
    let mut names = Naming::of_file(archive, &paths).names(&paths)?.into_iter();
    let mut expected = Vec::new();
    model.visit(&mut Path::default(), &mut |_, leaf| {
        let Some(name) = names.next() else { return };
        let shape = match leaf {
            Leaf::Param(parameter) => parameter.file_shape(),
            Leaf::Statistic(statistic) => statistic.shape().dims().to_vec(),
            Leaf::Count(_) => Vec::new(),
        };
        expected.push((name, shape, matches!(leaf, Leaf::Count(_))));
    });
    check(&expected, archive)?;

    // Everything is read and uploaded before anything of the model changes.
    let mut loaded = Vec::new();
    let mut result = Ok(());
    let mut names = expected.iter().map(|(name, ..)| name);
    model.visit(&mut Path::default(), &mut |_, leaf| {
        let Some(name) = names.next() else { return };
        match read(backend, archive.arrays.get(name), leaf) {
            Ok(value) => loaded.push(value),
            Err(error) => result = Err(Error::StateDict(format!("{name}: {error}"))),
        }
    });
    result?;
    let mut loaded = loaded.into_iter();
    model.visit_mut(&mut Path::default(), &mut |_, leaf| match (leaf, &mut loaded) {
        (LeafMut::Scope(_), _) => {}
        (LeafMut::Param(parameter), loaded) => {
            if let Some(Loaded::Values(values)) = loaded.next() {
                *parameter.value_mut() = values;
            }
        }
        (LeafMut::Statistic(statistic), loaded) => {
            if let Some(Loaded::Values(values)) = loaded.next() {
                *statistic.value_mut() = values;
            }
        }
        (LeafMut::Count(count), loaded) => {
            if let Some(Loaded::Count(value)) = loaded.next() {
                count.set(value);
            }
        }
    });
    Ok(())
}

enum Loaded<V> {
    Values(V),
    Count(u64),
}

/// What the file has for a leaf; it has an array for all but counts.
fn read<B: Backend>(backend: &B, array: Option<&Array>, leaf: Leaf<'_, B>) -> Result<Loaded<Wide<B>>> {
    let numbers = |least| array.map_or_else(|| Ok(Vec::new()), |array| array.to_finite::<Accum<B>>(least));
    Ok(match leaf {
        Leaf::Param(parameter) => {
            let values = parameter.layout().from_file(&numbers(f64::NEG_INFINITY)?);
            Loaded::Values(backend.upload(&values)?)
        }
        Leaf::Statistic(statistic) => Loaded::Values(backend.upload(&numbers(statistic.least())?)?),
        Leaf::Count(count) => Loaded::Count(array.map_or(Ok(count.get()), Array::to_count)?),
    })
}

/// The most names of one kind that an error lists.
const LISTED: usize = 4;

/// Compares what a model has (name, shape, whether the file may lack it) with what a file has.
fn check(expected: &[(String, Vec<usize>, bool)], archive: &Archive) -> Result<()> {
    let mut problems = [Vec::new(), Vec::new(), Vec::new()];
    let [missing, unexpected, misshapen] = &mut problems;
    for (name, shape, optional) in expected {
        match archive.arrays.get(name) {
            None if *optional => {}
            None => missing.push(name.clone()),
            Some(array) if array.shape != *shape => {
                misshapen.push(format!("{name} is {:?}, the model has {shape:?}", array.shape));
            }
            Some(_) => {}
        }
    }
    let known: BTreeSet<&str> = expected.iter().map(|(name, ..)| name.as_str()).collect();
    unexpected.extend(archive.arrays.keys().filter(|name| !known.contains(name.as_str())).cloned());
    let parts: Vec<String> = (["missing", "unexpected", "of another shape"].iter().zip(&problems))
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
