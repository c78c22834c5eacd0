//! Pooling layers.

use crate::nn::{Module, Scope};
use crate::spec::Pool2dOptions;
use crate::{Backend, Result, Var};

/// Maximum over windows.
#[derive(Clone, Debug)]
pub struct MaxPool2d {
    /// The geometry.
    pub options: Pool2dOptions,
    scope: Scope,
}

/// Average over windows.
#[derive(Clone, Debug)]
pub struct AvgPool2d {
    /// The geometry.
    pub options: Pool2dOptions,
    scope: Scope,
}

/// Average over windows of an output of a given size.
#[derive(Clone, Debug)]
pub struct AdaptiveAvgPool2d {
    /// Rows and columns of the output.
    pub size: [usize; 2],
    scope: Scope,
}

/// Average over the image: \[N, H, W, C\] to \[N, 1, 1, C\].
#[derive(Clone, Debug, Default)]
pub struct GlobalAvgPool2d {
    scope: Scope,
}

impl MaxPool2d {
    /// Maximum over windows of this geometry.
    pub fn new(options: Pool2dOptions) -> Self {
        MaxPool2d { options, scope: Scope::default() }
    }
}

impl AvgPool2d {
    /// Average over windows of this geometry.
    pub fn new(options: Pool2dOptions) -> Self {
        AvgPool2d { options, scope: Scope::default() }
    }
}

impl AdaptiveAvgPool2d {
    /// Average to so many rows and columns.
    pub fn new(size: [usize; 2]) -> Self {
        AdaptiveAvgPool2d { size, scope: Scope::default() }
    }
}

/// A module without fields whose forward pass is one method of [`Var`].
macro_rules! stateless {
    ($($module:ident: |$self:ident, $x:ident| $forward:expr;)*) => { $(
        crate::named_fields!($module);
        impl<B: Backend> Module<B> for $module {
            fn forward(&mut $self, $x: &Var<B>) -> Result<Var<B>> {
                $forward
            }
        }
    )* };
}
pub(crate) use stateless;

stateless! {
    MaxPool2d: |self, x| x.max_pool2d(&self.options);
    AvgPool2d: |self, x| x.avg_pool2d(&self.options);
    AdaptiveAvgPool2d: |self, x| x.adaptive_avg_pool2d(self.size);
    GlobalAvgPool2d: |self, x| x.global_avg_pool2d();
}
