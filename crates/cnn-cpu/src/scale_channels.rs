//! Images times a factor for each channel of each of them, the channels as the lanes.
//!
//! The gradient of a factor is a sum over its image, of which a pass over a piece of it leaves a part: it reads the image and its
//! gradient, writes the one and sums the other. A single image may be all rows of a batch, as a layer scale takes them.

use cnn_core::backend::{Data, ScaleSpec, check};
use cnn_core::{Real, Result};

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::sums::{Terms, add_rows, combine, rows_of_part};
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
    let piece = rows_of_part(channels) * channels;
    let pieces = image.div_ceil(piece); // of an image
    let (mut dx, mut dfactors) = (Update::new(cpu, dy)?, cpu.alloc(factors_len)?);
    let mut parts = cpu.scratch::<T::Accum>(pieces * factors_len)?;
    let each = (dx.pieces(image, piece)?, chunks(&mut parts, channels));
    cpu.for_each_part(each, |i, (dx, sums): (&mut [T], &mut [T::Accum])| {
        let (n, first) = (i / pieces, i / pieces * image + i % pieces * piece);
        let (x, factors) = (&x.as_slice()[first..][..dx.len()], &factors.as_slice()[n * channels..][..channels]);
        cpu.run(Back { terms: Products { dx, x, factors }, sums });
    });
    let of_images = parts.chunks_exact(pieces * channels).zip(dfactors.make_mut()?.chunks_exact_mut(channels));
    for (parts, dfactors) in of_images {
        let totals = combine(cpu, parts, channels)?;
        dfactors.iter_mut().zip(totals.iter()).for_each(|(d, &sum)| *d = T::from_accum(T::Accum::from_f64(sum)));
    }
    Ok((dx.done(), dfactors))
}

/// Some pixels of an image.
struct Back<'a, T: CpuElement> {
    terms: Products<'a, T>,
    sums: &'a mut [T::Accum],
}

impl<T: CpuElement> SimdKernel for Back<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.sums.len();
        add_rows::<T, S, 1>(simd, self.terms.x.len() / channels, channels, self.terms, self.sums);
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
