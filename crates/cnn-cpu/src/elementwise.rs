//! Addition and scaling, and the pass that every operation on single numbers shares.

use cnn_core::Result;
use cnn_core::backend::Data;

use crate::element::CpuElement;
use crate::simd::{Kernel, Simd, V, Vector};
use crate::threads::{CHUNK, chunks};
use crate::{Buffer, Cpu};

/// What a pass computes of a number `a`, and of the number `b` at the same place where there is a second buffer.
pub(crate) trait Op<T: CpuElement>: Copy + Sync {
    /// `#[inline(always)]`, like everything a kernel calls.
    fn of<S: Simd>(self, simd: S, a: V<T, S>, b: V<T, S>) -> V<T, S>;
}

/// `op` of `a` and `b` in a new buffer.
pub(crate) fn map<T: CpuElement>(cpu: &Cpu<T>, a: &Buffer<T>, b: Option<&Buffer<T>>, op: impl Op<T>) -> Buffer<T> {
    let mut y = cpu.alloc(a.len());
    pass(cpu, y.make_mut(), Some(a.as_slice()), b, op);
    y
}

/// `op` of `a` and `b`, in place of `a` unless another handle shares it.
pub(crate) fn update<T: CpuElement>(
    cpu: &Cpu<T>,
    mut a: Buffer<T>,
    b: Option<&Buffer<T>>,
    op: impl Op<T>,
) -> Buffer<T> {
    if !a.is_unique() {
        return map(cpu, &a, b, op);
    }
    pass(cpu, a.make_mut(), None, b, op);
    a
}

fn pass<T: CpuElement>(cpu: &Cpu<T>, y: &mut [T], a: Option<&[T]>, b: Option<&Buffer<T>>, op: impl Op<T>) {
    cpu.for_each_part(chunks(y, CHUNK), |i, y: &mut [T]| {
        let part = i * CHUNK..i * CHUNK + y.len();
        let (a, b) = (a.map(|a| &a[part.clone()]), b.map(|b| &b.as_slice()[part.clone()]));
        cpu.run(Pass { y, a, b, op });
    });
}

/// `y = op(a, b)`; `a` is `y` itself, and `b` is zero, where it is not given.
struct Pass<'a, T, O> {
    y: &'a mut [T],
    a: Option<&'a [T]>,
    b: Option<&'a [T]>,
    op: O,
}

impl<T: CpuElement, O: Op<T>> Kernel for Pass<'_, T, O> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pass { y, a, b, op } = self;
        for i in (0..y.len()).step_by(V::<T, S>::LANES) {
            let y = &mut y[i..];
            let first = match a {
                Some(a) => V::<T, S>::read(simd, &a[i..]),
                None => V::<T, S>::read(simd, y),
            };
            let second = match b {
                Some(b) => V::<T, S>::read(simd, &b[i..]),
                None => V::<T, S>::zero(simd),
            };
            op.of(simd, first, second).write(y);
        }
    }
}

#[derive(Clone, Copy)]
struct Add;

impl<T: CpuElement> Op<T> for Add {
    #[inline(always)]
    fn of<S: Simd>(self, _: S, a: V<T, S>, b: V<T, S>) -> V<T, S> {
        a.add(b)
    }
}

#[derive(Clone, Copy)]
struct Scale<T>(T);

impl<T: CpuElement> Op<T> for Scale<T> {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, a: V<T, S>, _: V<T, S>) -> V<T, S> {
        a.mul(V::<T, S>::splat(simd, self.0))
    }
}

pub(crate) fn add<T: CpuElement>(cpu: &Cpu<T>, a: Data<Cpu<T>>, b: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    Ok(update(cpu, a, Some(b), Add))
}

pub(crate) fn scale<T: CpuElement>(cpu: &Cpu<T>, a: Data<Cpu<T>>, factor: f64) -> Result<Data<Cpu<T>>> {
    Ok(update(cpu, a, None, Scale(T::from_f64(factor))))
}
