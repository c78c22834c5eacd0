//! The family of activations, and dropout.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::marker::PhantomData;

use cnn_core::backend::{Activation, Data, Rectifier};
use cnn_core::rng::Philox;
use cnn_core::{DropoutSpec, Real, Result};
use num_traits::Float;

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::elementwise::{Map, Op, update};
use crate::exp::{gaussian_tail, number, sigmoid};
use crate::kernel::mask;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::CHUNK;
use crate::update::Update;

/// What a pass computes of each number and, on the way back, of the number that was saved: see [`Op`]. The body is written into
/// the method, as a closure might be left out of line.
macro_rules! op {
    ($name:ident: |$simd:ident, $a:ident, $b:tt| $body:expr) => {
        #[derive(Clone, Copy)]
        struct $name;

        impl<T: CpuElement> Op<T> for $name {
            #[inline(always)]
            fn of<S: Simd>(self, $simd: S, $a: V<T, S>, $b: V<T, S>) -> V<T, S> {
                $body
            }
        }
    };
}

op!(Relu: |simd, x, _| x.max(V::<T, S>::zero(simd))); // keeps a NaN in x
op!(ReluBackward: |simd, dy, y| mask::relu_backward::<T, S>(simd, y, dy));

op!(Relu6: |simd, x, _| clamp::<T, S>(simd, x));
op!(Relu6Backward: |simd, dy, y| {
    mask::rectifier_backward::<T, S>(simd, mask::passes::<T, S>(simd, Rectifier::Relu6), y, dy)
});

op!(LeakyRelu: |simd, x, _| leaky::<T, S>(simd, x, x));
op!(LeakyReluBackward: |simd, dy, y| leaky::<T, S>(simd, y, dy));

op!(Gelu: |simd, x, _| {
    let (tail, _) = gaussian_tail::<T, S>(simd, x);
    x.mul(distribution::<T, S>(simd, x, tail))
});
op!(GeluBackward: |simd, dy, x| {
    let (tail, density) = gaussian_tail::<T, S>(simd, x);
    // 1 / sqrt(2 pi)
    let density = density.mul(number::<T, S>(simd, 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2));
    x.mul_add(density, distribution::<T, S>(simd, x, tail)).mul(dy)
});

op!(Silu: |simd, x, _| x.mul(sigmoid::<T, S>(simd, x)));
op!(SiluBackward: |simd, dy, x| {
    let (part, one) = (sigmoid::<T, S>(simd, x), number::<T, S>(simd, 1.0));
    x.mul_add(one.sub(part), one).mul(part).mul(dy)
});

op!(Hardswish: |simd, x, _| {
    let part = clamp::<T, S>(simd, x.add(number::<T, S>(simd, 3.0)));
    x.mul(part).div(number::<T, S>(simd, 6.0))
});
op!(HardswishBackward: |simd, dy, x| {
    let slope = x.div(number::<T, S>(simd, 3.0)).add(number::<T, S>(simd, 0.5));
    let dx = x.select_greater(beside::<T, S>(simd, 3.0, -2.0), dy, dy.mul(slope));
    beside::<T, S>(simd, -3.0, 2.0).select_greater(x, V::<T, S>::zero(simd), dx)
});

op!(Sigmoid: |simd, x, _| sigmoid::<T, S>(simd, x));
op!(SigmoidBackward: |simd, dy, y| dy.mul(y).mul(number::<T, S>(simd, 1.0).sub(y)));

op!(Hardsigmoid: |simd, x, _| {
    clamp::<T, S>(simd, x.add(number::<T, S>(simd, 3.0))).div(number::<T, S>(simd, 6.0))
});
op!(HardsigmoidBackward: |simd, dy, y| {
    let (zero, sixth) = (V::<T, S>::zero(simd), dy.div(number::<T, S>(simd, 6.0)));
    y.select_greater(zero, number::<T, S>(simd, 1.0).select_greater(y, sixth, zero), zero)
});

/// min(max(x, 0), 6); keeps a NaN.
#[inline(always)]
fn clamp<T: CpuElement, S: Simd>(simd: S, x: V<T, S>) -> V<T, S> {
    x.max(V::<T, S>::zero(simd)).min(number::<T, S>(simd, 6.0))
}

/// `value` where `of` is above 0, else a hundredth of it.
#[inline(always)]
fn leaky<T: CpuElement, S: Simd>(simd: S, of: V<T, S>, value: V<T, S>) -> V<T, S> {
    let less = value.mul(number::<T, S>(simd, Activation::LEAKY_SLOPE));
    of.select_greater(V::<T, S>::zero(simd), value, less)
}

/// The number next to `value`, so many epsilons away: to be above the one below it is to be at least `value`. A comparison with
/// it tells numbers apart that are at the end of a line, and is false of a NaN.
#[inline(always)]
fn beside<T: CpuElement, S: Simd>(simd: S, value: f64, epsilons: f64) -> V<T, S> {
    V::<T, S>::splat(simd, T::Accum::from_f64(value) + T::Accum::from_f64(epsilons) * T::Accum::epsilon())
}

/// The Gaussian distribution function from its lower tail.
#[inline(always)]
fn distribution<T: CpuElement, S: Simd>(simd: S, x: V<T, S>, tail: V<T, S>) -> V<T, S> {
    x.select_greater(V::<T, S>::zero(simd), number::<T, S>(simd, 1.0).sub(tail), tail)
}

pub(crate) fn activate<T: CpuElement>(cpu: &Cpu<T>, activation: Activation, x: Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    let mut update = Update::new(cpu, x)?;
    cpu.for_each_part(update.parts(CHUNK)?, |_, y: &mut [T]| {
        cpu.run(Activate { activation, y: y.as_mut_ptr(), rows: 1, pitch: y.len(), len: y.len(), of: PhantomData });
    });
    Ok(update.done())
}

/// An activation of numbers in place.
pub(crate) struct Activate<'a, T> {
    activation: Activation,
    y: *mut T,
    rows: usize,
    pitch: usize,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

impl<T> Activate<'_, T> {
    /// Of `rows` rows of `len` numbers, `pitch` apart.
    ///
    /// # Safety
    /// They exist, and nobody else uses them as long as this lives.
    pub(crate) unsafe fn rows(activation: Activation, y: *mut T, rows: usize, pitch: usize, len: usize) -> Self {
        Activate { activation, y, rows, pitch, len, of: PhantomData }
    }
}

impl<T: CpuElement> SimdKernel for Activate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Activate { activation, y, rows, pitch, len, .. } = self;
        // Rows that follow each other are one.
        let (rows, len) = if len == pitch { (rows.min(1), rows * len) } else { (rows, len) };
        for row in 0..rows {
            // SAFETY: `activate` makes this of a slice that it has borrowed whole, and who calls `rows` promises that all of them
            // exist and are used by nobody else.
            let y = unsafe { std::slice::from_raw_parts_mut(y.add(row * pitch), len) };
            macro_rules! apply {
                ($($name:ident)*) => {
                    match activation {
                        $(Activation::$name => Map { y, a: None, b: None, op: $name }.run(simd),)*
                    }
                };
            }
            apply!(Relu Relu6 LeakyRelu Gelu Silu Hardswish Sigmoid Hardsigmoid);
        }
    }
}

pub(crate) fn activate_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    activation: Activation,
    saved: &Data<Cpu<T>>,
    dy: Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    match activation {
        Activation::Relu => update(cpu, dy, Some(saved), ReluBackward),
        Activation::Relu6 => update(cpu, dy, Some(saved), Relu6Backward),
        Activation::LeakyRelu => update(cpu, dy, Some(saved), LeakyReluBackward),
        Activation::Gelu => update(cpu, dy, Some(saved), GeluBackward),
        Activation::Silu => update(cpu, dy, Some(saved), SiluBackward),
        Activation::Hardswish => update(cpu, dy, Some(saved), HardswishBackward),
        Activation::Sigmoid => update(cpu, dy, Some(saved), SigmoidBackward),
        Activation::Hardsigmoid => update(cpu, dy, Some(saved), HardsigmoidBackward),
    }
}

pub(crate) fn dropout<T: CpuElement>(
    cpu: &Cpu<T>,
    x: Data<Cpu<T>>,
    spec: &DropoutSpec,
    mask: &Philox,
) -> Result<Data<Cpu<T>>> {
    spec.check()?;
    let &DropoutSpec { probability, shared_by } = spec;
    // A word's number is its upper 24 bits over 2^24: it is below p where the bits are below p * 2^24, rounded up.
    let dropped = (f64::from(probability as f32) * f64::from(1 << 24)).ceil() as u32;
    let keep = T::Accum::from_f64(1.0 - probability);
    let mut update = Update::new(cpu, x)?;
    cpu.for_each_part(update.parts(CHUNK)?, |i, x: &mut [T]| {
        if shared_by == 1 {
            let first_block = (i * (CHUNK / 4)) as u32;
            cpu.run(Dropout { x, mask, first_block, dropped, keep });
        } else {
            cpu.run(SharedDropout { x, mask, first: i * CHUNK, shared_by, dropped, keep });
        }
    });
    Ok(update.done())
}

struct Dropout<'a, T: CpuElement> {
    x: &'a mut [T],
    mask: &'a Philox,
    first_block: u32,
    dropped: u32,
    keep: T::Accum,
}

impl<T: CpuElement> SimdKernel for Dropout<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        /// Blocks of random words at a time: the compiler computes them as vectors.
        const BLOCKS: usize = 16;
        let Dropout { x, mask, first_block, dropped, keep } = self;
        for (group, x) in x.chunks_mut(4 * BLOCKS).enumerate() {
            let first = first_block.wrapping_add((group * BLOCKS) as u32);
            let mut words = [[0; 4]; BLOCKS];
            for (i, words) in words.iter_mut().enumerate() {
                *words = mask.block(first.wrapping_add(i as u32));
            }
            for (x, word) in x.iter_mut().zip(words.as_flattened()) {
                *x = if word >> 8 < dropped { T::default() } else { T::from_accum(x.to_accum() / keep) };
            }
        }
    }
}

/// The elements from `first` on, neighbours of which share a draw.
struct SharedDropout<'a, T: CpuElement> {
    x: &'a mut [T],
    mask: &'a Philox,
    first: usize,
    shared_by: usize,
    dropped: u32,
    keep: T::Accum,
}

impl<T: CpuElement> SimdKernel for SharedDropout<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let SharedDropout { mut x, mask, first, shared_by, dropped, keep } = self;
        let keep = V::<T, S>::splat(simd, keep);
        let (mut draw, mut left) = (first / shared_by, shared_by - first % shared_by);
        while !x.is_empty() {
            let (own, rest) = x.split_at_mut(left.min(x.len()));
            if mask.block((draw / 4) as u32)[draw % 4] >> 8 < dropped {
                own.fill(T::default());
            } else {
                for i in (0..own.len()).step_by(V::<T, S>::LANES) {
                    T::write::<S>(T::read(simd, &own[i..]).div(keep), &mut own[i..]);
                }
            }
            (x, draw, left) = (rest, draw + 1, shared_by);
        }
    }
}
