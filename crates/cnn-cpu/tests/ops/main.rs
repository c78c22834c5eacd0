//! Every operation but the convolution against the plain loops of `Naive<f64>`: on every instruction set of this CPU,
//! and to the bit on any number of threads.

mod elementwise;
mod images;
mod linear;
mod loss;
mod norm;
mod optim;
mod pool2d;

use std::sync::OnceLock;

use cnn_core::backend::{Accum, Backend, Data, Wide};
use cnn_core::rng::{Philox, Purpose};
use cnn_core::{Element, Plain, Real};
use cnn_cpu::{ConvAlgorithm, Cpu};

/// Widths around those of vectors.
pub(crate) const CHANNELS: [usize; 7] = [1, 3, 15, 16, 17, 33, 64];

/// A CPU of each instruction set and number of threads.
pub(crate) struct Cpus {
    pub(crate) f32: Vec<Vec<Cpu<f32>>>,
    pub(crate) f64: Vec<Vec<Cpu<f64>>>,
}

pub(crate) fn cpus() -> &'static Cpus {
    fn all<T: cnn_cpu::CpuElement>() -> Vec<Vec<Cpu<T>>> {
        let on = |cpu: Cpu<T>| [1, 2, 3, 4, 7].map(|threads| Cpu::with_isa(threads, cpu.isa()).unwrap()).to_vec();
        cnn_cpu::testing::cpus(1, ConvAlgorithm::Auto).into_iter().map(on).collect()
    }
    static CPUS: OnceLock<Cpus> = OnceLock::new();
    CPUS.get_or_init(|| Cpus { f32: all(), f64: all() })
}

/// Runs `$body`, which returns vectors of f64, with each backend as `$b`: the results may differ from those of
/// `Naive<f64>` by these relative errors (of the Euclidean norm) in f32 and f64, and not at all between numbers of
/// threads.
#[macro_export]
macro_rules! agree {
    ($what:expr, $tolerances:expr, |$b:ident| $body:expr) => {{
        let expected: Vec<Vec<f64>> = {
            let $b = &cnn_core::Naive::<f64>::new();
            $body
        };
        let [f32, f64]: [f64; 2] = $tolerances;
        $crate::agree!(@ $what, expected, &$crate::cpus().f32, f32, |$b| $body);
        $crate::agree!(@ $what, expected, &$crate::cpus().f64, f64, |$b| $body);
    }};
    (@ $what:expr, $expected:ident, $cpus:expr, $tolerance:expr, |$b:ident| $body:expr) => {
        for of_isa in $cpus {
            let mut first: Option<Vec<Vec<f64>>> = None;
            for $b in of_isa {
                let got: Vec<Vec<f64>> = $body;
                match &first {
                    None => {
                        $crate::close(&format!("{:?} {:?}", $what, $b), &got, &$expected, $tolerance);
                        first = Some(got);
                    }
                    Some(first) => $crate::same(&format!("{:?} {:?}", $what, $b), &got, first),
                }
            }
        }
    };
}

/// Expects relative errors of at most `tolerance`, and NaN where NaN is expected.
pub(crate) fn close(what: &str, got: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.len(), expected.len(), "{what}: length of result {i}");
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let odd = got.iter().zip(expected).position(|(g, e)| !(same_bits(*g, *e) || g.is_finite() && e.is_finite()));
        assert_eq!(odd, None, "{what}: result {i}, {:?}", odd.map(|at| (got[at], expected[at])));
        let finite = || got.iter().zip(expected).filter(|(_, e)| e.is_finite());
        let error = norm(&mut finite().map(|(g, e)| g - e));
        let size = norm(&mut finite().map(|(_, e)| *e));
        assert!(
            error <= tolerance * size,
            "{what}: result {i} is off by {:e}\n     got {:?}\nexpected {:?}",
            error / size,
            &got[..got.len().min(8)],
            &expected[..got.len().min(8)]
        );
    }
}

/// Expects the same bits, any NaN being like another.
pub(crate) fn same(what: &str, got: &[Vec<f64>], expected: &[Vec<f64>]) {
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let odd = got.iter().zip(expected).position(|(&g, &e)| !same_bits(g, e));
        assert!(odd.is_none(), "{what}: result {i} depends on the number of threads at {odd:?}");
    }
}

fn same_bits(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// `n` numbers of the standard normal distribution that are exact in f32.
pub(crate) fn normal(n: usize, seed: u32) -> Vec<f64> {
    let mut stream = Philox::new(u64::from(seed), Purpose::Test, n as u32, 0).stream();
    (0..n).map(|_| f64::from(stream.normal() as f32)).collect()
}

/// `n` whole numbers from -`limit` to `limit`.
pub(crate) fn whole(n: usize, limit: u32, seed: u32) -> Vec<f64> {
    let mut stream = Philox::new(u64::from(seed), Purpose::Test, n as u32, 1).stream();
    (0..n).map(|_| f64::from(stream.below(2 * limit + 1)) - f64::from(limit)).collect()
}

pub(crate) fn data<B: Backend>(b: &B, x: &[f64]) -> Data<B> {
    b.narrow(&wide(b, x)).unwrap()
}

pub(crate) fn wide<B: Backend>(b: &B, x: &[f64]) -> Wide<B> {
    b.upload(&x.iter().map(|&x| Accum::<B>::from_f64(x)).collect::<Vec<_>>()).unwrap()
}

/// A buffer's numbers as f64.
pub(crate) fn read<B: Backend, T: Number>(b: &B, x: &B::Buffer<T>) -> Vec<f64> {
    b.download(x).unwrap().into_iter().map(Number::number).collect()
}

/// What buffers hold.
pub(crate) trait Number: Plain {
    fn number(self) -> f64;
}

impl<E: Element> Number for E {
    fn number(self) -> f64 {
        self.to_accum().as_f64()
    }
}

pub(crate) fn read_u32<B: Backend>(b: &B, x: &B::Buffer<u32>) -> Vec<f64> {
    b.download(x).unwrap().into_iter().map(f64::from).collect()
}
