//! Stored bytes cropped, flipped and normalised into a batch, a pixel's number read from a table.

use cnn_core::backend::{Data, check_samples};
use cnn_core::image::{Border, ImageSpec, Mix, SampleView};
use cnn_core::{Real, Result};

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::CpuElement;
use crate::threads::chunks;

pub(crate) fn load_images<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &ImageSpec,
    bytes: &Buffer<u8>,
    samples: &[SampleView],
) -> Result<Data<Cpu<T>>> {
    check_samples(spec, bytes.len(), samples)?;
    let (image, bytes) = (spec.bytes(), bytes.as_slice());
    let mut tables = cpu.scratch::<T>(256 * spec.channels)?;
    for (channel, table) in tables.chunks_mut(256).enumerate() {
        let (mean, std) = (f64::from(spec.mean[channel]), f64::from(spec.std[channel]));
        for (byte, value) in table.iter_mut().enumerate() {
            *value = T::from_accum(T::Accum::from_f64((byte as f64 / 255.0 - mean) / std));
        }
    }
    let tables = &*tables;
    let mut y = cpu.alloc(samples.len().saturating_mul(spec.numel()))?;
    cpu.for_each_part(chunks(y.make_mut()?, spec.numel()), |i, y: &mut [T]| {
        let view = &samples[i];
        load(spec, &bytes[view.index as usize * image..][..image], view, tables, y);
    });
    Ok(y)
}

/// Each image mixed with the one before it.
pub(crate) fn mix_images<T: CpuElement>(cpu: &Cpu<T>, mix: &Mix, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    let images = mix.check(x.len())?;
    let [height, width, channels] = mix.size;
    let image = height * width * channels;
    let mut y = cpu.alloc(x.len())?;
    cpu.for_each_part(chunks(y.make_mut()?, image.max(1)), |i, y: &mut [T]| {
        let of = |i: usize| &x.as_slice()[i * image..][..image];
        mix_one(mix, of(i), of((i + images - 1) % images), y);
    });
    Ok(y)
}

/// One image `y` of `x` and `other`.
fn mix_one<T: CpuElement>(mix: &Mix, x: &[T], other: &[T], y: &mut [T]) {
    let Mix { size: [_, width, channels], own, patch } = *mix;
    let [own, rest] = [own, 1.0 - own].map(T::Accum::from_f64);
    let [top, left, bottom, right] = patch.map(usize::from);
    let line = width * channels;
    // Of a row within the patch, these numbers are the other's.
    let (from, to) = (left.min(width) * channels, right.min(width) * channels);
    for (row, ((x, other), y)) in x.chunks(line).zip(other.chunks(line)).zip(y.chunks_mut(line)).enumerate() {
        for ((x, other), y) in x.iter().zip(other).zip(&mut *y) {
            *y = T::from_accum(own * x.to_accum() + rest * other.to_accum());
        }
        if (top..bottom).contains(&row) && from < to {
            y[from..to].copy_from_slice(&other[from..to]);
        }
    }
}

/// One sample: `y` \[H, W, C\] from the stored image `x`.
fn load<T: CpuElement>(spec: &ImageSpec, x: &[u8], view: &SampleView, tables: &[T], y: &mut [T]) {
    if view.shown(spec.output) != spec.output {
        return stretch(spec, x, view, y);
    }
    let ImageSpec { stored: [height, width], output, channels, border, .. } = *spec;
    let [top, left, bottom, right] = view.cutout.map(usize::from);
    for (row, y) in y.chunks_mut(output[1] * channels).enumerate() {
        let from_row = source(row, view.offset[0], height, border);
        for (column, y) in y.chunks_mut(channels).enumerate() {
            if (top..bottom).contains(&row) && (left..right).contains(&column) {
                y.fill(T::default());
                continue;
            }
            let mirrored = if view.flip { output[1] - 1 - column } else { column };
            let from = from_row.zip(source(mirrored, view.offset[1], width, border));
            for (channel, y) in y.iter_mut().enumerate() {
                let byte = from.map_or(0, |(row, column)| x[(row * width + column) * channels + channel]);
                *y = tables[channel * 256 + usize::from(byte)];
            }
        }
    }
}

/// One sample whose source has other sides: each number from four pixels.
fn stretch<T: CpuElement>(spec: &ImageSpec, x: &[u8], view: &SampleView, y: &mut [T]) {
    let ImageSpec { stored, output, channels, border, .. } = *spec;
    let shown = view.shown(output);
    let [top, left, bottom, right] = view.cutout.map(usize::from);
    // The two pixels around an output pixel's place on an axis, where they are stored, and how much of each it takes.
    let taps = |axis: usize, at: usize| {
        let (first, part) = place(at, output[axis], shown[axis]);
        let second = (first + 1).min(shown[axis] - 1);
        [(first, 1.0 - part), (second, part)]
            .map(|(at, part)| (source(at, view.offset[axis], stored[axis], border), part))
    };
    for (row, y) in y.chunks_mut(output[1] * channels).enumerate() {
        let rows = taps(0, row);
        for (column, y) in y.chunks_mut(channels).enumerate() {
            if (top..bottom).contains(&row) && (left..right).contains(&column) {
                y.fill(T::default());
                continue;
            }
            let columns = taps(1, if view.flip { output[1] - 1 - column } else { column });
            for (channel, y) in y.iter_mut().enumerate() {
                let mut sum = 0.0;
                for (row, row_part) in rows {
                    for (column, column_part) in columns {
                        let from = row.zip(column);
                        let byte = from.map_or(0, |(row, column)| x[(row * stored[1] + column) * channels + channel]);
                        sum += row_part * column_part * f64::from(byte);
                    }
                }
                let (mean, std) = (f64::from(spec.mean[channel]), f64::from(spec.std[channel]));
                *y = T::from_accum(T::Accum::from_f64((sum / 255.0 - mean) / std));
            }
        }
    }
}

/// Where output pixel `at` of `size` lies among `shown` pixels: a pixel, and the part of the way to the next one.
fn place(at: usize, size: usize, shown: usize) -> (usize, f64) {
    // (at + 1/2) * shown / size - 1/2, as a fraction of whole numbers. A source of other sides has 16 bits of them.
    let (size, shown) = (size as i64, shown as i64);
    let [place, unit] = [(2 * at as i64 + 1) * shown - size, 2 * size];
    let place = place.clamp(0, (shown - 1) * unit);
    ((place / unit) as usize, (place % unit) as f64 / unit as f64)
}

/// Which row (or column) of `size` is read at `at + offset`; none for the border's zeros.
fn source(at: usize, offset: i32, size: usize, border: Border) -> Option<usize> {
    let at = at as i64 + i64::from(offset);
    match border {
        Border::Zero => usize::try_from(at).ok().filter(|&at| at < size),
        Border::Reflect => {
            // There and back again: the pattern repeats after 2 * (size - 1).
            let period = 2 * (size as i64 - 1);
            let at = if period == 0 { 0 } else { at.rem_euclid(period) };
            Some(at.min(period - at) as usize)
        }
    }
}
