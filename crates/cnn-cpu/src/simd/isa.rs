//! Which instruction set this process uses.

use std::env::{VarError, var};
use std::fmt::{Display, Formatter};

use cnn_core::{Error, Result};

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512::Avx512;
use super::portable::Portable;
use super::tiles::Tiles;
use super::{Simd, SimdKernel};

/// An instruction set that this CPU has: the only way to one is a detection.
#[derive(Clone, Copy, Debug)]
pub struct Isa(Set);

#[derive(Clone, Copy, Debug)]
enum Set {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The names that cap the choice, narrowest first.
pub(crate) const NAMES: [&str; 5] = ["portable", "avx2", "avx512", "avx512bf16", "amx"];

impl Isa {
    /// The best instruction set of this CPU, capped by the environment variable `CNN_ISA`. The cap holds for the kernels
    /// here; with `portable`, dense layers are computed by the crate matrixmultiply, which chooses by itself.
    ///
    /// # Errors
    /// The variable is none of `portable`, `avx2`, `avx512`, `avx512bf16`, `amx`.
    pub fn detect() -> Result<Isa> {
        match var("CNN_ISA") {
            Ok(name) => Isa::capped(&name),
            Err(VarError::NotPresent) => Isa::capped(NAMES[NAMES.len() - 1]),
            Err(VarError::NotUnicode(name)) => Isa::capped(&name.to_string_lossy()),
        }
    }

    /// The best instruction set of this CPU that is not above `cap`.
    ///
    /// # Errors
    /// `cap` is none of `portable`, `avx2`, `avx512`, `avx512bf16`, `amx`.
    pub fn capped(cap: &str) -> Result<Isa> {
        let Some(level) = NAMES.iter().position(|name| *name == cap) else {
            return Err(Error::invalid("CNN_ISA", format!("{cap:?}"), format!("must be one of {}", NAMES.join(", "))));
        };
        #[cfg(target_arch = "x86_64")]
        {
            // Who wants no tiles does not ask the system for them: leave is given to the whole process.
            if let (2.., Some(avx512)) = (level, Avx512::detect(level > 3)) {
                return Ok(Isa(Set::Avx512(if level > 2 { avx512 } else { avx512.without_dots() })));
            }
            if let (1.., Some(avx2)) = (level, Avx2::detect()) {
                return Ok(Isa(Set::Avx2(avx2)));
            }
        }
        let _ = level; // where there is nothing to choose
        Ok(Isa(Set::Portable(Portable::new())))
    }

    /// The instruction set of this name; none if this CPU does not have it.
    ///
    /// # Errors
    /// `name` is none of `portable`, `avx2`, `avx512`, `avx512bf16`, `amx`.
    pub fn named(name: &str) -> Result<Option<Isa>> {
        Ok(Some(Isa::capped(name)?).filter(|isa| isa.to_string() == name))
    }

    /// The same without the instructions for pairs of bf16, which are of no use to other elements.
    pub(crate) fn without_dots(self) -> Isa {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) => Isa(Set::Avx512(avx512.without_dots())),
            _ => self,
        }
    }

    /// Whether it is the one that is written in no processor's instructions.
    pub(crate) fn is_portable(self) -> bool {
        matches!(self.0, Set::Portable(_))
    }

    /// Whether there is an instruction for [`Bf16Vector::dot`](super::Bf16Vector::dot).
    pub(crate) fn dots(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) => avx512.dots(),
            _ => false,
        }
    }

    /// The unit that multiplies tiles of such pairs, if there is one.
    pub(crate) fn tiles(self) -> Option<Tiles> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) => avx512.tiles(),
            _ => None,
        }
    }

    /// Runs a kernel with this instruction set.
    #[inline]
    pub(crate) fn run<K: SimdKernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Portable(simd) => simd.outline(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(simd) => simd.outline(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(simd) => simd.outline(kernel),
        }
    }
}

impl Display for Isa {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Set::Portable(_) => NAMES[0],
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => NAMES[1],
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(avx512) => NAMES[2 + usize::from(avx512.dots()) + usize::from(avx512.tiles().is_some())],
        })
    }
}
