//! Stored bytes cropped, flipped and normalised into a batch, a pixel's number read from a table.

use cnn_core::backend::{Data, check_samples};
use cnn_core::image::{Border, ImageSpec, SampleView};
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
    let mut y = cpu.alloc(samples.len().saturating_mul(image))?;
    cpu.for_each_part(chunks(y.make_mut()?, image), |i, y: &mut [T]| {
        let view = &samples[i];
        load(spec, &bytes[view.index as usize * image..][..image], view, tables, y);
    });
    Ok(y)
}

/// One sample: `y` \[H, W, C\] from `x` \[H, W, C\].
fn load<T: CpuElement>(spec: &ImageSpec, x: &[u8], view: &SampleView, tables: &[T], y: &mut [T]) {
    let ImageSpec { height, width, channels, border, .. } = *spec;
    let [top, left, bottom, right] = view.cutout.map(usize::from);
    for (row, y) in y.chunks_mut(width * channels).enumerate() {
        let from_row = source(row, view.offset[0], height, border);
        for (column, y) in y.chunks_mut(channels).enumerate() {
            if (top..bottom).contains(&row) && (left..right).contains(&column) {
                y.fill(T::default());
                continue;
            }
            let mirrored = if view.flip { width - 1 - column } else { column };
            let from = from_row.zip(source(mirrored, view.offset[1], width, border));
            for (channel, y) in y.iter_mut().enumerate() {
                let byte = from.map_or(0, |(row, column)| x[(row * width + column) * channels + channel]);
                *y = tables[channel * 256 + usize::from(byte)];
            }
        }
    }
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
