//! Convolutions of random numbers, and what they give on a backend.

use cnn_core::backend::{
    Activation, Backend, Epilogue, Gradient, Input, Moments, Norm, NormGradient, NormMask, Rectifier, Uses,
};
use cnn_core::{Conv2dSpec, Element, Real};

use cnn_cpu::CpuElement;

/// A small generator for the tests: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn of<U: Copy>(&mut self, list: &[U]) -> U {
        list[self.below(list.len())]
    }

    pub(crate) fn integers<T: CpuElement>(&mut self, len: usize, most: usize) -> Vec<T> {
        (0..len).map(|_| element(self.below(2 * most + 1) as f64 - most as f64)).collect()
    }
}

/// The nearest element.
fn element<T: CpuElement>(value: f64) -> T {
    T::from_accum(T::Accum::from_f64(value))
}

/// The same number.
fn number<T: CpuElement>(x: T) -> f64 {
    x.to_accum().as_f64()
}

/// Coefficients, weights and biases.
type Wide<T> = Vec<<T as Element>::Accum>;
/// The coefficients dy_scale, x_scale, shift; x; scale and shift of the mask, and its rectifier.
type Back<T> = ([Wide<T>; 3], Vec<T>, Option<([Wide<T>; 2], Rectifier)>);
/// y, mean and variance, dx, dw.
pub(crate) type Results = [Vec<f64>; 5];

/// The host's side of one case.
pub(crate) struct Case<T: CpuElement> {
    pub(crate) spec: Conv2dSpec,
    pub(crate) x: Vec<T>,
    /// Scale, shift and rectifier of a normalisation of x, if there is one.
    norm: Option<(Wide<T>, Wide<T>, Rectifier)>,
    pub(crate) weight: Wide<T>,
    bias: Option<Wide<T>>,
    residual: Option<Vec<T>>,
    relu: bool,
    pub(crate) dy: Vec<T>,
    /// A normalisation behind dy, if there is one.
    back: Option<Back<T>>,
    add: Option<Vec<T>>,
}

impl<T: CpuElement> Case<T> {
    pub(crate) fn new(random: &mut Random, spec: Conv2dSpec) -> Self {
        let [input, output, weight] =
            [spec.input_shape(), spec.output_shape(), spec.weight_shape()].map(|shape| shape.iter().product::<usize>());
        let (c, k) = (spec.in_channels, spec.out_channels);
        let maybe = |random: &mut Random| random.below(2) == 0;
        let any = |random: &mut Random| Rectifier::ALL[random.below(3)];
        Case {
            spec,
            x: random.integers(input, 3),
            norm: maybe(random).then(|| (random.integers(c, 2), random.integers(c, 2), any(random))),
            weight: random.integers(weight, 3),
            bias: maybe(random).then(|| random.integers(k, 4)),
            residual: maybe(random).then(|| random.integers(output, 9)),
            relu: maybe(random),
            dy: random.integers(output, 3),
            back: maybe(random).then(|| {
                let coefficients = [random.integers(k, 2), random.integers(k, 1), random.integers(k, 1)];
                let mask = maybe(random).then(|| ([random.integers(k, 2), random.integers(k, 2)], any(random)));
                (coefficients, random.integers(output, 2), mask)
            }),
            add: maybe(random).then(|| random.integers(input, 4)),
        }
    }

    pub(crate) fn run<B: Backend<Elem = T, Moments = Moments<B>>>(&self, b: &B) -> Results {
        let data = |v: &[T]| b.upload(v).unwrap();
        let up = |v: &[T::Accum]| b.upload(v).unwrap();
        let spec = &self.spec;
        let x = match &self.norm {
            None => Input::Plain(data(&self.x)),
            Some((scale, shift, rectifier)) => Input::Norm(Norm {
                x: data(&self.x),
                scale: up(scale),
                shift: up(shift),
                channels: spec.in_channels,
                rectifier: *rectifier,
            }),
        };
        let dy = match &self.back {
            None => Gradient::Plain(data(&self.dy)),
            Some(([dy_scale, x_scale, shift], x, mask)) => Gradient::Norm(NormGradient {
                dy: data(&self.dy),
                x: data(x),
                dy_scale: up(dy_scale),
                x_scale: up(x_scale),
                shift: up(shift),
                mask: mask.as_ref().map(|([scale, shift], rectifier)| NormMask {
                    scale: up(scale),
                    shift: up(shift),
                    rectifier: *rectifier,
                }),
                channels: spec.out_channels,
            }),
        };
        fn down<B: Backend, U: CpuElement>(b: &B, buffer: &B::Buffer<U>) -> Vec<f64> {
            b.download(buffer).unwrap().into_iter().map(number).collect()
        }
        let filter = b.prepare_filter(spec, &up(&self.weight), Uses::Training).unwrap();
        let (bias, residual) = (self.bias.as_deref().map(up), self.residual.as_deref().map(data));
        let epilogue = Epilogue {
            bias: bias.as_ref(),
            residual: residual.as_ref(),
            activation: self.relu.then_some(Activation::Relu),
        };
        let (y, moments) = b.conv2d_moments(spec, &x, &filter, epilogue).unwrap();
        let dx = b.conv2d_backward_data(spec, &dy, &filter, self.add.as_deref().map(data)).unwrap();
        let dw = b.conv2d_backward_weight(spec, &dy, &x).unwrap();
        [down(b, &y), down(b, &moments.mean), down(b, &moments.variance), down(b, &dx), down(b, &dw)]
    }
}

impl<T: CpuElement> Case<T> {
    /// Makes the operands elements between -0.9 and 1.1, weights too.
    pub(crate) fn make_real(&mut self, random: &mut Random) {
        let mut draw = || element::<T>((random.next() >> 40) as f64 / f64::from(1 << 23) - 0.9);
        self.x.iter_mut().chain(&mut self.dy).for_each(|x| *x = draw());
        self.weight.iter_mut().for_each(|w| *w = draw().to_accum());
    }
}

/// What [`Case::run`] returns.
pub(crate) const OUTPUTS: [&str; 5] = ["y", "mean", "variance", "dx", "dw"];

/// The relative error of each output, as the Euclidean norm of the difference.
pub(crate) fn errors(got: &Results, expected: &Results) -> [f64; 5] {
    std::array::from_fn(|i| {
        let (got, expected) = (&got[i], &expected[i]);
        assert_eq!(got.len(), expected.len());
        let error: f64 = got.iter().zip(expected).map(|(g, e)| (g - e).powi(2)).sum();
        (error / expected.iter().map(|e| e * e).sum::<f64>().max(f64::MIN_POSITIVE)).sqrt()
    })
}

/// The same case in f64.
pub(crate) fn widened<T: CpuElement>(case: &Case<T>) -> Case<f64> {
    let data = |v: &Vec<T>| v.iter().map(|&x| number(x)).collect::<Vec<_>>();
    let wide = |v: &Wide<T>| v.iter().map(|&x| number(x)).collect::<Vec<_>>();
    Case {
        spec: case.spec,
        x: data(&case.x),
        norm: case.norm.as_ref().map(|(scale, shift, rectifier)| (wide(scale), wide(shift), *rectifier)),
        weight: wide(&case.weight),
        bias: case.bias.as_ref().map(wide),
        residual: case.residual.as_ref().map(data),
        relu: case.relu,
        dy: data(&case.dy),
        back: case.back.as_ref().map(|(coefficients, x, mask)| {
            let mask = mask.as_ref().map(|(mask, rectifier)| (mask.each_ref().map(wide), *rectifier));
            (coefficients.each_ref().map(wide), data(x), mask)
        }),
        add: case.add.as_ref().map(data),
    }
}

/// Mean and biased variance of each channel.
pub(crate) fn moments_of(y: &[f64], channels: usize) -> [Vec<f64>; 2] {
    let of = |c: usize| y.iter().skip(c).step_by(channels).copied();
    let n = (y.len() / channels) as f64;
    let means: Vec<f64> = (0..channels).map(|c| of(c).sum::<f64>() / n).collect();
    let variance = |c: usize| of(c).map(|y| (y - means[c]).powi(2)).sum::<f64>() / n;
    let variances = (0..channels).map(variance).collect();
    [means, variances]
}

pub(crate) fn cases(default: usize) -> usize {
    std::env::var("CNN_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}
