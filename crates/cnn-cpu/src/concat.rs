//! Channels side by side, some of them, and in another order: rows copied piece by piece.

use cnn_core::Result;
use cnn_core::backend::{Data, SliceSpec, check, check_concat, check_groups};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::CpuElement;
use crate::threads::{CHUNK, chunks};

/// A new buffer of `rows` rows of `width` elements, filled row by row: `fill(row, elements)`.
fn by_rows<T: CpuElement>(
    cpu: &Cpu<T>,
    rows: usize,
    width: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Result<Buffer<T>> {
    let mut y = cpu.alloc(check::numel(rows, width)?)?;
    let of_task = (CHUNK / width.max(1)).max(1);
    cpu.for_each_part(chunks(y.make_mut()?, of_task * width.max(1)), |i, y: &mut [T]| {
        for (row, y) in y.chunks_exact_mut(width).enumerate() {
            fill(i * of_task + row, y);
        }
    });
    Ok(y)
}

pub(crate) fn concat<T: CpuElement>(cpu: &Cpu<T>, parts: &[(&Data<Cpu<T>>, usize)]) -> Result<Data<Cpu<T>>> {
    let [rows, width] = check_concat(parts.iter().map(|(part, channels)| (part.len(), *channels)))?;
    by_rows(cpu, rows, width, |row, mut y| {
        for &(part, channels) in parts {
            let (own, rest) = y.split_at_mut(channels);
            own.copy_from_slice(&part.as_slice()[row * channels..][..channels]);
            y = rest;
        }
    })
}

pub(crate) fn slice_channels<T: CpuElement>(cpu: &Cpu<T>, spec: &SliceSpec, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    spec.check()?;
    let rows = check::whole_rows("the input", x.len(), spec.channels)?;
    by_rows(cpu, rows, spec.count, |row, y| {
        y.copy_from_slice(&x.as_slice()[row * spec.channels + spec.first..][..spec.count]);
    })
}

pub(crate) fn slice_channels_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &SliceSpec,
    dy: &Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    spec.check()?;
    let rows = check::whole_rows("the gradient", dy.len(), spec.count)?;
    by_rows(cpu, rows, spec.channels, |row, dx| {
        let (before, rest) = dx.split_at_mut(spec.first);
        let (taken, after) = rest.split_at_mut(spec.count);
        before.fill(T::default());
        taken.copy_from_slice(&dy.as_slice()[row * spec.count..][..spec.count]);
        after.fill(T::default());
    })
}

pub(crate) fn shuffle_channels<T: CpuElement>(
    cpu: &Cpu<T>,
    x: &Data<Cpu<T>>,
    channels: usize,
    groups: usize,
) -> Result<Data<Cpu<T>>> {
    check_groups(channels, groups)?;
    let rows = check::whole_rows("the input", x.len(), channels)?;
    by_rows(cpu, rows, channels, |row, y| {
        let x = x.as_slice()[row * channels..][..channels].chunks_exact(channels / groups);
        for (group, x) in x.enumerate() {
            y[group..].iter_mut().step_by(groups).zip(x).for_each(|(y, x)| *y = *x);
        }
    })
}
