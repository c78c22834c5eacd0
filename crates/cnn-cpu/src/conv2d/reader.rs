//! Activations and gradients as convolutions read them.
//!
//! A normalisation that was never written, or the gradient through one, is computed here, a vector of channels at a time.

use cnn_core::backend::{Gradient, Input, Rectifier};
use cnn_core::{Plain, Result};
use num_traits::One;

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::kernel::mask::{passes, rectifier_backward};
use crate::simd::{Simd, Vector};
use cnn_core::backend::check;

/// An activation or a gradient as a convolution reads it, \[pixels, channels\].
#[derive(Clone, Copy)]
pub(super) enum Reader<'a, T: CpuElement> {
    Stored(Stored<'a, T>),
    Norm(Norm<'a, T>),
    Gradient(NormGradient<'a, T>),
}

/// Written to memory.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a, T>(&'a [T]);

/// `x * scale + shift` within the bounds of a rectifier.
#[derive(Clone, Copy)]
pub(super) struct Norm<'a, T: CpuElement> {
    x: &'a [T],
    scale: &'a [T::Accum],
    shift: &'a [T::Accum],
    bounds: [T::Accum; 2],
}

/// `dy_scale * dy * mask + x_scale * x + shift`.
#[derive(Clone, Copy)]
pub(super) struct NormGradient<'a, T: CpuElement> {
    dy: &'a [T],
    x: &'a [T],
    dy_scale: &'a [T::Accum],
    x_scale: &'a [T::Accum],
    shift: &'a [T::Accum],
    mask: Option<[&'a [T::Accum]; 2]>,
    /// Of the mask.
    rectifier: Rectifier,
}

impl<'a, T: CpuElement> Reader<'a, T> {
    /// An input of `pixels` pixels of `channels` channels.
    pub(super) fn input(input: &'a Input<Cpu<T>>, pixels: usize, channels: usize) -> Result<Self> {
        Ok(match input {
            Input::Plain(x) => Reader::Stored(Stored(checked("the input", x, pixels * channels)?)),
            Input::Norm(norm) => Reader::Norm(Norm {
                x: checked("the input", &norm.x, pixels * channels)?,
                scale: checked("the input's scale", &norm.scale, channels)?,
                shift: checked("the input's shift", &norm.shift, channels)?,
                bounds: norm.rectifier.bounds(),
            }),
        })
    }

    /// The arrays that are read.
    pub(super) fn sources(&self) -> [Option<&'a [T]>; 2] {
        match *self {
            Reader::Stored(source) => [Some(source.0), None],
            Reader::Norm(source) => [Some(source.x), None],
            Reader::Gradient(source) => [Some(source.dy), Some(source.x)],
        }
    }

    /// A gradient of `pixels` pixels of `channels` channels.
    pub(super) fn gradient(gradient: &'a Gradient<Cpu<T>>, pixels: usize, channels: usize) -> Result<Self> {
        let coefficients = |list| checked("a coefficient of the gradient", list, channels);
        Ok(match gradient {
            Gradient::Plain(dy) => Reader::Stored(Stored(checked("the gradient", dy, pixels * channels)?)),
            Gradient::Norm(norm) => Reader::Gradient(NormGradient {
                dy: checked("the gradient", &norm.dy, pixels * channels)?,
                x: checked("the gradient's activation", &norm.x, pixels * channels)?,
                dy_scale: coefficients(&norm.dy_scale)?,
                x_scale: coefficients(&norm.x_scale)?,
                shift: coefficients(&norm.shift)?,
                mask: match &norm.mask {
                    Some(mask) => Some([coefficients(&mask.scale)?, coefficients(&mask.shift)?]),
                    None => None,
                },
                rectifier: norm.mask.as_ref().map_or(Rectifier::Open, |mask| mask.rectifier),
            }),
        })
    }
}

/// The numbers of a buffer: the kernels read by pointer, and here is where one that does not fit its spec is noticed.
fn checked<'a, U: Plain>(what: &str, buffer: &'a Buffer<U>, len: usize) -> Result<&'a [U]> {
    check::length(what, buffer.len(), len)?;
    Ok(buffer.as_slice())
}

/// How pixels are read, a vector of channels at a time.
pub(super) trait Read<T: CpuElement>: Copy {
    /// The coefficients of some channels.
    type Coefficients<S: Simd>: Copy;
    /// Coefficients of channels `c..c + n`.
    ///
    /// # Safety
    /// The channels exist, and `n` is at most the lanes.
    unsafe fn coefficients<S: Simd>(&self, simd: S, c: usize, n: usize) -> Self::Coefficients<S>;
    /// Elements `at..at + n`, the first of them in the first channel of the coefficients.
    ///
    /// # Safety
    /// The elements exist, and `n` is at most the lanes.
    unsafe fn read<S: Simd>(&self, simd: S, with: &Self::Coefficients<S>, at: usize, n: usize) -> V<T, S>;
    /// Asks for the elements around `at`, which need not exist, to be brought near.
    fn prefetch<S: Simd>(&self, simd: S, at: usize);
}

/// `n` numbers from `at` on.
///
/// # Safety
/// They exist, and `n` is at most the lanes.
#[inline(always)]
unsafe fn load<T: CpuElement, S: Simd>(simd: S, from: &[T], at: usize, n: usize) -> V<T, S> {
    debug_assert!(at + n <= from.len());
    // SAFETY: the caller's promise.
    unsafe {
        let from = from.as_ptr().add(at);
        if n == V::<T, S>::LANES { T::load(simd, from) } else { T::load_head(simd, from, n) }
    }
}

impl<T: CpuElement> Read<T> for Stored<'_, T> {
    type Coefficients<S: Simd> = ();
    #[inline(always)]
    unsafe fn coefficients<S: Simd>(&self, _: S, _: usize, _: usize) {}
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, (): &(), at: usize, n: usize) -> V<T, S> {
        // SAFETY: the caller's promise.
        unsafe { load(simd, self.0, at, n) }
    }
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, at: usize) {
        simd.prefetch(self.0.as_ptr().wrapping_add(at));
    }
}

impl<T: CpuElement> Read<T> for Norm<'_, T> {
    type Coefficients<S: Simd> = [V<T, S>; 4];
    #[inline(always)]
    unsafe fn coefficients<S: Simd>(&self, simd: S, c: usize, n: usize) -> [V<T, S>; 4] {
        let [floor, ceiling] = self.bounds.map(|bound| V::<T, S>::splat(simd, bound));
        // SAFETY: the caller's promise.
        unsafe { [load(simd, self.scale, c, n), load(simd, self.shift, c, n), floor, ceiling] }
    }
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, with: &[V<T, S>; 4], at: usize, n: usize) -> V<T, S> {
        let [scale, shift, floor, ceiling] = *with;
        // SAFETY: the caller's promise.
        unsafe { load(simd, self.x, at, n) }.mul_add(scale, shift).max(floor).min(ceiling)
    }
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, at: usize) {
        simd.prefetch(self.x.as_ptr().wrapping_add(at));
    }
}

impl<T: CpuElement> Read<T> for NormGradient<'_, T> {
    type Coefficients<S: Simd> = [V<T, S>; 7];
    #[inline(always)]
    unsafe fn coefficients<S: Simd>(&self, simd: S, c: usize, n: usize) -> [V<T, S>; 7] {
        let [least, greatest] = passes::<T, S>(simd, self.rectifier);
        // SAFETY: the caller's promise.
        unsafe {
            let [scale, shift] = match self.mask {
                Some([scale, shift]) => [load(simd, scale, c, n), load(simd, shift, c, n)],
                None => [V::<T, S>::zero(simd), V::<T, S>::splat(simd, T::Accum::one())],
            };
            let of = |slice| load(simd, slice, c, n);
            [of(self.dy_scale), of(self.x_scale), of(self.shift), scale, shift, least, greatest]
        }
    }
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, with: &[V<T, S>; 7], at: usize, n: usize) -> V<T, S> {
        let [dy_scale, x_scale, shift, mask_scale, mask_shift, least, greatest] = *with;
        // SAFETY: the caller's promise.
        let (dy, x) = unsafe { (load(simd, self.dy, at, n), load(simd, self.x, at, n)) };
        let dy = rectifier_backward::<T, S>(simd, [least, greatest], x.mul_add(mask_scale, mask_shift), dy);
        dy.mul_add(dy_scale, x.mul_add(x_scale, shift))
    }
    #[inline(always)]
    fn prefetch<S: Simd>(&self, simd: S, at: usize) {
        simd.prefetch(self.dy.as_ptr().wrapping_add(at));
        simd.prefetch(self.x.as_ptr().wrapping_add(at));
    }
}
