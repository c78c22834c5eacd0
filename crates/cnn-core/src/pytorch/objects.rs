//! What a pickle of weights is made of, and what the few functions that it calls make.

use std::rc::Rc;

use crate::{Error, Result};

/// What a pickle is made of. Lists and dictionaries are places in [`Pickle::containers`](super::pickle::Pickle::containers), as they are filled after they
/// were named, and may be named again.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Of a kind that is read and of no use here: floats, bytes, integers of more than 8 bytes, objects that are only data.
    Other,
    Text(Rc<str>),
    Tuple(usize),
    List(usize),
    Dict(usize),
    /// A class or function, `module.name`.
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
}

/// Elements in a file, which tensors are views of.
#[derive(Debug)]
pub(super) struct Storage {
    /// The class, which names the type: `FloatStorage`.
    pub(super) class: Rc<str>,
    /// Its name in the file.
    pub(super) key: Rc<str>,
}

/// A view of a storage, in elements.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) storage: Rc<Storage>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A tuple or list, without keys, or a dictionary.
#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) values: Vec<(Value, Value)>,
}

/// Objects that checkpoints have beside tensors. They are data: what they hold is skipped, and nothing of them is run.
pub(super) const DATA: [&str; 14] = [
    "__builtin__.set",
    "argparse.Namespace",
    "builtins.frozenset",
    "builtins.set",
    "collections.Counter",
    "_codecs.encode",
    "datetime.datetime",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.device",
];

pub(super) fn broken(message: impl Into<String>) -> Error {
    Error::StateDict(format!("not a PyTorch file of weights: {}", message.into()))
}

/// The error of a call that no state dict needs.
pub(super) fn refused(name: &str) -> Error {
    let class = name.rsplit('.').next().unwrap_or(name);
    let network =
        name.starts_with("torch.nn.modules.") || name.starts_with("torchvision.") || name.starts_with("timm.");
    let advice = if network && class.starts_with(char::is_uppercase) {
        "it holds a whole network with its code, of which torch.save(model.state_dict(), FILE) writes the weights"
    } else {
        "no weights need that, and no code of a file is run"
    };
    broken(format!("it calls {name}: {advice}"))
}

/// The storage that a persistent id names: `("storage", class, key, location, length)`.
pub(super) fn storage(id: &[Value]) -> Result<Storage> {
    match id {
        [Value::Text(kind), Value::Global(class), Value::Text(key), ..] if &**kind == "storage" => {
            let class = class.rsplit('.').next().unwrap_or_default().into();
            Ok(Storage { class, key: key.clone() })
        }
        _ => Err(broken("a persistent id that is no storage's")),
    }
}

/// A tensor from its storage, where it begins there, its sizes and its strides.
pub(super) fn tensor(storage: &Value, offset: &Value, shape: &[Value], strides: &[Value]) -> Result<Value> {
    let size = |value: &Value| match value {
        Value::Int(size) => usize::try_from(*size).map_err(|_| broken(format!("a tensor of size or stride {size}"))),
        _ => Err(broken("a tensor's size that is no number")),
    };
    let sizes = |values: &[Value]| values.iter().map(size).collect::<Result<Vec<_>>>();
    let Value::Storage(storage) = storage else { return Err(broken("a tensor without a storage")) };
    let (shape, strides) = (sizes(shape)?, sizes(strides)?);
    if shape.len() != strides.len() {
        return Err(broken(format!("a tensor of shape {shape:?} and strides {strides:?}")));
    }
    Ok(Value::Tensor(Rc::new(Tensor { storage: storage.clone(), offset: size(offset)?, shape, strides })))
}
