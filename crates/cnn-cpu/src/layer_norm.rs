//! Layer normalisation: rows by their own mean and deviation, the channels as the lanes.
//!
//! A row is gone over several times while it is in the first-level cache: for its mean, for its deviation, to be written. The way
//! back computes both again, as no list of them is read or written then. It takes a few rows at a time, whose terms of the
//! gradients of gamma and beta are added in registers before they join the sums of the part.

use cnn_core::backend::{Affine, Data, LayerNormBackward, Wide, check};
use cnn_core::{LayerNormSpec, Real, Result};
use num_traits::{Float, One, Zero};

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::sums::{combine, rows_of_part};
use crate::threads::chunks;
use crate::update::Update;

pub(crate) fn layer_norm<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &LayerNormSpec,
    x: &Data<Cpu<T>>,
    affine: Affine<'_, Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    check::whole_rows("the input", x.len(), spec.channels)?;
    check::length("the scale", affine.gamma.len(), spec.channels)?;
    check::length("the shift", affine.beta.len(), spec.channels)?;
    let (mut y, channels) = (cpu.alloc(x.len())?, spec.channels.max(1));
    let part = rows_of_part(channels) * channels;
    cpu.for_each_part(chunks(y.make_mut()?, part), |i, y: &mut [T]| {
        let x = &x.as_slice()[i * part..][..y.len()];
        let (gamma, beta, eps) = (affine.gamma.as_slice(), affine.beta.as_slice(), T::Accum::from_f64(spec.eps));
        cpu.run(Forward { x, y, gamma, beta, eps });
    });
    Ok(y)
}

/// Some rows.
struct Forward<'a, T: CpuElement> {
    x: &'a [T],
    y: &'a mut [T],
    gamma: &'a [T::Accum],
    beta: &'a [T::Accum],
    eps: T::Accum,
}

impl<T: CpuElement> SimdKernel for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Forward { x, y, gamma, beta, eps } = self;
        let channels = gamma.len();
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            let [mean, inverse] = statistics::<T, S>(simd, x, eps);
            for c in (0..channels).step_by(V::<T, S>::LANES) {
                let xhat = T::read(simd, &x[c..]).sub(mean).mul(inverse);
                let (gamma, beta) = (V::<T, S>::read(simd, &gamma[c..]), V::<T, S>::read(simd, &beta[c..]));
                T::write::<S>(xhat.mul_add(gamma, beta), &mut y[c..]);
            }
        }
    }
}

/// Vectors that are summed side by side, which hides how long an addition takes.
const WIDE: usize = 4;

/// No vector has more lanes.
const MOST_LANES: usize = 16;

/// The mean of the row `x`, and one over its deviation, in all lanes. The mean squared deviation is found in a second pass, as
/// the mean of squares less the square of the mean would cancel.
#[inline(always)]
fn statistics<T: CpuElement, S: Simd>(simd: S, x: &[T], eps: T::Accum) -> [V<T, S>; 2] {
    let (lanes, channels) = (V::<T, S>::LANES, x.len());
    let (wide, full) = (channels / (WIDE * lanes) * (WIDE * lanes), channels / lanes * lanes);
    let count = T::Accum::from_f64(channels as f64);

    let mut sums = [V::<T, S>::zero(simd); WIDE];
    for c in (0..wide).step_by(WIDE * lanes) {
        for i in 0..WIDE {
            sums[i] = sums[i].add(T::read(simd, &x[c + i * lanes..]));
        }
    }
    for c in (wide..channels).step_by(lanes) {
        sums[0] = sums[0].add(T::read(simd, &x[c..])); // zeros behind the end
    }
    let mean = sums[0].add(sums[1]).add(sums[2].add(sums[3])).reduce_sum() / count;

    let (mut sums, means) = ([V::<T, S>::zero(simd); WIDE], V::<T, S>::splat(simd, mean));
    for c in (0..wide).step_by(WIDE * lanes) {
        for i in 0..WIDE {
            let d = T::read(simd, &x[c + i * lanes..]).sub(means);
            sums[i] = d.mul_add(d, sums[i]);
        }
    }
    for c in (wide..full).step_by(lanes) {
        let d = T::read(simd, &x[c..]).sub(means);
        sums[0] = d.mul_add(d, sums[0]);
    }
    if full < channels {
        // Behind the end the mean is a zero too, so that nothing is counted there.
        let means = V::<T, S>::read(simd, &[mean; MOST_LANES][..channels - full]);
        let d = T::read(simd, &x[full..]).sub(means);
        sums[1] = d.mul_add(d, sums[1]);
    }
    let variance = sums[0].add(sums[1]).add(sums[2].add(sums[3])).reduce_sum() / count;
    let inverse = T::Accum::one() / (variance + eps).sqrt();
    [V::<T, S>::splat(simd, mean), V::<T, S>::splat(simd, inverse)]
}

pub(crate) fn layer_norm_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &LayerNormSpec,
    dy: Data<Cpu<T>>,
    x: &Data<Cpu<T>>,
    gamma: &Wide<Cpu<T>>,
) -> Result<LayerNormBackward<Cpu<T>>> {
    check::whole_rows("the gradient", dy.len(), spec.channels)?;
    check::length("the input", x.len(), dy.len())?;
    check::length("the scale", gamma.len(), spec.channels)?;
    let channels = spec.channels.max(1);
    let part = rows_of_part(channels) * channels;
    let mut sums = cpu.scratch::<T::Accum>(x.len().div_ceil(part) * 2 * channels)?;
    let mut dx = Update::new(cpu, dy)?;
    let parts = (dx.parts(part)?, chunks(&mut sums, 2 * channels));
    cpu.for_each_part(parts, |i, (dx, sums): (&mut [T], &mut [T::Accum])| {
        let x = &x.as_slice()[i * part..][..dx.len()];
        cpu.run(Backward { dx, x, gamma: gamma.as_slice(), eps: T::Accum::from_f64(spec.eps), sums });
    });
    let totals = combine(cpu, &sums, 2 * channels)?;
    let (mut dgamma, mut dbeta) = (cpu.alloc(spec.channels)?, cpu.alloc(spec.channels)?);
    let (to_dbeta, to_dgamma) = totals.split_at(channels);
    for (gradient, totals) in [(&mut dgamma, to_dgamma), (&mut dbeta, to_dbeta)] {
        gradient.make_mut()?.iter_mut().zip(totals).for_each(|(sum, &total)| *sum = T::Accum::from_f64(total));
    }
    Ok(LayerNormBackward { dx: dx.done(), dgamma, dbeta })
}

/// Some rows.
struct Backward<'a, T: CpuElement> {
    /// The gradient of the output before, of the input after.
    dx: &'a mut [T],
    x: &'a [T],
    gamma: &'a [T::Accum],
    eps: T::Accum,
    /// Of dy and of dy * xhat \[2, channels\].
    sums: &'a mut [T::Accum],
}

/// Rows that are taken at a time: what is read of them twice stays in the nearest caches.
const FEW: usize = 8;

impl<T: CpuElement> SimdKernel for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Backward { dx, x, gamma, eps, sums } = self;
        let (lanes, channels) = (V::<T, S>::LANES, gamma.len());
        let of_channels = T::Accum::from_f64(1.0 / channels as f64);
        sums.fill(T::Accum::zero());
        let (dbeta, dgamma) = sums.split_at_mut(channels);
        for (dx, x) in dx.chunks_mut(FEW * channels).zip(x.chunks(FEW * channels)) {
            // Of each row: its mean, one over its deviation, and the means of g and of g * xhat.
            let mut rows = [[V::<T, S>::zero(simd); 4]; FEW];
            let few = x.len() / channels;
            for (row, (x, dy)) in rows.iter_mut().zip(x.chunks_exact(channels).zip(dx.chunks_exact(channels))) {
                let [mean, inverse] = statistics::<T, S>(simd, x, eps);
                let mut of_g = [V::<T, S>::zero(simd); 2];
                for c in (0..channels).step_by(lanes) {
                    // Zero behind the end, as dy is.
                    let g = T::read(simd, &dy[c..]).mul(V::<T, S>::read(simd, &gamma[c..]));
                    let xhat = T::read(simd, &x[c..]).sub(mean).mul(inverse);
                    of_g = [of_g[0].add(g), g.mul_add(xhat, of_g[1])];
                }
                let [g, by_xhat] = of_g.map(|sum| V::<T, S>::splat(simd, sum.reduce_sum() * of_channels));
                *row = [mean, inverse, g, by_xhat];
            }
            for c in (0..channels).step_by(lanes) {
                let n = lanes.min(channels - c);
                let gamma = V::<T, S>::read(simd, &gamma[c..][..n]);
                let mut sum = V::<T, S>::read(simd, &dbeta[c..][..n]);
                let mut by_xhat = V::<T, S>::read(simd, &dgamma[c..][..n]);
                let mut of_few = [V::<T, S>::zero(simd); 2];
                for (i, [mean, inverse, mean_g, mean_by_xhat]) in rows.iter().take(few).enumerate() {
                    let place = &mut dx[i * channels + c..][..n];
                    let dy = T::read(simd, place);
                    let xhat = T::read(simd, &x[i * channels + c..][..n]).sub(*mean).mul(*inverse);
                    of_few = [of_few[0].add(dy), dy.mul_add(xhat, of_few[1])];
                    let g = dy.mul(gamma).sub(*mean_g);
                    T::write::<S>(xhat.neg_mul_add(*mean_by_xhat, g).mul(*inverse), place);
                }
                (sum, by_xhat) = (sum.add(of_few[0]), by_xhat.add(of_few[1]));
                sum.write(&mut dbeta[c..][..n]);
                by_xhat.write(&mut dgamma[c..][..n]);
            }
        }
    }
}
