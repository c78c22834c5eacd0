//! The networks that recipes and weights files may name.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};

use cnn_core::nn::Module;
use cnn_core::{Backend, names};
use cnn_models::{Arch, Model};

use crate::{Error, Result};

type Build<B> = Box<dyn Fn(&B, u64, [usize; 3], usize) -> cnn_core::Result<Model<B>> + Send + Sync>;

/// Networks by name: those of `cnn-models`, and a program's own.
///
/// ```
/// use cnn_core::nn::{Conv2d, GlobalAvgPool2d, Init, Linear, Relu, Sequential, name_fields};
/// use cnn_core::{Conv2dOptions, Naive};
/// use cnn_train::Networks;
///
/// let networks = Networks::<Naive<f32>>::new().with("tiny", |backend, seed, [_, _, channels], classes| {
///     let init = &mut Init::new(backend, seed);
///     let conv = Conv2d::new(init, channels, 8, Conv2dOptions::square(3))?;
///     let mut model = Sequential::new().push(conv).push(Relu::default());
///     let model = model.push(GlobalAvgPool2d::default()).push(Linear::new(init, 8, classes)?);
///     let mut model = model;
///     name_fields(&mut model);
///     Ok(model)
/// });
/// assert!(networks.names().any(|name| name == "tiny"));
/// ```
pub struct Networks<B: Backend> {
    own: BTreeMap<String, Build<B>>,
}

impl<B: Backend> Default for Networks<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Backend> Networks<B> {
    /// Those of `cnn-models`.
    pub fn new() -> Self {
        Networks { own: BTreeMap::new() }
    }

    /// With one more, called `name`: recipes ask for it by that name, and weights files keep it. `build` makes the network
    /// from a backend, a seed that fixes its initial weights, the height, width and channels of an image, and the number
    /// of classes. Its logits are \[N, classes\].
    #[must_use]
    pub fn with<M: Module<B> + Send + 'static>(
        mut self,
        name: &str,
        build: impl Fn(&B, u64, [usize; 3], usize) -> cnn_core::Result<M> + Send + Sync + 'static,
    ) -> Self {
        let build = move |backend: &B, seed, image, classes| -> cnn_core::Result<Model<B>> {
            Ok(Box::new(build(backend, seed, image, classes)?))
        };
        self.own.insert(name.to_owned(), Box::new(build));
        self
    }

    /// The names that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str).chain(Arch::names().map(|name| name as &str))
    }

    /// Makes the network called `name`; of two by one name, the program's own.
    ///
    /// # Errors
    /// A name that is not known, and what the network refuses.
    pub fn build(&self, name: &str, backend: &B, seed: u64, image: [usize; 3], classes: usize) -> Result<Model<B>> {
        if let Some(build) = self.own.get(name) {
            return Ok(build(backend, seed, image, classes)?);
        }
        let Ok(arch) = name.parse::<Arch>() else {
            let rule = names::one_of(name, self.names());
            let own = "a program's own network is known to that program alone, by its Networks";
            return Err(Error::recipe("model", name, format!("{rule} ({own})")));
        };
        Ok(arch.build(backend, seed, image, classes)?)
    }

    /// How many weights the network called `name` has at least; 0 of a program's own, which are counted when they are
    /// made.
    pub(crate) fn least_parameters(&self, name: &str, image: [usize; 3], classes: usize) -> Option<usize> {
        match name.parse::<Arch>() {
            Ok(arch) if !self.own.contains_key(name) => arch.parameter_count(image, classes),
            _ => Some(0),
        }
    }
}

impl<B: Backend> Debug for Networks<B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
