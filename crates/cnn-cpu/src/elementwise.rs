//! Addition and conversion, and the pass that every operation on single numbers shares.

use cnn_core::Result;
use cnn_core::backend::{Data, Wide};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, V};
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, chunks};
use cnn_core::backend::check;

/// What a pass computes of a number `a`, and of the number `b` at the same place where there is a second buffer.
pub(crate) trait Op<T: CpuElement>: Copy + Sync {
    /// `#[inline(always)]`, like everything a kernel calls.
    fn of<S: Simd>(self, simd: S, a: V<T, S>, b: V<T, S>) -> V<T, S>;
}

/// `op` of `a` and `b` in a new buffer.
pub(crate) fn map<T: CpuElement>(
    cpu: &Cpu<T>,
    a: &Buffer<T>,
    b: Option<&Buffer<T>>,
    op: impl Op<T>,
) -> Result<Buffer<T>> {
    let mut y = cpu.alloc(a.len())?;
    pass(cpu, y.make_mut()?, Some(a.as_slice()), b, op)?;
    Ok(y)
}

/// `op` of `a` and `b`, in place of `a` unless another handle shares it.
pub(crate) fn update<T: CpuElement>(
    cpu: &Cpu<T>,
    mut a: Buffer<T>,
    b: Option<&Buffer<T>>,
    op: impl Op<T>,
) -> Result<Buffer<T>> {
    if !a.is_unique() {
        return map(cpu, &a, b, op);
    }
    pass(cpu, a.make_mut()?, None, b, op)?;
    Ok(a)
}

/// `y = op(a, b)`, see [`Map`].
fn pass<T: CpuElement>(
    cpu: &Cpu<T>,
    y: &mut [T],
    a: Option<&[T]>,
    b: Option<&Buffer<T>>,
    op: impl Op<T>,
) -> Result<()> {
    if let Some(b) = b {
        check::length("the second operand", b.len(), y.len())?;
    }
    cpu.for_each_part(chunks(y, CHUNK), |i, y: &mut [T]| {
        let part = i * CHUNK..i * CHUNK + y.len();
        let (a, b) = (a.map(|a| &a[part.clone()]), b.map(|b| &b.as_slice()[part.clone()]));
        cpu.run(Map { y, a, b, op });
    });
    Ok(())
}

/// `y = op(a, b)`; `a` is `y` itself, and `b` is zero, where it is not given.
pub(crate) struct Map<'a, T, O> {
    pub(crate) y: &'a mut [T],
    pub(crate) a: Option<&'a [T]>,
    pub(crate) b: Option<&'a [T]>,
    pub(crate) op: O,
}

impl<T: CpuElement, O: Op<T>> SimdKernel for Map<'_, T, O> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Map { y, a, b, op } = self;
        for i in (0..y.len()).step_by(V::<T, S>::LANES) {
            let y = &mut y[i..];
            let first = match a {
                Some(a) => T::read(simd, &a[i..]),
                None => T::read(simd, y),
            };
            let second = match b {
                Some(b) => T::read(simd, &b[i..]),
                None => V::<T, S>::zero(simd),
            };
            T::write::<S>(op.of(simd, first, second), y);
        }
    }
}

/// Writes the elements nearest to those of `from` to `to`.
pub(crate) fn convert<T: CpuElement, A: CpuElement, B: CpuElement<Number = A::Number>>(
    cpu: &Cpu<T>,
    from: &[A],
    to: &mut [B],
) {
    cpu.for_each_part(chunks(to, CHUNK), |i, to: &mut [B]| {
        cpu.run(Convert { from: &from[i * CHUNK..][..to.len()], to });
    });
}

/// [`convert`] of one part.
pub(crate) struct Convert<'a, A, B> {
    pub(crate) from: &'a [A],
    pub(crate) to: &'a mut [B],
}

impl<A: CpuElement, B: CpuElement<Number = A::Number>> SimdKernel for Convert<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for i in (0..self.to.len()).step_by(V::<A, S>::LANES) {
            B::write::<S>(A::read(simd, &self.from[i..]), &mut self.to[i..]);
        }
    }
}

pub(crate) fn widen<T: CpuElement>(cpu: &Cpu<T>, x: &Data<Cpu<T>>) -> Result<Wide<Cpu<T>>> {
    let mut y = cpu.alloc(x.len())?;
    convert(cpu, x.as_slice(), y.make_mut()?);
    Ok(y)
}

pub(crate) fn narrow<T: CpuElement>(cpu: &Cpu<T>, x: &Wide<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    let mut y = cpu.alloc(x.len())?;
    convert(cpu, x.as_slice(), y.make_mut()?);
    Ok(y)
}

#[derive(Clone, Copy)]
struct Add;

impl<T: CpuElement> Op<T> for Add {
    #[inline(always)]
    fn of<S: Simd>(self, _: S, a: V<T, S>, b: V<T, S>) -> V<T, S> {
        a.add(b)
    }
}

pub(crate) fn add<T: CpuElement>(cpu: &Cpu<T>, a: Data<Cpu<T>>, b: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    update(cpu, a, Some(b), Add)
}
