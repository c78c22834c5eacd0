//! Reading the fixtures, and the numbers that they leave out.

use std::path::PathBuf;

use cnn_core::archive::{Archive, Array};
use cnn_core::backend::Accum;
use cnn_core::nn::Fields;
use cnn_core::rng::{Philox, Purpose};
use cnn_core::state_dict::{Naming, load_state_dict, state_dict};
use cnn_core::{Backend, Real, Tensor};
use serde_json::Value;

/// The bytes of a fixture.
pub(super) fn bytes(file: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "golden", file].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fixture: named cases in its metadata, and arrays `case/what`.
pub(super) struct Golden(Archive);

impl Golden {
    /// The fixture in this file.
    pub(super) fn open(file: &str) -> Self {
        Golden(Archive::from_bytes(&bytes(file)).unwrap_or_else(|error| panic!("{file}: {error}")))
    }

    /// What the metadata holds.
    pub(super) fn cases(&self) -> &serde_json::Map<String, Value> {
        self.0.metadata["cases"].as_object().expect("cases by name")
    }

    /// An array that must be there.
    pub(super) fn array(&self, name: &str) -> Vec<f64> {
        self.0.arrays.get(name).unwrap_or_else(|| panic!("the fixture has no {name}")).to_float().expect("numbers")
    }

    /// Names and arrays `prefix/name`.
    pub(super) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Vec<f64>)> {
        let arrays = self.0.arrays.iter();
        arrays.filter_map(move |(name, array)| {
            let name = name.strip_prefix(prefix)?.strip_prefix('/')?;
            Some((name, array.to_float().expect("numbers")))
        })
    }
}

/// A whole number of a case.
pub(super) fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no whole number")) as usize
}

/// The whole numbers of a case.
pub(super) fn numbers<const N: usize>(value: &Value) -> [usize; N] {
    let all: Vec<usize> = value.as_array().expect("a list").iter().map(number).collect();
    all.try_into().unwrap_or_else(|all| panic!("{all:?} are not {N}"))
}

fn words(name: &str, n: usize) -> impl Iterator<Item = u32> {
    let hash = |key: u64, byte: u8| (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let mut stream = Philox::new(name.bytes().fold(0xCBF2_9CE4_8422_2325, hash), Purpose::Test, 0, 0).stream();
    (0..n).map(move |_| stream.next_u32())
}

/// Multiples of 2^-19 in [-1, 1): the numbers that the name stands for.
pub(super) fn noise(name: &str, n: usize) -> Vec<f64> {
    words(name, n).map(|word| f64::from(word >> 12) / f64::from(1 << 19) - 1.0).collect()
}

/// The labels that the name stands for.
pub(super) fn labels(name: &str, n: usize, classes: usize) -> Vec<u32> {
    words(name, n).map(|word| word % classes as u32).collect()
}

/// Gives a model the weights that its state-dict names, behind `prefix`, stand for.
pub(super) fn initialise<B: Backend>(
    backend: &B,
    model: &mut (impl Fields<B> + ?Sized),
    prefix: &str,
) -> cnn_core::Result<()> {
    let mut archive = state_dict(backend, model, Naming::Torchvision)?;
    archive.arrays.iter_mut().for_each(|(name, array)| *array = initial(&format!("{prefix}{name}"), &array.shape));
    load_state_dict(backend, model, &archive)
}

/// The value that a state-dict entry starts from, in PyTorch's layout.
pub(super) fn initial(name: &str, shape: &[usize]) -> Array {
    if name.ends_with("num_batches_tracked") {
        return Array::count(0);
    }
    let mut values = noise(name, shape.iter().product());
    let fan_in: usize = shape.iter().skip(1).product();
    let mut scale = 1.0;
    while scale * scale * fan_in as f64 > 6.0 {
        scale /= 2.0;
    }
    values.iter_mut().for_each(|v| {
        *v = match name {
            _ if name.ends_with("running_mean") => *v / 4.0,
            _ if name.ends_with("running_var") => 1.0 + *v / 2.0,
            _ if shape.len() > 1 => *v * scale,
            _ if name.ends_with("weight") => 1.0 + *v / 4.0,
            _ => *v / 8.0,
        }
    });
    Array::float(shape.to_vec(), &values)
}

/// Norm, two projections and up to 64 elements.
pub(super) fn digest(values: &[f64]) -> Vec<f64> {
    let project = |i| noise(&format!("probe {i}"), values.len()).iter().zip(values).map(|(a, b)| a * b).sum();
    let elements = values.iter().step_by(values.len().div_ceil(64)).copied();
    [norm(values), project(0), project(1)].into_iter().chain(elements).collect()
}

pub(super) fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Refuses `got` when its distance from `expected` exceeds `bound` times the larger of the norm of `expected` and
/// `least`.
pub(super) fn close(what: &str, got: &[f64], expected: &[f64], bound: f64, least: f64) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{what}: got {} numbers, expected {}", got.len(), expected.len()));
    }
    let apart: Vec<f64> = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).collect();
    let (error, scale) = (norm(&apart), norm(expected).max(least));
    if error <= bound * scale {
        return Ok(());
    }
    let worst = (0..apart.len()).max_by(|&a, &b| apart[a].total_cmp(&apart[b])).unwrap_or(0);
    let relative = error / scale;
    let (got, expected) = (got[worst], expected[worst]);
    Err(format!(
        "{what}[{worst}]: got {got:?}, expected {expected:?} (relative error {relative:.2e}, bound {bound:.0e})"
    ))
}

/// As [`close`] for an array of which a digest is expected: the norm and each projection are off by at most `bound`
/// times the norm, and so are the elements, taken for what they are of the norm.
pub(super) fn close_digest(what: &str, got: &[f64], expected: &[f64], bound: f64) -> Result<(), String> {
    let (n, got) = (got.len(), digest(got));
    if got.len() != expected.len() {
        return Err(format!("{what}: {n} numbers have a digest of {}, expected {}", got.len(), expected.len()));
    }
    let norm = expected[0];
    for (i, part) in ["norm of ", "first projection of ", "second projection of "].into_iter().enumerate() {
        close(&format!("{part}{what}"), &got[i..=i], &expected[i..=i], bound, norm)?;
    }
    let share = ((expected.len() - 3) as f64 / n as f64).sqrt();
    close(&format!("elements of {what}"), &got[3..], &expected[3..], bound, norm * share)
}

/// Numbers in the precision of a backend.
pub(super) fn accum<B: Backend>(values: &[f64]) -> Vec<Accum<B>> {
    values.iter().map(|&v| Accum::<B>::from_f64(v)).collect()
}

/// Numbers on a backend.
pub(super) fn tensor<B: Backend>(backend: &B, shape: &[usize], values: &[f64]) -> cnn_core::Result<Tensor<B>> {
    Tensor::from_slice(backend, shape, &accum::<B>(values))
}

/// Numbers back in f64.
pub(super) fn wide<A: Real>(values: Vec<A>) -> Vec<f64> {
    values.into_iter().map(Real::as_f64).collect()
}
