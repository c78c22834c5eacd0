//! ReLU, GELU, dropout.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use cnn_core::backend::{Activation, Data};
use cnn_core::rng::Philox;
use cnn_core::{Real, Result};
use num_traits::One;

use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::elementwise::{Op, update};
use crate::exp::gaussian_tail;
use crate::kernel::mask;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::CHUNK;
use crate::update::Update;

#[derive(Clone, Copy)]
struct Relu;

impl<T: CpuElement> Op<T> for Relu {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: V<T, S>, _: V<T, S>) -> V<T, S> {
        x.max(V::<T, S>::zero(simd)) // keeps a NaN in x
    }
}

#[derive(Clone, Copy)]
struct ReluBackward;

impl<T: CpuElement> Op<T> for ReluBackward {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, dy: V<T, S>, y: V<T, S>) -> V<T, S> {
        mask::relu_backward::<T, S>(simd, y, dy)
    }
}

#[derive(Clone, Copy)]
struct Gelu;

impl<T: CpuElement> Op<T> for Gelu {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: V<T, S>, _: V<T, S>) -> V<T, S> {
        let (tail, _) = gaussian_tail::<T, S>(simd, x);
        x.mul(distribution::<T, S>(simd, x, tail))
    }
}

#[derive(Clone, Copy)]
struct GeluBackward;

impl<T: CpuElement> Op<T> for GeluBackward {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, dy: V<T, S>, x: V<T, S>) -> V<T, S> {
        let (tail, density) = gaussian_tail::<T, S>(simd, x);
        // 1 / sqrt(2 pi)
        let density = density.mul(V::<T, S>::splat(simd, T::Accum::from_f64(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2)));
        x.mul_add(density, distribution::<T, S>(simd, x, tail)).mul(dy)
    }
}

/// The Gaussian distribution function from its lower tail.
#[inline(always)]
fn distribution<T: CpuElement, S: Simd>(simd: S, x: V<T, S>, tail: V<T, S>) -> V<T, S> {
    x.select_greater(V::<T, S>::zero(simd), V::<T, S>::splat(simd, T::Accum::one()).sub(tail), tail)
}

pub(crate) fn activate<T: CpuElement>(cpu: &Cpu<T>, activation: Activation, x: Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    match activation {
        Activation::Relu => update(cpu, x, None, Relu),
        Activation::Gelu => update(cpu, x, None, Gelu),
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
        Activation::Gelu => update(cpu, dy, Some(saved), GeluBackward),
    }
}

pub(crate) fn dropout<T: CpuElement>(
    cpu: &Cpu<T>,
    x: Data<Cpu<T>>,
    probability: f64,
    mask: &Philox,
) -> Result<Data<Cpu<T>>> {
    // A word's number is its upper 24 bits over 2^24: it is below p where the bits are below p * 2^24, rounded up.
    let dropped = (f64::from(probability as f32) * f64::from(1 << 24)).ceil() as u32;
    let keep = T::Accum::from_f64(1.0 - probability);
    let mut update = Update::new(cpu, x)?;
    cpu.for_each_part(update.parts(CHUNK)?, |i, x: &mut [T]| {
        let first_block = (i * (CHUNK / 4)) as u32;
        cpu.run(Dropout { x, mask, first_block, dropped, keep });
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
