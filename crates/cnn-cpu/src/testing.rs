//! What tests need of the backend: one for every instruction set that this CPU has, with a word about those that it lacks, and
//! requests for memory that fail.

use std::env::var;
use std::sync::Once;

pub use crate::backend::OPERATIONS;

use crate::conv_algorithm::ConvAlgorithm;

use crate::device::Cpu;
use crate::element::CpuElement;
use crate::simd::{Isa, NAMES};

/// Every instruction set that this CPU has, narrowest first. The others are named on standard error as SKIPPED, once.
///
/// # Panics
/// The environment variable `CNN_REQUIRE_ISA` names one that this CPU lacks, or that does not exist.
pub fn isas() -> Vec<Isa> {
    static TOLD: Once = Once::new();
    let required = var("CNN_REQUIRE_ISA").ok();
    let (found, lacking) = match sort(|name| Isa::named(name).expect("one of the names"), required.as_deref()) {
        Ok(sorted) => sorted,
        Err(error) => panic!("{error}"),
    };
    TOLD.call_once(|| {
        for name in lacking {
            eprintln!("SKIPPED {name}: this CPU does not have it (CNN_REQUIRE_ISA={name} makes that a failure)");
        }
    });
    found
}

/// A backend of `threads` threads on each of [`isas`] that serves these elements otherwise than the one before it.
///
/// # Panics
/// As [`isas`], and where the system does not give the threads.
pub fn cpus<T: CpuElement>(threads: usize, conv: ConvAlgorithm) -> Vec<Cpu<T>> {
    let on = |isa| Cpu::with_algorithm(threads, isa, conv).expect("threads");
    let mut cpus: Vec<_> = isas().into_iter().map(on).collect();
    cpus.dedup_by_key(|cpu| cpu.isa().to_string()); // pairs of bf16 are of no use to other elements
    cpus
}

/// Makes request `n` for memory from now on fail, counted from 0, and all after it; none for none.
pub fn fail_from<T: CpuElement>(cpu: &Cpu<T>, n: Option<usize>) {
    cpu.pool().fail_from(n);
}

/// The instruction sets that `get` has, and the names of the others, unless one of these is required.
fn sort<I>(get: impl Fn(&str) -> Option<I>, required: Option<&str>) -> Result<(Vec<I>, Vec<&'static str>), String> {
    if let Some(required) = required.filter(|required| !NAMES.contains(required)) {
        return Err(format!("CNN_REQUIRE_ISA {required:?}: must be one of {}", NAMES.join(", ")));
    }
    let (mut found, mut lacking) = (Vec::new(), Vec::new());
    for name in NAMES {
        match get(name) {
            Some(isa) => found.push(isa),
            None if required == Some(name) => {
                return Err(format!("CNN_REQUIRE_ISA {name}: must be an instruction set that this CPU has"));
            }
            None => lacking.push(name),
        }
    }
    Ok((found, lacking))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_and_lacking_is_an_error() {
        let old = |name: &str| ["portable", "avx2"].contains(&name).then(|| name.to_owned());
        let (found, lacking) = sort(old, None).unwrap();
        assert_eq!(
            (found, lacking),
            (vec!["portable".to_owned(), "avx2".to_owned()], vec!["avx512", "avx512bf16", "amx"])
        );
        assert!(sort(old, Some("avx2")).is_ok());
        let error = sort(old, Some("avx512")).unwrap_err();
        assert_eq!(error, "CNN_REQUIRE_ISA avx512: must be an instruction set that this CPU has");
        let error = sort(old, Some("sse9")).unwrap_err();
        assert!(error.starts_with("CNN_REQUIRE_ISA \"sse9\": must be one of portable"), "{error}");
    }

    #[test]
    fn every_backend_is_another() {
        let names = |cpus: Vec<Isa>| cpus.iter().map(Isa::to_string).collect::<Vec<_>>();
        let of_f32: Vec<Isa> = cpus::<f32>(1, ConvAlgorithm::Auto).iter().map(Cpu::isa).collect();
        let (all, of_f32) = (names(isas()), names(of_f32));
        assert_eq!(all[0], "portable");
        assert_eq!(
            of_f32,
            all.iter().filter(|name| !["avx512bf16", "amx"].contains(&name.as_str())).cloned().collect::<Vec<_>>()
        );
    }
}
