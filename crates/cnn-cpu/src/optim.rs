//! Blends of parameters; SGD and Adam over all parameters in one pass, and the check that allows it.
//!
//! All parameters are cut into pieces of one size, so that a model of many small and a few large ones keeps all threads
//! at work; which piece of which parameter a task has is looked up.

use cnn_core::backend::{AdamParam, AdamStep, Health, SgdParam, SgdStep, Wide, check_blend};
use cnn_core::{Error, Real, Result};
use num_traits::Float;

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::scratch::Scratch;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, chunks};

/// Buffers cut into pieces of [`CHUNK`] numbers.
struct Pieces {
    /// How many pieces there are up to the end of each buffer.
    ends: Scratch<u32>,
}

impl Pieces {
    fn new<T: CpuElement>(cpu: &Cpu<T>, lengths: impl ExactSizeIterator<Item = usize>) -> Result<Self> {
        let mut ends = cpu.scratch::<u32>(lengths.len())?;
        let mut count = 0;
        for (end, len) in ends.iter_mut().zip(lengths) {
            count += len.div_ceil(CHUNK) as u32;
            *end = count;
        }
        Ok(Pieces { ends })
    }

    fn count(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }

    /// Which buffer piece `i` is of, and its first number there.
    fn get(&self, i: usize) -> (usize, usize) {
        let buffer = self.ends.partition_point(|&end| end as usize <= i);
        let before = if buffer == 0 { 0 } else { self.ends[buffer - 1] as usize };
        (buffer, (i - before) * CHUNK)
    }
}

/// The piece of `buffer` that begins at `start`.
fn piece<R: CpuReal>(buffer: &Buffer<R>, start: usize) -> &[R] {
    &buffer.as_slice()[start..buffer.len().min(start + CHUNK)]
}

/// The same, to be changed.
///
/// # Safety
/// No other handle shares the numbers, and nobody else has this piece.
#[allow(clippy::mut_from_ref)]
unsafe fn piece_mut<R: CpuReal>(buffer: &Buffer<R>, start: usize) -> &mut [R] {
    let len = CHUNK.min(buffer.len() - start);
    // SAFETY: the piece is inside the buffer and, the caller promises, nobody else's.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().add(start), len) }
}

/// Makes the buffers of a parameter its own, and checks that they fit together.
fn own<R: CpuReal>(gradient: &Buffer<R>, buffers: &mut [&mut Buffer<R>]) -> Result<()> {
    for buffer in buffers {
        if buffer.len() != gradient.len() {
            let rule = format!("must be as long as the gradient, which has {}", gradient.len());
            return Err(Error::invalid("length of a parameter or its state", buffer.len(), rule));
        }
        buffer.make_mut()?;
    }
    Ok(())
}

pub(crate) fn blend<T: CpuElement>(
    cpu: &Cpu<T>,
    into: &mut Wide<Cpu<T>>,
    a: f64,
    from: &Wide<Cpu<T>>,
    b: f64,
) -> Result<()> {
    check_blend(into.len(), from.len())?;
    let [a, b] = [a, b].map(T::Accum::from_f64);
    cpu.for_each_part(chunks(into.make_mut()?, CHUNK), |i, into: &mut [T::Accum]| {
        cpu.run(Blend { into, from: piece(from, i * CHUNK), a, b });
    });
    Ok(())
}

struct Blend<'a, R> {
    into: &'a mut [R],
    from: &'a [R],
    a: R,
    b: R,
}

impl<R: CpuReal> SimdKernel for Blend<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Blend { into, from, .. } = self;
        let [a, b] = [self.a, self.b].map(|number| V::<R, S>::splat(simd, number));
        for i in (0..into.len()).step_by(V::<R, S>::LANES) {
            let into = &mut into[i..];
            b.mul_add(V::<R, S>::read(simd, &from[i..]), a.mul(V::<R, S>::read(simd, into))).write(into);
        }
    }
}

pub(crate) fn gradient_health<T: CpuElement>(
    cpu: &Cpu<T>,
    loss: Option<&Wide<Cpu<T>>>,
    gradients: &[&Wide<Cpu<T>>],
    largest: f64,
) -> Result<Health<Cpu<T>>> {
    let pieces = Pieces::new(cpu, gradients.iter().map(|gradient| gradient.len()))?;
    let mut squares = cpu.scratch::<f64>(pieces.count())?;
    cpu.for_each_part(chunks(&mut squares, 1), |i, square: &mut [f64]| {
        let (gradient, start) = pieces.get(i);
        square[0] = cpu.run(SquaredNorm(piece(gradients[gradient], start)));
    });
    let norm = T::Accum::from_f64(squares.iter().sum::<f64>().sqrt());
    let finite = norm.is_finite()
        && norm.as_f64() <= largest
        && loss.iter().all(|loss| loss.as_slice().iter().all(|loss| loss.is_finite()));
    Ok(Health { norm: cpu.filled(1, norm)?, finite: cpu.filled(1, u32::from(finite))? })
}

/// The sum of squares in f64: the square of a large f32 would overflow.
struct SquaredNorm<'a, R>(&'a [R]);

impl<R: CpuReal> SimdKernel for SquaredNorm<'_, R> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        /// Sums side by side: the compiler makes vectors of them.
        const SUMS: usize = 32;
        let mut sums = [0.0; SUMS];
        let (groups, rest) = self.0.split_at(self.0.len() / SUMS * SUMS);
        for group in groups.chunks_exact(SUMS) {
            for i in 0..SUMS {
                sums[i] += group[i].as_f64() * group[i].as_f64();
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += x.as_f64() * x.as_f64();
        }
        sums.iter().sum()
    }
}

/// The factor that brings gradients of this norm down to `max_norm`; none when the step must not be taken.
fn clip<T: CpuElement>(health: &Health<Cpu<T>>, max_norm: f64) -> Result<Option<f64>> {
    let (&[norm], &[finite]) = (health.norm.as_slice(), health.finite.as_slice()) else {
        let lengths = format!("{} and {}", health.norm.len(), health.finite.len());
        return Err(Error::invalid("length of a norm and its health", lengths, "must be 1 and 1"));
    };
    let norm = norm.as_f64();
    Ok((finite == 1).then(|| if norm > max_norm { max_norm / norm } else { 1.0 }))
}

pub(crate) fn sgd<T: CpuElement>(
    cpu: &Cpu<T>,
    step: &SgdStep,
    parameters: &mut [SgdParam<'_, Cpu<T>>],
    health: &Health<Cpu<T>>,
) -> Result<()> {
    let Some(clip) = clip(health, step.max_norm)? else { return Ok(()) };
    for p in parameters.iter_mut() {
        own(p.gradient, &mut [p.value, p.velocity])?;
    }
    let parameters = &*parameters;
    let pieces = Pieces::new(cpu, parameters.iter().map(|p| p.value.len()))?;
    cpu.for_each(pieces.count(), |i| {
        let (p, start) = pieces.get(i);
        let p = &parameters[p];
        // SAFETY: the buffers are exclusively borrowed, `own` left no other handle, and a piece belongs to one task.
        let (value, velocity) = unsafe { (piece_mut(p.value, start), piece_mut(p.velocity, start)) };
        cpu.run(Sgd {
            value,
            velocity,
            gradient: piece(p.gradient, start),
            rate: T::Accum::from_f64(step.lr * p.lr_scale),
            momentum: T::Accum::from_f64(step.momentum),
            weight_decay: T::Accum::from_f64(p.weight_decay),
            clip: T::Accum::from_f64(clip),
            nesterov: step.nesterov,
        });
    });
    Ok(())
}

struct Sgd<'a, R> {
    value: &'a mut [R],
    velocity: &'a mut [R],
    gradient: &'a [R],
    rate: R,
    momentum: R,
    weight_decay: R,
    clip: R,
    nesterov: bool,
}

impl<R: CpuReal> SimdKernel for Sgd<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sgd { value, velocity, gradient, nesterov, .. } = self;
        let [rate, momentum, weight_decay, clip] =
            [self.rate, self.momentum, self.weight_decay, self.clip].map(|number| V::<R, S>::splat(simd, number));
        for i in (0..value.len()).step_by(V::<R, S>::LANES) {
            let (value, velocity) = (&mut value[i..], &mut velocity[i..]);
            let w = V::<R, S>::read(simd, value);
            let g = weight_decay.mul_add(w, V::<R, S>::read(simd, &gradient[i..]).mul(clip));
            let v = momentum.mul_add(V::<R, S>::read(simd, velocity), g);
            v.write(velocity);
            let direction = if nesterov { momentum.mul_add(v, g) } else { v };
            rate.neg_mul_add(direction, w).write(value);
        }
    }
}

pub(crate) fn adam<T: CpuElement>(
    cpu: &Cpu<T>,
    step: &AdamStep,
    parameters: &mut [AdamParam<'_, Cpu<T>>],
    health: &Health<Cpu<T>>,
) -> Result<()> {
    let Some(clip) = clip(health, step.max_norm)? else { return Ok(()) };
    for p in parameters.iter_mut() {
        own(p.gradient, &mut [p.value, p.m, p.v])?;
        if p.steps.is_empty() {
            return Err(Error::invalid("counts of a parameter's steps", 0, "must be one"));
        }
        p.steps.make_mut()?;
    }
    let pieces = Pieces::new(cpu, parameters.iter().map(|p| p.value.len()))?;
    // From here on nothing fails: a step is counted where it is taken.
    for p in parameters.iter_mut() {
        p.steps.make_mut()?.iter_mut().for_each(|steps| *steps = steps.saturating_add(1));
    }
    let parameters = &*parameters;
    cpu.for_each(pieces.count(), |i| {
        let (p, start) = pieces.get(i);
        let p = &parameters[p];
        // Both moments start at zero; this undoes the bias of their first steps.
        let t = f64::from(p.steps.as_slice()[0]);
        let [correction1, correction2] = [step.beta1, step.beta2].map(|beta| 1.0 - beta.powf(t));
        let lr = step.lr * p.lr_scale;
        let (keep, weight_decay) =
            if step.decoupled { (1.0 - lr * p.weight_decay, 0.0) } else { (1.0, p.weight_decay) };
        // SAFETY: as in sgd.
        let (value, m, v) = unsafe { (piece_mut(p.value, start), piece_mut(p.m, start), piece_mut(p.v, start)) };
        cpu.run(Adam {
            value,
            m,
            v,
            gradient: piece(p.gradient, start),
            beta: [step.beta1, step.beta2].map(T::Accum::from_f64),
            rest: [1.0 - step.beta1, 1.0 - step.beta2].map(T::Accum::from_f64),
            rate: T::Accum::from_f64(lr / correction1),
            root: T::Accum::from_f64(1.0 / correction2.sqrt()),
            eps: T::Accum::from_f64(step.eps),
            keep: T::Accum::from_f64(keep),
            weight_decay: T::Accum::from_f64(weight_decay),
            clip: T::Accum::from_f64(clip),
        });
    });
    Ok(())
}

struct Adam<'a, R> {
    value: &'a mut [R],
    m: &'a mut [R],
    v: &'a mut [R],
    gradient: &'a [R],
    beta: [R; 2],
    /// 1 - beta.
    rest: [R; 2],
    /// The learning rate over the bias of the first moment.
    rate: R,
    /// 1 over the root of the bias of the second moment.
    root: R,
    eps: R,
    /// What decoupled decay leaves of a weight.
    keep: R,
    weight_decay: R,
    clip: R,
}

impl<R: CpuReal> SimdKernel for Adam<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Adam { value, m, v, gradient, .. } = self;
        let splat = |number: R| V::<R, S>::splat(simd, number);
        let ([beta1, beta2], [rest1, rest2]) = (self.beta.map(splat), self.rest.map(splat));
        let (rate, root, eps) = (splat(self.rate), splat(self.root), splat(self.eps));
        let (keep, weight_decay, clip) = (splat(self.keep), splat(self.weight_decay), splat(self.clip));
        for i in (0..value.len()).step_by(V::<R, S>::LANES) {
            let (value, m, v) = (&mut value[i..], &mut m[i..], &mut v[i..]);
            let w = V::<R, S>::read(simd, value);
            let g = weight_decay.mul_add(w, V::<R, S>::read(simd, &gradient[i..]).mul(clip));
            let first = beta1.mul_add(V::<R, S>::read(simd, m), rest1.mul(g));
            let second = beta2.mul_add(V::<R, S>::read(simd, v), rest2.mul(g).mul(g));
            first.write(m);
            second.write(v);
            let step = first.div(root.mul_add(second.sqrt(), eps));
            rate.neg_mul_add(step, w.mul(keep)).write(value);
        }
    }
}
