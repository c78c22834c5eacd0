//! Maximum and average pooling, the channels as the lanes.
//!
//! Forward passes and the gradient of averages are parallel over rows of what they write; the gradient of maxima, which
//! adds wherever a maximum was, over images.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cnn_core::backend::Data;
use cnn_core::{AdaptivePool2dSpec, Error, Pool2dSpec, Real, Result, Windows};
use num_traits::Zero;

use crate::buffer::Buffer;
use crate::device::Cpu;
use crate::element::{CpuElement, CpuReal, V};
use crate::elementwise::Convert;
use crate::simd::{Simd, SimdKernel, Vector};
use crate::threads::{CHUNK, chunks};
use cnn_core::backend::check;

/// Rows that make a task of some size, when each moves so many elements.
fn rows_of_task(elements: usize) -> usize {
    (CHUNK / elements.max(1)).max(1)
}

/// Elements of a row of the input and of the output, at least 1.
fn pitches(spec: &impl Windows) -> [usize; 2] {
    [spec.input_shape(), spec.output_shape()].map(|[.., columns, channels]| (columns * channels).max(1))
}

/// Elements of the input and of the output, of a spec that is one.
fn lengths(spec: &impl Windows) -> Result<[usize; 2]> {
    spec.check()?;
    Ok([spec.input_shape(), spec.output_shape()].map(|shape| shape.iter().product()))
}

pub(crate) fn max_pool2d<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Pool2dSpec,
    x: &Data<Cpu<T>>,
) -> Result<(Data<Cpu<T>>, Buffer<u32>)> {
    let [read, len] = lengths(spec)?;
    check::length("the input", x.len(), read)?;
    let (mut y, mut indices) = (cpu.alloc(len)?, cpu.alloc(len)?);
    let [input, output] = pitches(spec);
    let rows = rows_of_task(input * spec.stride[0].min(spec.window[0]));
    let parts = (chunks(y.make_mut()?, rows * output), chunks(indices.make_mut()?, rows * output));
    cpu.for_each_part(parts, |i, (y, indices): (&mut [T], &mut [u32])| {
        cpu.run(Max { spec, x: x.as_slice(), first: i * rows, y, indices });
    });
    Ok((y, indices))
}

/// Rows of the output (of all images) from `first` on.
struct Max<'a, T> {
    spec: &'a Pool2dSpec,
    x: &'a [T],
    first: usize,
    y: &'a mut [T],
    indices: &'a mut [u32],
}

impl<T: CpuElement> SimdKernel for Max<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Max { spec, x, first, y, indices } = self;
        let ([input, output], channels) = (pitches(spec), spec.channels);
        for (row, (y, indices)) in y.chunks_exact_mut(output).zip(indices.chunks_exact_mut(output)).enumerate() {
            let (image, oy) = ((first + row) / spec.output[0], (first + row) % spec.output[0]);
            let x = &x[image * spec.input[0] * input..][..spec.input[0] * input];
            let (rows, _) = spec.span(0, oy);
            for (ox, (y, indices)) in y.chunks_exact_mut(channels).zip(indices.chunks_exact_mut(channels)).enumerate() {
                let (columns, _) = spec.span(1, ox);
                let tap = |y: usize, x: usize| y * spec.input[1] + x;
                let pixel = |tap: usize| &x[tap * channels..][..channels];
                if rows.len() == 2 && columns.len() == 2 {
                    let top = tap(rows.start, columns.start);
                    let taps = [top, top + 1, top + spec.input[1], top + spec.input[1] + 1];
                    update_max(true, taps.map(pixel), taps, y, indices);
                    continue;
                }
                let mut fresh = true;
                for row in rows.clone() {
                    for column in columns.clone() {
                        let tap = tap(row, column);
                        update_max(fresh, [pixel(tap)], [tap], y, indices);
                        fresh = false;
                    }
                }
            }
        }
    }
}

/// Moves the maxima `y` and their `indices` on by `N` pixels; when `fresh`, they start with the first. The loop over
/// channels has no branches: the compiler makes vectors of it.
#[inline(always)]
fn update_max<T: CpuElement, const N: usize>(
    fresh: bool,
    pixels: [&[T]; N],
    taps: [usize; N],
    y: &mut [T],
    indices: &mut [u32],
) {
    let channels = y.len();
    let (indices, pixels) = (&mut indices[..channels], pixels.map(|pixel| &pixel[..channels]));
    if fresh {
        y.copy_from_slice(pixels[0]);
        indices.fill(taps[0] as u32);
    }
    for c in 0..channels {
        let (mut largest, mut index) = (y[c], indices[c]);
        for i in 0..N {
            let wins = exceeds(pixels[i][c].to_accum(), largest.to_accum());
            largest = if wins { pixels[i][c] } else { largest };
            index = if wins { taps[i] as u32 } else { index };
        }
        (y[c], indices[c]) = (largest, index);
    }
}

/// Whether `a` takes the place of `b`: the larger, of equal numbers the first, and any NaN.
#[inline(always)]
fn exceeds<R: CpuReal>(a: R, b: R) -> bool {
    // Without branches. A comparison with NaN is false: a number never takes its place.
    (a > b) | a.is_nan()
}

pub(crate) fn max_pool2d_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Pool2dSpec,
    dy: &Data<Cpu<T>>,
    indices: &Buffer<u32>,
) -> Result<Data<Cpu<T>>> {
    let [len, written] = lengths(spec)?;
    check::length("the gradient", dy.len(), written)?;
    check::length("the indices", indices.len(), written)?;
    let [input, output] = pitches(spec);
    let (image, pixels) = (spec.output[0] * output, spec.channels.max(1));
    let mut dx = cpu.alloc(len)?;
    let outside = AtomicU64::new(0); // one more than an index that is not in its image, if there is one
    let add_up = |i: usize, dx: &mut [T::Accum]| {
        dx.fill(T::Accum::zero());
        let dy = dy.as_slice()[i * image..][..image].chunks_exact(pixels);
        let indices = indices.as_slice()[i * image..][..image].chunks_exact(pixels);
        for (dy, indices) in dy.zip(indices) {
            for (c, (dy, &index)) in dy.iter().zip(indices).enumerate() {
                let at = usize::try_from(u64::from(index) * pixels as u64 + c as u64);
                match at.ok().and_then(|at| dx.get_mut(at)) {
                    Some(dx) => *dx += dy.to_accum(),
                    None => outside.store(u64::from(index) + 1, Relaxed),
                }
            }
        }
    };
    let part = (spec.input[0] * input).max(1);
    // Where elements are not what is summed in.
    let rooms = cpu.rooms(len.div_ceil(part), [if T::as_wide(&[]).is_some() { 0 } else { part }])?;
    cpu.for_each_part(chunks(dx.make_mut()?, part), |i, dx: &mut [T]| {
        if let Some(dx) = T::as_wide_mut(dx) {
            return add_up(i, dx);
        }
        let [sums] = &mut *rooms.take();
        add_up(i, sums);
        cpu.run(Convert::<T::Accum, T> { from: sums, to: dx });
    });
    match outside.into_inner() {
        0 => Ok(dx),
        index => {
            let pixels = spec.input[0] * spec.input[1];
            Err(Error::invalid(
                "index of a maximum",
                index - 1,
                format!("must be below {pixels}, the pixels of an image"),
            ))
        }
    }
}

pub(crate) fn avg_pool2d<T: CpuElement>(cpu: &Cpu<T>, spec: &Pool2dSpec, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    average(cpu, spec, x)
}

pub(crate) fn adaptive_avg_pool2d<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &AdaptivePool2dSpec,
    x: &Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    average(cpu, spec, x)
}

fn average<T: CpuElement>(cpu: &Cpu<T>, spec: &impl Windows, x: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    let [read, len] = lengths(spec)?;
    check::length("the input", x.len(), read)?;
    let ([input, output], [_, out_rows, ..]) = (pitches(spec), spec.output_shape());
    // The first window is as high as any, but for a row.
    let rows = rows_of_task(input * if out_rows > 0 { spec.span(0, 0).0.len() } else { 1 });
    let mut y = cpu.alloc(len)?;
    cpu.for_each_part(chunks(y.make_mut()?, rows * output), |i, y: &mut [T]| {
        cpu.run(Average { spec, x: x.as_slice(), first: i * rows, y });
    });
    Ok(y)
}

/// Rows of the output (of all images) from `first` on.
struct Average<'a, T, W> {
    spec: &'a W,
    x: &'a [T],
    first: usize,
    y: &'a mut [T],
}

impl<T: CpuElement, W: Windows> SimdKernel for Average<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Average { spec, x, first, y } = self;
        let ([input, output], [_, in_rows, _, channels]) = (pitches(spec), spec.input_shape());
        let [_, out_rows, ..] = spec.output_shape();
        for (row, y) in y.chunks_exact_mut(output).enumerate() {
            let (image, oy) = ((first + row) / out_rows, (first + row) % out_rows);
            let x = &x[image * in_rows * input..][..in_rows * input];
            let (rows, counted_rows) = spec.span(0, oy);
            for (ox, y) in y.chunks_exact_mut(channels).enumerate() {
                let (columns, counted_columns) = spec.span(1, ox);
                let counted = T::Accum::from_f64((counted_rows * counted_columns) as f64);
                let window = Window { x, rows: rows.clone(), columns, pitches: [input, channels], counted };
                let lanes = V::<T, S>::LANES;
                let (wide, full) = (channels / (4 * lanes) * 4 * lanes, channels / lanes * lanes);
                for c in (0..wide).step_by(4 * lanes) {
                    window.average::<S, 4>(simd, c, lanes, y);
                }
                for c in (wide..full).step_by(lanes) {
                    window.average::<S, 1>(simd, c, lanes, y);
                }
                if full < channels {
                    window.average::<S, 1>(simd, full, channels - full, y);
                }
            }
        }
    }
}

/// A window to average over.
struct Window<'a, T: CpuElement> {
    x: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    /// Elements from a row to the next, and from a column to the next.
    pitches: [usize; 2],
    counted: T::Accum,
}

impl<T: CpuElement> Window<'_, T> {
    /// Averages `NV` vectors of `n` channels from `c` on.
    #[inline(always)]
    fn average<S: Simd, const NV: usize>(&self, simd: S, c: usize, n: usize, y: &mut [T]) {
        let mut totals = [V::<T, S>::zero(simd); NV];
        for row in self.rows.clone() {
            // A sum of its own for each row keeps the sums short.
            let mut sums = [V::<T, S>::zero(simd); NV];
            for column in self.columns.clone() {
                let x = &self.x[row * self.pitches[0] + column * self.pitches[1] + c..][..NV * n];
                for v in 0..NV {
                    sums[v] = sums[v].add(T::read(simd, &x[v * n..][..n]));
                }
            }
            for v in 0..NV {
                totals[v] = totals[v].add(sums[v]);
            }
        }
        for v in 0..NV {
            T::write::<S>(totals[v].div(V::<T, S>::splat(simd, self.counted)), &mut y[c + v * n..][..n]);
        }
    }
}

pub(crate) fn avg_pool2d_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &Pool2dSpec,
    dy: &Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    average_backward(cpu, spec, dy)
}

pub(crate) fn adaptive_avg_pool2d_backward<T: CpuElement>(
    cpu: &Cpu<T>,
    spec: &AdaptivePool2dSpec,
    dy: &Data<Cpu<T>>,
) -> Result<Data<Cpu<T>>> {
    average_backward(cpu, spec, dy)
}

fn average_backward<T: CpuElement>(cpu: &Cpu<T>, spec: &impl Windows, dy: &Data<Cpu<T>>) -> Result<Data<Cpu<T>>> {
    let [len, written] = lengths(spec)?;
    check::length("the gradient", dy.len(), written)?;
    let [input, _] = pitches(spec);
    let rows = rows_of_task(input);
    let mut dx = cpu.alloc(len)?;
    cpu.for_each_part(chunks(dx.make_mut()?, rows * input), |i, dx: &mut [T]| {
        cpu.run(AverageBackward { spec, dy: dy.as_slice(), first: i * rows, dx });
    });
    Ok(dx)
}

/// Rows of the input's gradient (of all images) from `first` on.
struct AverageBackward<'a, T, W> {
    spec: &'a W,
    dy: &'a [T],
    first: usize,
    dx: &'a mut [T],
}

impl<T: CpuElement, W: Windows> SimdKernel for AverageBackward<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let AverageBackward { spec, dy, first, dx } = self;
        let ([input, output], [_, in_rows, _, channels]) = (pitches(spec), spec.input_shape());
        let [_, out_rows, ..] = spec.output_shape();
        for (row, dx) in dx.chunks_exact_mut(input).enumerate() {
            let (image, iy) = ((first + row) / in_rows, (first + row) % in_rows);
            let dy = &dy[image * out_rows * output..][..out_rows * output];
            let rows = spec.covering(0, iy);
            for (ix, dx) in dx.chunks_exact_mut(channels).enumerate() {
                let shares =
                    Shares { spec, dy, rows: rows.clone(), columns: spec.covering(1, ix), pitches: [output, channels] };
                let lanes = V::<T, S>::LANES;
                let (wide, full) = (channels / (8 * lanes) * 8 * lanes, channels / lanes * lanes);
                for c in (0..wide).step_by(8 * lanes) {
                    shares.add_up::<S, 8>(simd, c, lanes, dx);
                }
                for c in (wide..full).step_by(lanes) {
                    shares.add_up::<S, 1>(simd, c, lanes, dx);
                }
                if full < channels {
                    shares.add_up::<S, 1>(simd, full, channels - full, dx);
                }
            }
        }
    }
}

/// The windows that a pixel is averaged in.
struct Shares<'a, T, W> {
    spec: &'a W,
    /// The gradients of one image's averages.
    dy: &'a [T],
    rows: Range<usize>,
    columns: Range<usize>,
    /// Elements from a row of windows to the next, and from a column to the next.
    pitches: [usize; 2],
}

impl<T: CpuElement, W: Windows> Shares<'_, T, W> {
    /// Adds up what `NV` vectors of `n` channels from `c` on have of their windows' gradients.
    #[inline(always)]
    fn add_up<S: Simd, const NV: usize>(&self, simd: S, c: usize, n: usize, dx: &mut [T]) {
        let mut sums = [V::<T, S>::zero(simd); NV];
        for oy in self.rows.clone() {
            for ox in self.columns.clone() {
                let counted = self.spec.span(0, oy).1 * self.spec.span(1, ox).1;
                let inverse = V::<T, S>::splat(simd, T::Accum::from_f64(1.0 / counted as f64));
                let dy = &self.dy[oy * self.pitches[0] + ox * self.pitches[1] + c..][..NV * n];
                for v in 0..NV {
                    sums[v] = T::read(simd, &dy[v * n..][..n]).mul_add(inverse, sums[v]);
                }
            }
        }
        for v in 0..NV {
            T::write::<S>(sums[v], &mut dx[c + v * n..][..n]);
        }
    }
}
