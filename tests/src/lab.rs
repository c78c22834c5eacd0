//! Where a case runs: it draws numbers, hands them to a backend and collects what comes back.
//!
//! The numbers depend on the case's seed only, so every backend is given the same ones: rounded to the element of the
//! backend under test, also for the oracle, which would otherwise be asked about different data.

use cnn_core::backend::{Affine, Data, Norm, Rectifier, Running, Wide};
use cnn_core::rng::{Philox, Purpose, Stream};
use cnn_core::{Backend, BatchNormSpec, Element, Real, Result};

/// What the drawn numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Uniform between -1 and 1, with all the digits of the element.
    Real,
    /// Integers from -3 to 3: sums of their products are exact in any order.
    Integers,
}

/// How an output is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Bit for bit.
    Exact,
    /// Bit for bit where the inputs are integers: sums of products.
    ExactOnIntegers,
    /// Within the bound of the element.
    Close,
}

/// One result of a case, on the host.
#[derive(Clone, Debug)]
pub struct Output {
    /// What it is.
    pub name: &'static str,
    /// Its values.
    pub values: Vec<f64>,
    /// How it is compared.
    pub rule: Rule,
    /// The least norm that errors are relative to, for values that are differences of larger ones.
    pub scale: f64,
}

impl Output {
    /// Compared bit for bit.
    pub fn exact(&mut self) -> &mut Self {
        self.rule = Rule::Exact;
        self
    }

    /// Compared within the bound.
    pub fn close(&mut self) -> &mut Self {
        self.rule = Rule::Close;
        self
    }

    /// Errors are relative to at least `scale` per element (root mean square).
    pub fn relative_to(&mut self, scale: f64) -> &mut Self {
        self.scale = scale * (self.values.len() as f64).sqrt();
        self
    }
}

/// A backend with a source of numbers and the outputs so far.
#[derive(Debug)]
pub struct Lab<'a, B: Backend> {
    backend: &'a B,
    kind: Kind,
    round: fn(f64) -> f64,
    stream: Stream,
    outputs: Vec<Output>,
}

/// The nearest number that `E` has.
pub(crate) fn round_to<E: Element>(value: f64) -> f64 {
    E::from_accum(E::Accum::from_f64(value)).to_accum().as_f64()
}

/// The root mean square.
pub(crate) fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

impl<'a, B: Backend> Lab<'a, B> {
    /// A lab whose numbers are named by `seed`, rounded by `round`.
    pub fn new(backend: &'a B, kind: Kind, round: fn(f64) -> f64, seed: u32) -> Self {
        let stream = Philox::new(u64::from(seed), Purpose::Test, 0, 0).stream();
        Lab { backend, kind, round, stream, outputs: Vec::new() }
    }

    /// What ran is over.
    pub fn into_outputs(self) -> Vec<Output> {
        self.outputs
    }

    /// The device.
    pub fn backend(&self) -> &'a B {
        self.backend
    }

    /// What the numbers are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Random choices that are not data.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The nearest number of the element under test.
    pub fn round(&self, value: f64) -> f64 {
        (self.round)(value)
    }

    /// Numbers of either sign.
    pub fn numbers(&mut self, n: usize) -> Vec<f64> {
        let (kind, round) = (self.kind, self.round);
        let draw = |_| match kind {
            Kind::Real => round(self.stream.range(-1.0, 1.0)),
            Kind::Integers => f64::from(self.stream.below(7)) - 3.0,
        };
        (0..n).map(draw).collect()
    }

    /// Numbers well above zero: from 0.5 to 1.5, or 1 and 2.
    pub fn positive(&mut self, n: usize) -> Vec<f64> {
        let (kind, round) = (self.kind, self.round);
        let draw = |_| match kind {
            Kind::Real => round(self.stream.range(0.5, 1.5)),
            Kind::Integers => f64::from(self.stream.below(2)) + 1.0,
        };
        (0..n).map(draw).collect()
    }

    /// `x` \[.., channels\] moved so that no `x * scale + shift` is near the kink of a ReLU or the other one of a ReLU6, where rounding
    /// decides the side. Integers stay as they are: they hit the kinks exactly.
    pub fn away_from_the_kinks(&self, mut x: Vec<f64>, scale: &[f64], shift: &[f64]) -> Vec<f64> {
        if self.kind == Kind::Real {
            for (i, x) in x.iter_mut().enumerate() {
                let (scale, shift) = (scale[i % scale.len()], shift[i % shift.len()]);
                let y = *x * scale + shift;
                if y.abs() < 0.02 || (y - 6.0).abs() < 0.02 {
                    *x = self.round(*x + 0.25);
                }
            }
        }
        x
    }

    /// Activations on the device.
    pub fn data(&self, values: &[f64]) -> Result<Data<B>> {
        let elements: Vec<B::Elem> =
            values.iter().map(|&v| B::Elem::from_accum(<B::Elem as Element>::Accum::from_f64(v))).collect();
        self.backend.upload(&elements)
    }

    /// Parameters or statistics on the device.
    pub fn wide(&self, values: &[f64]) -> Result<Wide<B>> {
        let elements: Vec<_> = values.iter().map(|&v| <B::Elem as Element>::Accum::from_f64(v)).collect();
        self.backend.upload(&elements)
    }

    /// Numbers that a rectifier bounds at each of its ends.
    pub fn numbers_for(&mut self, rectifier: Rectifier, n: usize) -> Vec<f64> {
        let mut numbers = self.numbers(n);
        if (self.kind, rectifier) == (Kind::Real, Rectifier::Relu6) {
            numbers.iter_mut().for_each(|number| *number = self.round(10.0 * *number));
        }
        numbers
    }

    /// A normalisation of drawn activations, clear of its rectifier's kinks.
    pub fn norm(&mut self, numel: usize, channels: usize, rectifier: Rectifier) -> Result<Norm<B>> {
        let (scale, shift) = (self.positive(channels), self.numbers(channels));
        let x = self.numbers_for(rectifier, numel);
        let x = self.away_from_the_kinks(x, &scale, &shift);
        Ok(Norm { x: self.data(&x)?, scale: self.wide(&scale)?, shift: self.wide(&shift)?, channels, rectifier })
    }

    /// Activations came out; by default they are sums of products.
    pub fn report(&mut self, name: &'static str, data: &Data<B>) -> Result<&mut Output> {
        let values = self.backend.download(data)?;
        Ok(self.push(name, values.into_iter().map(|v| v.to_accum().as_f64()).collect(), Rule::ExactOnIntegers))
    }

    /// Parameters or statistics came out; by default they are sums of products.
    pub fn report_wide(&mut self, name: &'static str, data: &Wide<B>) -> Result<&mut Output> {
        let values = self.backend.download(data)?;
        Ok(self.push(name, values.into_iter().map(|v| v.as_f64()).collect(), Rule::ExactOnIntegers))
    }

    /// Moments of `rows` rows came out: their mean, and their unbiased variance where it is finite, else 0; as a normalisation
    /// takes them, which alone can read them.
    pub fn moments(&self, moments: &B::Moments, rows: usize, channels: usize) -> Result<[Wide<B>; 2]> {
        let list = |value: f64| self.backend.fill(channels, <B::Elem as Element>::Accum::from_f64(value));
        let (gamma, beta, mut mean, mut variance) = (list(1.0)?, list(0.0)?, list(0.0)?, list(0.0)?);
        let (spec, affine) = (BatchNormSpec { rows, channels, eps: 1.0 }, Affine { gamma: &gamma, beta: &beta });
        let running = Running { mean: &mut mean, variance: &mut variance, momentum: 1.0 };
        let stats = self.backend.batch_norm_train(&spec, moments, affine, running)?;
        Ok([stats.mean, variance])
    }

    /// Indices or counts came out.
    pub fn report_indices(&mut self, name: &'static str, data: &B::Buffer<u32>) -> Result<&mut Output> {
        let values = self.backend.download(data)?;
        Ok(self.push(name, values.into_iter().map(f64::from).collect(), Rule::Exact))
    }

    /// Something was found out that is no data: an error where one is due, the length of a buffer.
    pub fn report_fact(&mut self, name: &'static str, fact: impl Into<f64>) {
        self.push(name, vec![fact.into()], Rule::Exact);
    }

    fn push(&mut self, name: &'static str, values: Vec<f64>, rule: Rule) -> &mut Output {
        self.outputs.push(Output { name, values, rule, scale: 0.0 });
        self.outputs.last_mut().expect("one was just pushed")
    }
}
