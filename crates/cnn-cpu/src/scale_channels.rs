//! Images times a factor for each channel of each of them, the channels as the lanes.
//!
//! The gradient of a factor is a sum over its image, so the way back is parallel over images: one pass reads the image and its
//! gradient, writes the one and sums the other.

use cnn_core::Result;
use cnn_core::backend::{Data, ScaleSpec, check};

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::elementwise::Convert;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::sums::{Terms, add_rows};
use crate::threads::{CHUNK, chunks};
use crate::update::Update;

pub(crate) fn scale_channels<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &ScaleSpec,
    x: Data<Cpu<T>>,
    factors: &Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    let [len, factors_len] = spec.lengths()?;
    check::length("the input", x.len(), len)?;
    check::length("the factors", factors.len(), factors_len)?;
    let rows = (CHUNK / spec.channels.max(1)).max(1);
    let mut update = Update::new(cpu, x)?;
    cpu.for_each_part(update.parts(rows * spec.channels.max(1))?, |i, x: &mut [T]| {
        cpu.run(Scale { spec, first: i * rows, factors: factors.as_slice(), x });
    });
    Ok(update.done())
}

/// Pixels (of all images) from `first` on.
struct Scale<'a, T> {
    spec: &'a ScaleSpec,
    first: usize,
    factors: &'a [T],
    x: &'a mut [T],
}

impl<T: CpuElement> SimdKernel for Scale<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Scale { spec: &ScaleSpec { pixels, channels, .. }, first, factors, x } = self;
        for (row, x) in x.chunks_exact_mut(channels).enumerate() {
            let factors = &factors[(first + row) / pixels * channels..][..channels];
            for c in (0..channels).step_by(V::<T, S>::LANES) {
                let product = T::read(simd, &x[c..]).mul(T::read(simd, &factors[c..]));
                T::write::<S>(product, &mut x[c..]);
            }
        }
    }
}

/// Of the images and of the factors.
type Gradients<T> = (Data<Cpu<T>>, Data<Cpu<T>>);

pub(crate) fn scale_channels_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &ScaleSpec,
    dy: Data<Cpu<T>>,
    x: &Data<Cpu<T>>,
    factors: &Data<Cpu<T>>,
) -> Result<Gradients<T>> {
    let [len, factors_len] = spec.lengths()?;
    check::length("the gradient", dy.len(), len)?;
    check::length("the input", x.len(), len)?;
    check::length("the factors", factors.len(), factors_len)?;
    if len == 0 {
        return Ok((dy, cpu.filled(factors_len, T::default())?)); // sums over no pixels
    }
    let (image, channels) = (spec.pixels * spec.channels, spec.channels);
    let (mut dx, mut dfactors) = (Update::new(cpu, dy)?, cpu.alloc(factors_len)?);
    let mut sums = cpu.scratch::<T::Accum>(factors_len)?;
    let parts = (dx.parts(image)?, chunks(dfactors.make_mut()?, channels), chunks(&mut sums, channels));
    cpu.for_each_part(parts, |i, (dx, dfactors, sums): (&mut [T], &mut [T], &mut [T::Accum])| {
        let (x, factors) = (&x.as_slice()[i * image..][..image], &factors.as_slice()[i * channels..][..channels]);
        cpu.run(Back { terms: Products { dx, x, factors }, pixels: spec.pixels, sums });
        cpu.run(Convert { from: sums, to: dfactors });
    });
    Ok((dx.done(), dfactors))
}

/// One image.
struct Back<'a, T: CpuElement> {
    terms: Products<'a, T>,
    pixels: usize,
    sums: &'a mut [T::Accum],
}

impl<T: CpuElement> SimdKernel for Back<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.sums.len();
        add_rows::<T, S, 1>(simd, self.pixels, channels, self.terms, self.sums);
    }
}

/// dy * x, while dy * factor replaces dy.
struct Products<'a, T> {
    dx: &'a mut [T],
    x: &'a [T],
    factors: &'a [T],
}

impl<T: CpuElement> Terms<T, 1> for Products<'_, T> {
    type Common<S: Simd> = V<T, S>;
    #[inline(always)]
    fn common<S: Simd>(&self, simd: S, c: usize, n: usize) -> V<T, S> {
        T::read(simd, &self.factors[c..][..n])
    }
    #[inline(always)]
    fn of<S: Simd>(&mut self, simd: S, factor: &V<T, S>, at: usize, n: usize) -> [V<T, S>; 1] {
        let place = &mut self.dx[at..][..n];
        let dy = T::read(simd, place);
        T::write::<S>(dy.mul(*factor), place);
        [dy.mul(T::read(simd, &self.x[at..][..n]))]
    }
}
