//! Initial values, as PyTorch draws them.

use crate::backend::{Accum, Backend};
use crate::element::Real;
use crate::nn::{Kind, Layout, Param};
use crate::rng::{Philox, Purpose};
use crate::{Result, Shape};

/// Where layers get their initial values from: a backend and a seed. Each parameter has its own random sequence.
#[derive(Debug)]
pub struct Init<'a, B: Backend> {
    backend: &'a B,
    seed: u64,
    drawn: u32,
}

impl<'a, B: Backend> Init<'a, B> {
    /// Values on `backend`, fixed by `seed`.
    pub fn new(backend: &'a B, seed: u64) -> Self {
        Init { backend, seed, drawn: 0 }
    }

    /// The device.
    pub fn backend(&self) -> &'a B {
        self.backend
    }

    /// Uniform in \[-1 / sqrt(fan_in), 1 / sqrt(fan_in)\]: what PyTorch's Conv2d and Linear start from, weight
    /// (`kaiming_uniform_` with a = sqrt(5)) and bias alike.
    pub fn uniform(&mut self, shape: Shape, fan_in: usize, kind: Kind, layout: Layout) -> Result<Param<B>> {
        let mut stream = Philox::new(self.seed, Purpose::Init, self.drawn, 0).stream();
        self.drawn += 1;
        let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
        let values: Vec<Accum<B>> =
            (0..shape.numel()).map(|_| Accum::<B>::from_f64(stream.range(-bound, bound))).collect();
        Ok(Param::new(self.backend.upload(&values)?, shape, kind, layout))
    }

    /// All values the same.
    pub fn constant(&mut self, shape: Shape, value: f64, kind: Kind) -> Result<Param<B>> {
        let values = self.backend.fill(shape.numel(), Accum::<B>::from_f64(value))?;
        Ok(Param::new(values, shape, kind, Layout::Same))
    }
}
