//! The gradient through a normalisation, as coefficients that give that of its input:
//!
//! ```text
//! xhat   = (x - mean) * inv_std                        dy counts as 0 where the mask says so
//! dbeta  = sum(dy)
//! dgamma = sum(dy * xhat)
//! dx     = scale * (dy - dbeta / rows - xhat * dgamma / rows)      by batch statistics
//! dx     = scale * dy                                              by running statistics
//! ```
//!
//! One pass takes both sums, and writes the masked dy only when the mask could not be computed again from `norm`.

use cnn_core::backend::{Data, Norm, NormBackward, NormGradient, NormStats, Rectifier};
use cnn_core::{BatchNormSpec, Real, Result};

use super::apply::{Mask, Open, Rectified};
use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::mask::{passes, rectifier_backward};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::sums::{Terms, add_rows, combine, rows_of_part};
use crate::threads::chunks;
use crate::update::Update;
use cnn_core::backend::check;

pub(crate) fn batch_norm_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &BatchNormSpec,
    dy: Data<Cpu<T>>,
    norm: &Norm<Cpu<T>>,
    stats: &NormStats<Cpu<T>>,
    output: Option<&Data<Cpu<T>>>,
    batch: bool,
) -> Result<NormBackward<Cpu<T>>> {
    let len = check::numel(spec.rows, spec.channels)?;
    check::length("the gradient", dy.len(), len)?;
    check::length("the activation", norm.x.len(), len)?;
    if let Some(y) = output {
        check::length("the output", y.len(), len)?;
    }
    for list in [&norm.scale, &norm.shift, &stats.mean, &stats.inv_std, &stats.scale, &stats.shift] {
        check::length("a coefficient", list.len(), spec.channels)?;
    }
    let channels = spec.channels.max(1);
    let rows = rows_of_part(channels);
    let mut parts = cpu.scratch::<T::Accum>((len / channels).div_ceil(rows) * 2 * channels)?;
    let (x, mean) = (norm.x.as_slice(), stats.mean.as_slice());
    let (dy, mask) = match output {
        Some(y) => (masked(cpu, rows * channels, dy, (norm.rectifier, y.as_slice()), x, mean, &mut parts)?, None),
        None => {
            let mask = norm.mask();
            cpu.for_each_part(chunks(&mut parts, 2 * channels), |i, sums: &mut [T::Accum]| {
                let part = i * rows * channels..((i + 1) * rows * channels).min(x.len());
                let (dy, x) = (&dy.as_slice()[part.clone()], &x[part]);
                match &mask {
                    None => cpu.run(Sums { terms: Gradients { dy, x, mean, mask: Open }, sums }),
                    Some(mask) => cpu.run(Sums { terms: Gradients { dy, x, mean, mask: Rectified::new(mask) }, sums }),
                }
            });
            (dy, mask)
        }
    };

    let totals = combine(cpu, &parts, 2 * channels)?;
    let list = || cpu.alloc::<T::Accum>(spec.channels);
    let (mut dgamma, mut dbeta, mut x_scale, mut shift) = (list()?, list()?, list()?, list()?);
    let out = (dgamma.make_mut()?, dbeta.make_mut()?, x_scale.make_mut()?, shift.make_mut()?);
    for c in 0..spec.channels {
        let [mean, inv_std, scale] = [&stats.mean, &stats.inv_std, &stats.scale].map(|s| s.as_slice()[c].as_f64());
        let (dbeta, dgamma) = (totals[c], totals[channels + c] * inv_std);
        let factor = -scale * inv_std * dgamma / spec.rows as f64;
        let term = -scale * dbeta / spec.rows as f64 - factor * mean;
        // By running statistics the batch does not act on them.
        let (factor, term) = if batch { (factor, term) } else { (0.0, 0.0) };
        (out.0[c], out.1[c]) = (T::Accum::from_f64(dgamma), T::Accum::from_f64(dbeta));
        (out.2[c], out.3[c]) = (T::Accum::from_f64(factor), T::Accum::from_f64(term));
    }
    let dy_scale = stats.scale.clone();
    let dx = NormGradient { dy, x: norm.x.clone(), dy_scale, x_scale, shift, mask, channels: norm.channels };
    Ok(NormBackward { dx, dgamma, dbeta })
}

/// `dy`, or 0 where the rectifier lets nothing through at its output `y`: in place unless another handle shares it. Takes the sums
/// as it goes.
fn masked<T: CpuElement>(
    cpu: &Cpu<T>,
    part: usize,
    dy: Buffer<T>,
    (rectifier, y): (Rectifier, &[T]),
    x: &[T],
    mean: &[T::Accum],
    parts: &mut [T::Accum],
) -> Result<Buffer<T>> {
    let mut update = Update::new(cpu, dy)?;
    let out = (chunks(parts, 2 * mean.len().max(1)), update.parts(part)?);
    cpu.for_each_part(out, |i, (sums, dy): (&mut [T::Accum], &mut [T])| {
        let range = i * part..i * part + dy.len();
        cpu.run(Sums { terms: Masked { dy, y: &y[range.clone()], x: &x[range], mean, rectifier }, sums });
    });
    Ok(update.done())
}

struct Sums<'a, T: CpuElement, G> {
    terms: G,
    sums: &'a mut [T::Accum],
}

/// Elements of a part.
trait Len {
    fn len(&self) -> usize;
}

impl<T: CpuElement, G: Terms<T, 2> + Len> SimdKernel for Sums<'_, T, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.sums.len() / 2;
        add_rows::<T, S, 2>(simd, self.terms.len() / channels, channels, self.terms, self.sums);
    }
}

/// dy and dy * (x - mean).
struct Gradients<'a, T: CpuElement, M> {
    dy: &'a [T],
    x: &'a [T],
    mean: &'a [T::Accum],
    mask: M,
}

impl<T: CpuElement, M> Len for Gradients<'_, T, M> {
    fn len(&self) -> usize {
        self.dy.len()
    }
}

impl<T: CpuElement, M: Mask<T>> Terms<T, 2> for Gradients<'_, T, M> {
    type Common<S: Simd> = (V<T, S>, M::Common<S>);
    #[inline(always)]
    fn common<S: Simd>(&self, simd: S, c: usize, n: usize) -> Self::Common<S> {
        (V::<T, S>::read(simd, &self.mean[c..][..n]), self.mask.common(simd, c, n))
    }
    #[inline(always)]
    fn of<S: Simd>(&mut self, simd: S, (mean, mask): &Self::Common<S>, at: usize, n: usize) -> [V<T, S>; 2] {
        let x = T::read(simd, &self.x[at..][..n]);
        let dy = M::apply::<S>(simd, mask, T::read(simd, &self.dy[at..][..n]), x);
        [dy, dy.mul(x.sub(*mean))]
    }
}

/// The same, where the mask is told by the output; the masked dy replaces dy.
struct Masked<'a, T: CpuElement> {
    dy: &'a mut [T],
    y: &'a [T],
    x: &'a [T],
    mean: &'a [T::Accum],
    rectifier: Rectifier,
}

impl<T: CpuElement> Len for Masked<'_, T> {
    fn len(&self) -> usize {
        self.dy.len()
    }
}

impl<T: CpuElement> Terms<T, 2> for Masked<'_, T> {
    type Common<S: Simd> = V<T, S>;
    #[inline(always)]
    fn common<S: Simd>(&self, simd: S, c: usize, n: usize) -> V<T, S> {
        V::<T, S>::read(simd, &self.mean[c..][..n])
    }
    #[inline(always)]
    fn of<S: Simd>(&mut self, simd: S, mean: &V<T, S>, at: usize, n: usize) -> [V<T, S>; 2] {
        let place = &mut self.dy[at..][..n];
        let passes = passes::<T, S>(simd, self.rectifier);
        let dy = rectifier_backward::<T, S>(simd, passes, T::read(simd, &self.y[at..][..n]), T::read(simd, place));
        T::write::<S>(dy, place);
        [dy, dy.mul(T::read(simd, &self.x[at..][..n]).sub(*mean))]
    }
}
