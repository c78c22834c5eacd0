//! Initial values, as PyTorch draws them.

use crate::backend::{Accum, Backend};
use crate::element::Real;
use crate::nn::{Kind, Layout, Param};
use crate::rng::{Philox, Purpose};
use crate::{Result, Shape};

/// What the weights of layers are drawn from. `fan_in` is how many products a layer's output sums; `fan_out` is a kernel's taps times
/// the layer's outputs, whatever the groups.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Draw {
    /// Uniform up to 1 / sqrt(fan_in) on both sides of 0: how PyTorch's layers begin (`kaiming_uniform_` with a = sqrt(5)).
    #[default]
    Uniform,
    /// Uniform up to 1 / sqrt(fan_out).
    UniformFanOut,
    /// Uniform up to sqrt(6 / fan_in): PyTorch's `kaiming_uniform_` (K. He et al., "Delving Deep into Rectifiers", 2015).
    HeUniform,
    /// Normal with deviation sqrt(2 / fan_in): PyTorch's `kaiming_normal_`.
    HeNormal,
    /// Normal with deviation sqrt(2 / fan_out): PyTorch's `kaiming_normal_` with `mode="fan_out"`.
    HeNormalFanOut,
    /// Normal with this deviation.
    Normal(f64),
}

/// Where layers get their initial values from: a backend and a seed. Each parameter has its own random sequence. What weights are drawn
/// from may change between one layer and the next.
#[derive(Debug)]
pub struct Init<'a, B: Backend> {
    /// The weights of convolutions.
    pub convolutions: Draw,
    /// The weights of dense layers.
    pub dense: Draw,
    /// Biases are 0, and not uniform up to 1 / sqrt(fan_in).
    pub zero_biases: bool,
    backend: &'a B,
    seed: u64,
    drawn: u32,
}

impl<'a, B: Backend> Init<'a, B> {
    /// Values on `backend`, fixed by `seed`, from what PyTorch's layers draw by themselves.
    pub fn new(backend: &'a B, seed: u64) -> Self {
        Init { convolutions: Draw::Uniform, dense: Draw::Uniform, zero_biases: false, backend, seed, drawn: 0 }
    }

    /// The device.
    pub fn backend(&self) -> &'a B {
        self.backend
    }

    /// Uniform in \[-1 / sqrt(fan_in), 1 / sqrt(fan_in)\]: what PyTorch's Conv2d and Linear start from, weight and bias alike.
    pub fn uniform(&mut self, shape: Shape, fan_in: usize, kind: Kind, layout: Layout) -> Result<Param<B>> {
        self.drawn(shape, Draw::Uniform, [fan_in, 0], kind, layout)
    }

    /// All values the same.
    pub fn constant(&mut self, shape: Shape, value: f64, kind: Kind) -> Result<Param<B>> {
        let values = self.backend.fill(shape.numel(), Accum::<B>::from_f64(value))?;
        Ok(Param::new(values, shape, kind, Layout::Same))
    }

    /// The weight of a layer of these \[`fan_in`, `fan_out`\].
    pub(crate) fn weight(&mut self, shape: Shape, draw: Draw, fans: [usize; 2], layout: Layout) -> Result<Param<B>> {
        self.drawn(shape, draw, fans, Kind::Weight, layout)
    }

    /// The bias of a layer's outputs.
    pub(crate) fn bias(&mut self, outputs: usize, fan_in: usize) -> Result<Param<B>> {
        let shape = Shape::new(&[outputs])?;
        match self.zero_biases {
            true => self.constant(shape, 0.0, Kind::Bias),
            false => self.uniform(shape, fan_in, Kind::Bias, Layout::Same),
        }
    }

    fn drawn(
        &mut self,
        shape: Shape,
        draw: Draw,
        [fan_in, fan_out]: [usize; 2],
        kind: Kind,
        layout: Layout,
    ) -> Result<Param<B>> {
        let mut stream = Philox::new(self.seed, Purpose::Init, self.drawn, 0).stream();
        self.drawn += 1;
        if !self.backend.computes() {
            let values = self.backend.fill(shape.numel(), Accum::<B>::from_f64(0.0))?;
            return Ok(Param::new(values, shape, kind, layout));
        }
        let over = |what: f64, fan: usize| (what / fan.max(1) as f64).sqrt();
        let (normal, reach) = match draw {
            Draw::Uniform => (false, 1.0 / (fan_in.max(1) as f64).sqrt()),
            Draw::UniformFanOut => (false, over(1.0, fan_out)),
            Draw::HeUniform => (false, over(6.0, fan_in)),
            Draw::HeNormal => (true, over(2.0, fan_in)),
            Draw::HeNormalFanOut => (true, over(2.0, fan_out)),
            Draw::Normal(deviation) => (true, deviation),
        };
        let mut value = || if normal { reach * stream.normal() } else { stream.range(-reach, reach) };
        let values: Vec<Accum<B>> = (0..shape.numel()).map(|_| Accum::<B>::from_f64(value())).collect();
        Ok(Param::new(self.backend.upload(&values)?, shape, kind, layout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv2d, Linear};
    use crate::{Conv2dOptions, Device, Naive};

    /// Mean, deviation and largest size of a parameter's values.
    fn moments(backend: &Naive<f64>, parameter: &Param<Naive<f64>>) -> [f64; 3] {
        let values = backend.download(parameter.value()).unwrap();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        [mean, variance.sqrt(), values.iter().fold(0.0, |most, value| value.abs().max(most))]
    }

    #[test]
    fn weights_have_the_moments_of_what_they_are_drawn_from() {
        let backend = Naive::<f64>::new();
        // Of 4 groups: 9 * 16 products for an output, 9 taps to 128 outputs.
        let options = Conv2dOptions::square(3).groups(4);
        for (draw, deviation, most) in [
            (Draw::Uniform, (1.0 / 144.0 / 3.0f64).sqrt(), (1.0 / 144.0f64).sqrt()),
            (Draw::UniformFanOut, (1.0 / 1152.0 / 3.0f64).sqrt(), (1.0 / 1152.0f64).sqrt()),
            (Draw::HeUniform, (2.0 / 144.0f64).sqrt(), (6.0 / 144.0f64).sqrt()),
            (Draw::HeNormal, (2.0 / 144.0f64).sqrt(), f64::INFINITY),
            (Draw::HeNormalFanOut, (2.0 / 1152.0f64).sqrt(), f64::INFINITY),
            (Draw::Normal(0.01), 0.01, f64::INFINITY),
        ] {
            let init = &mut Init::new(&backend, 0);
            (init.convolutions, init.dense, init.zero_biases) = (draw, draw, true);
            let conv = Conv2d::new(init, 64, 128, options).unwrap();
            let dense = Linear::new(init, 144, 1152).unwrap();
            for parameter in [&conv.weight, &dense.weight] {
                let [mean, got, largest] = moments(&backend, parameter);
                assert!(mean.abs() < 0.02 * deviation, "{draw:?}: mean {mean}");
                assert!((got / deviation - 1.0).abs() < 0.02, "{draw:?}: deviation {got}, not {deviation}");
                assert!(largest <= most && (most.is_infinite() || largest > 0.99 * most), "{draw:?}: up to {largest}");
            }
            for bias in [&conv.bias, &dense.bias] {
                assert_eq!(moments(&backend, bias.as_ref().unwrap()), [0.0; 3], "{draw:?}");
            }
        }
        let init = &mut Init::new(&backend, 0);
        let bias = Linear::new(init, 16, 1000).unwrap().bias.unwrap();
        let [_, _, largest] = moments(&backend, &bias);
        assert!(largest > 0.24 && largest <= 0.25, "up to {largest}");
    }
}
