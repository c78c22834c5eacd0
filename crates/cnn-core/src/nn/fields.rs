//! One walk over a model's fields, whose names are its state-dict keys.

use std::sync::Arc;

use crate::Backend;
use crate::nn::param::{Count, Param, Statistic};
use crate::tape::Identity;

/// A state-dict path while a model is walked: `layer1.0.conv1`.
#[derive(Clone, Debug, Default)]
pub struct Path(String);

impl Path {
    /// Runs `f` one field deeper.
    pub fn within<T>(&mut self, field: &str, f: impl FnOnce(&mut Path) -> T) -> T {
        let outer = self.0.len();
        if outer > 0 {
            self.0.push('.');
        }
        self.0.push_str(field);
        let result = f(self);
        self.0.truncate(outer);
        result
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The path of a module, which [`name_fields`] fills in.
#[derive(Clone, Debug, Default)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The path as text; empty for the model itself.
    pub fn path(&self) -> &str {
        &self.0
    }
}

/// What a walk meets at the ends.
#[derive(Debug)]
pub enum Leaf<'a, B: Backend> {
    /// A learned array.
    Param(&'a Param<B>),
    /// A running mean or variance.
    Statistic(&'a Statistic<B>),
    /// A count of batches.
    Count(Count),
}

/// What a walk that may change things meets.
#[derive(Debug)]
pub enum LeafMut<'a, B: Backend> {
    /// A learned array.
    Param(&'a mut Param<B>),
    /// A running mean or variance.
    Statistic(&'a mut Statistic<B>),
    /// A count of batches.
    Count(&'a mut Count),
    /// The path of the module that is being entered.
    Scope(&'a mut Scope),
}

/// Something with named fields down to parameters and statistics; [`named_fields!`](crate::named_fields) implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its fields are called",
    note = "a module has a field `scope: Scope`, and `named_fields!({Self} {{ field, .. }})` lists its other fields; \
            `named_fields!({Self})` is for one without any and of no backend in particular"
)]
pub trait Fields<B: Backend> {
    /// Visits every leaf in order of declaration.
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>));
    /// Visits every leaf in order of declaration, and every module's scope before its leaves.
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>));
    /// Where this module is in its model.
    fn scope(&self) -> &Scope {
        static NOWHERE: std::sync::LazyLock<Scope> = std::sync::LazyLock::new(Scope::default);
        &NOWHERE
    }
}

impl<B: Backend> Fields<B> for Param<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        f(path, Leaf::Param(self));
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        f(path, LeafMut::Param(self));
    }
}

impl<B: Backend> Fields<B> for Statistic<B> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        f(path, Leaf::Statistic(self));
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        f(path, LeafMut::Statistic(self));
    }
}

impl<B: Backend> Fields<B> for Count {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        f(path, Leaf::Count(*self));
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        f(path, LeafMut::Count(self));
    }
}

impl<B: Backend, T: Fields<B>> Fields<B> for Option<T> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        if let Some(field) = self {
            field.visit(path, f);
        }
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        if let Some(field) = self {
            field.visit_mut(path, f);
        }
    }
}

impl<B: Backend, T: Fields<B>> Fields<B> for Vec<T> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        for (index, field) in self.iter().enumerate() {
            path.within(&index.to_string(), |path| field.visit(path, f));
        }
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        for (index, field) in self.iter_mut().enumerate() {
            path.within(&index.to_string(), |path| field.visit_mut(path, f));
        }
    }
}

impl<B: Backend, T: Fields<B> + ?Sized> Fields<B> for Box<T> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Leaf<'a, B>)) {
        (**self).visit(path, f);
    }
    fn visit_mut<'a>(&'a mut self, path: &mut Path, f: &mut dyn FnMut(&Path, LeafMut<'a, B>)) {
        (**self).visit_mut(path, f);
    }
    fn scope(&self) -> &Scope {
        (**self).scope()
    }
}

/// Implements [`Fields`](crate::nn::Fields), which every module needs, for a struct with a field `scope: Scope`, from the
/// names of its other fields: `named_fields!(BasicBlock { conv1, bn1, conv2, bn2, downsample })`; `field as "0"` gives a field
/// another name. The names are the keys of the state dict. The constructor ends with
/// [`name_fields`](crate::nn::name_fields), which tells every layer its path.
///
/// A layer that learns nothing has no other fields to name, and is of no backend in particular:
///
/// ```
/// use cnn_core::nn::{Module, Scope};
/// use cnn_core::{Backend, Result, Var, named_fields};
///
/// #[derive(Default)]
/// struct Twice {
///     scope: Scope,
/// }
///
/// named_fields!(Twice);
///
/// impl<B: Backend> Module<B> for Twice {
///     fn forward(&mut self, x: &Var<B>) -> Result<Var<B>> {
///         x.add(x)
///     }
/// }
/// ```
#[macro_export]
macro_rules! named_fields {
    ($module:ident) => {
        $crate::named_fields! { @fields of $module: }
    };
    ($module:ident { $($field:ident $(as $name:literal)?),* $(,)? }) => {
        $crate::named_fields! { @fields of $module<B>: $($field $(as $name)?),* }
    };
    (@fields of $module:ty: $($field:ident $(as $name:literal)?),*) => {
        impl<B: $crate::Backend> $crate::nn::Fields<B> for $module {
            fn visit<'a>(
                &'a self,
                path: &mut $crate::nn::Path,
                f: &mut dyn FnMut(&$crate::nn::Path, $crate::nn::Leaf<'a, B>),
            ) {
                let _ = (&path, &f);
                $( path.within($crate::named_fields!(@name $field $($name)?), |path| {
                    $crate::nn::Fields::<B>::visit(&self.$field, path, f)
                }); )*
            }
            fn visit_mut<'a>(
                &'a mut self,
                path: &mut $crate::nn::Path,
                f: &mut dyn FnMut(&$crate::nn::Path, $crate::nn::LeafMut<'a, B>),
            ) {
                f(path, $crate::nn::LeafMut::Scope(&mut self.scope));
                $( path.within($crate::named_fields!(@name $field $($name)?), |path| {
                    $crate::nn::Fields::<B>::visit_mut(&mut self.$field, path, f)
                }); )*
            }
            fn scope(&self) -> &$crate::nn::Scope {
                &self.scope
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}

/// Gives every module its path, and every parameter its name and key; a model's constructor ends with it.
pub fn name_fields<B: Backend>(model: &mut (impl Fields<B> + ?Sized)) {
    let (mut keys, id) = (0, Identity::default());
    model.visit_mut(&mut Path::default(), &mut |path, leaf| match leaf {
        LeafMut::Scope(scope) => scope.0 = path.as_str().into(),
        LeafMut::Param(parameter) => {
            parameter.set_name(path.as_str(), keys, &id);
            keys += 1;
        }
        LeafMut::Statistic(_) | LeafMut::Count(_) => {}
    });
}

/// The parameters of a model, in the order of their keys.
pub fn parameters<B: Backend>(model: &(impl Fields<B> + ?Sized)) -> Vec<&Param<B>> {
    let mut found = Vec::new();
    model.visit(&mut Path::default(), &mut |_, leaf| {
        if let Leaf::Param(parameter) = leaf {
            found.push(parameter);
        }
    });
    found
}

/// The parameters of a model to be changed, in the order of their keys.
pub fn parameters_mut<B: Backend>(model: &mut (impl Fields<B> + ?Sized)) -> Vec<&mut Param<B>> {
    let mut found = Vec::new();
    model.visit_mut(&mut Path::default(), &mut |_, leaf| {
        if let LeafMut::Param(parameter) = leaf {
            found.push(parameter);
        }
    });
    found
}

/// Freezes the running statistics of every normalisation in a model or a part of one, or thaws them: what a backbone that
/// is fine-tuned on small batches wants, beside parameters that [require no gradient](Param::set_requires_grad).
pub fn freeze_statistics<B: Backend>(model: &mut (impl Fields<B> + ?Sized), frozen: bool) {
    model.visit_mut(&mut Path::default(), &mut |_, leaf| {
        if let LeafMut::Statistic(statistic) = leaf {
            statistic.set_frozen(frozen);
        }
    });
}
